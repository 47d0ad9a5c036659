"""Batch normalisation against a second computation in NumPy, and over devices."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jft.errors import InputError
from jft.models import MODELS
from jft.models.norm import BatchNorm, moments, require_two_values
from jft.models.training import TrainBatch, TrainMode

# float32 rounds at 6e-8 of the largest number, and sums over a few hundred numbers and
# the square of the deviation add a factor of ten.
TOLERANCE = 1e-6


class Pair(nn.Module):
    """Two layers, one of which may use its stored statistics."""

    stored: frozenset[str] = frozenset()

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        x = BatchNorm(self.stored, name="first")(x, batch)
        return BatchNorm(self.stored, name="second")(x, batch)


def features(batch: int = 16) -> np.ndarray:
    """Return [batch, 3, 5, 4] float32, channels of unlike mean and spread."""
    rng = np.random.default_rng(0)
    spread, mean = np.array([1.0, 0.01, 10, 3]), np.array([0.0, 1, -50, 100])
    return (rng.normal(size=(batch, 3, 5, 4)) * spread + mean).astype(np.float32)


def variables() -> dict[str, Any]:
    values = np.arange(1, 5, dtype=np.float32)
    return {
        "params": {"scale": values / 2, "bias": values - 2},
        "batch_stats": {"mean": values * 3, "var": values / 4},
    }


def expected(x: np.ndarray, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return, in float64, what torch documents: y, the stored mean and variance."""
    before = variables()
    kept = x.astype(np.float64)[slice(None) if weight is None else weight > 0]
    rows = kept.reshape(-1, x.shape[-1])
    mean, var = rows.mean(0), rows.var(0)
    params, stats = before["params"], before["batch_stats"]
    unbiased = rows.var(0, ddof=1)
    return {
        "y": (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"],
        "mean": 0.9 * stats["mean"] + 0.1 * mean,
        "var": 0.9 * stats["var"] + 0.1 * unbiased,
    }


def normalise(
    x: np.ndarray, weight: np.ndarray | None = None
) -> tuple[jax.Array, dict[str, Any]]:
    y, changed = BatchNorm().apply(
        variables(), x, TrainBatch(weight), mutable=["batch_stats"]
    )
    return y, changed["batch_stats"]


def agree(ours: Any, exact: Any, tolerance: float = TOLERANCE) -> None:
    """Compare with the largest number of each channel as the scale."""
    ours, exact = np.asarray(ours), np.asarray(exact)
    assert ours.shape == exact.shape
    channels = range(exact.ndim - 1)
    scale = np.abs(exact).max(axis=tuple(channels))
    assert np.all(np.abs(ours - exact) <= tolerance * scale)


# `x * factor - mean * factor` cancels where the mean is a hundred times the spread: the
# second channel loses two of its seven digits, as it does in torch.
CANCELLATION = 1e-4


def test_training_normalises_by_the_biased_variance_and_stores_the_unbiased():
    x = features()
    y, stats = normalise(x)
    exact = expected(x)
    agree(y, exact["y"], CANCELLATION)
    agree(stats["mean"], exact["mean"])
    agree(stats["var"], exact["var"])


def test_the_variance_of_a_batch_far_from_zero_does_not_cancel():
    x = features() + np.float32(1000)
    mean, var, count = moments(jnp.asarray(x), None, None)
    rows = x.astype(np.float64).reshape(-1, 4)
    # The values are rounded to 6e-5 before we see them: E[x^2] - E[x]^2 would have
    # nothing left of a variance of 1e-4.
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(var, rows.var(0), rtol=1e-3)
    assert count == 16 * 3 * 5


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_few_values_have_statistics_as_any_others(count: int):
    for x in (features(count)[:, :1, :1], features(1)[:, :1, :count]):
        y, stats = normalise(x)
        exact = expected(x)
        agree(y, exact["y"], CANCELLATION)
        agree(stats["mean"], exact["mean"])
        agree(stats["var"], exact["var"])


def test_two_values_are_normalised_as_torch_does():
    # torch 2.13.0 in float64: BatchNorm2d(2) with weight (0.5, 2), bias (1, -1),
    # running_mean (3, -2) and running_var (4, 0.5), over two images of one pixel;
    # and the gradient of sum(y * [[1, 2], [3, 5]]) by x.
    x = np.array([[1.0, -2.0], [1.5, -2.01]], np.float32).reshape(2, 1, 1, 2)
    params = {"scale": np.array([0.5, 2], np.float32)}
    params["bias"] = np.array([1, -1], np.float32)
    stats = {"mean": np.array([3, -2], np.float32)}
    stats["var"] = np.array([4, 0.5], np.float32)

    def loss(x: Any) -> Any:
        variables = {"params": params, "batch_stats": stats}
        y, changed = BatchNorm().apply(
            variables, x, TrainBatch(), mutable=["batch_stats"]
        )
        weight = jnp.array([[1, 2], [3, 5]], jnp.float32).reshape(2, 1, 1, 2)
        return jnp.sum(y * weight), (y, changed["batch_stats"])

    gradient, (y, changed) = jax.grad(loss, has_aux=True)(jnp.asarray(x))
    np.testing.assert_allclose(
        y.reshape(2, 2), [[0.50004, 0.690308], [1.49996, -2.690308]], rtol=1e-4
    )
    np.testing.assert_allclose(changed["mean"], [2.825, -2.0005], rtol=1e-6)
    np.testing.assert_allclose(changed["var"], [3.6125, 0.450005], rtol=1e-6)
    # Of two values only epsilon has a gradient; the rest cancels, in float32 to 1e-4.
    exact = np.array([-3.1992e-4, -144.88388])
    np.testing.assert_allclose(
        gradient.reshape(2, 2), [exact, -exact], rtol=1e-3, atol=2e-6
    )


def one_value(how: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return features and weights that leave one value per channel."""
    if how == "one image":
        return features(1)[:, :1, :1], None
    weight = np.zeros(8, np.float32)
    weight[5] = 1
    return features(8)[:, :1, :1], weight


@pytest.mark.parametrize("how", ["one image", "one real image"])
@pytest.mark.parametrize("adapt", [False, True])
def test_one_value_is_normalised_by_stored_statistics_which_stay(how: str, adapt: bool):
    x, weight = one_value(how)
    norm = nn.Sequential([BatchNorm(adapt=frozenset({"layers_0"} if adapt else ()))])
    inner = {kind: {"layers_0": values} for kind, values in variables().items()}
    y, changed = norm.apply(inner, x, TrainBatch(weight), mutable=["batch_stats"])
    stats = variables()["batch_stats"]
    jax.tree.map(
        np.testing.assert_array_equal, changed["batch_stats"]["layers_0"], stats
    )
    np.testing.assert_array_equal(y, BatchNorm().apply(variables(), x, None))


def test_one_value_on_each_device_counts_as_many_as_there_are_devices():
    x = features(4)[:, :1, :1]
    run = jax.pmap(
        lambda x: BatchNorm(axis_name="devices").apply(
            variables(), x, TrainBatch(), mutable=["batch_stats"]
        ),
        "devices",
        devices=jax.devices()[:4],
    )
    y, changed = run(x[:, None])
    exact = expected(x)
    agree(np.reshape(y, x.shape), exact["y"], CANCELLATION)
    for leaf in ("mean", "var"):
        agree(changed["batch_stats"][leaf][3], exact[leaf])


@pytest.mark.parametrize(
    ("name", "size", "layers", "stages"),
    [
        ("resnet18", 32, "stage4/block0/norm1 and 4 more layers", "stage4"),
        ("deeplabv3_resnet50", 64, "head/pooled/norm", "head"),
    ],
)
def test_a_network_that_never_has_two_values_is_refused(
    name: str, size: int, layers: str, stages: str
):
    spec = MODELS[name]
    model = spec.build(2)
    with pytest.raises(InputError) as caught:
        require_two_values(model, size, 1)
    message = str(caught.value)
    assert message == (
        "batch normalisation has one value per channel in every step, and so no "
        f"variance, in {layers}: train at least 2 images at a time (--batch-size "
        f"divided by --optim.accumulate), or use --norm {stages}=stored"
    )
    require_two_values(model, size, 2)


def test_a_stored_layer_needs_no_values():
    names = [f"block{i}/norm{j}" for i in (0, 1) for j in (1, 2)]
    all_of_it = {f"stage4/{name}" for name in (*names, "block0/shortcut/norm")}
    for missing in (set[str](), {"stage4/block1/norm2"}):
        mode = TrainMode(stored=frozenset(all_of_it - missing))
        model = MODELS["resnet18"].build(2, mode=mode)
        if missing:
            with pytest.raises(InputError, match="in stage4/block1/norm2: train"):
                require_two_values(model, 32, 1)
        else:
            require_two_values(model, 32, 1)
    require_two_values(MODELS["resnet18"].build(2), 33, 1)


def test_rows_of_weight_zero_change_nothing():
    x = features()
    weight = np.ones(16, np.float32)
    weight[[3, 9, 10, 15]] = 0
    padded = x.copy()
    padded[weight == 0] = 1e4
    y, stats = normalise(padded, weight)
    alone_y, alone_stats = normalise(x[weight > 0])
    exact = expected(x, weight)
    # Not to the bit: the sums run over another number of rows, so in another order.
    agree(y[weight > 0], alone_y, CANCELLATION)
    agree(y[weight > 0], exact["y"][weight > 0], CANCELLATION)
    for leaf in ("mean", "var"):
        agree(stats[leaf], alone_stats[leaf])
        agree(stats[leaf], exact[leaf])


def test_what_stands_in_rows_of_weight_zero_does_not_reach_a_bit():
    weight = np.repeat(np.array([1, 0], np.float32), 8)
    one, two = features(), features()
    two[8:] *= -7
    y_one, stats_one = normalise(one, weight)
    y_two, stats_two = normalise(two, weight)
    np.testing.assert_array_equal(y_one[:8], y_two[:8])
    jax.tree.map(np.testing.assert_array_equal, stats_one, stats_two)


def test_a_fractional_weight_counts_as_a_whole_example():
    weight = np.repeat(np.array([0.25, 1], np.float32), 8)
    _, stats = normalise(features(), weight)
    _, plain = normalise(features())
    jax.tree.map(np.testing.assert_array_equal, stats, plain)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_statistics_over_devices_are_those_of_the_whole_batch(devices: int):
    x = features()
    # Devices hold unlike numbers of examples; of eight, the last has none.
    weight = np.ones(16, np.float32)
    weight[[1, 12, 13, 14, 15]] = 0
    target = np.sin(np.arange(x.size, dtype=np.float32)).reshape(x.shape)
    norm = BatchNorm(axis_name="devices")

    def loss(norm: BatchNorm, params: Any, x: Any, weight: Any, target: Any) -> Any:
        y, changed = norm.apply(
            {**variables(), "params": params},
            x,
            TrainBatch(weight),
            mutable=["batch_stats"],
        )
        error = jnp.sum(y * target, axis=(1, 2, 3))
        return jnp.sum(error * weight), (y, changed["batch_stats"])

    def step(norm: BatchNorm, *arrays: Any) -> Any:
        grad = jax.grad(loss, argnums=(1, 2), has_aux=True)
        return grad(norm, variables()["params"], *arrays)

    parts = [a.reshape(devices, -1, *a.shape[1:]) for a in (x, weight, target)]
    split = jax.pmap(
        lambda *arrays: step(norm, *arrays),
        "devices",
        devices=jax.devices()[:devices],
    )
    (params, inputs), (y, stats) = split(*parts)
    (whole_params, whole_inputs), (whole_y, whole_stats) = step(
        BatchNorm(), *map(jnp.asarray, (x, weight, target))
    )
    exact = expected(x, weight)
    agree(np.reshape(y, x.shape), whole_y, CANCELLATION)
    for leaf in ("mean", "var"):
        for device in range(devices):
            agree(stats[leaf][device], whole_stats[leaf])
            agree(stats[leaf][device], exact[leaf])
    # Each device has its own part of the loss, and so of the gradient.
    for leaf in ("scale", "bias"):
        agree(np.sum(params[leaf], axis=0), whole_params[leaf], CANCELLATION)
    agree(np.reshape(inputs, x.shape), whole_inputs, CANCELLATION)


def test_a_stored_layer_uses_and_keeps_its_statistics_in_training():
    x = jnp.asarray(features())
    first, second = variables(), variables()
    both = {
        kind: {"first": first[kind], "second": second[kind]}
        for kind in ("params", "batch_stats")
    }
    y, changed = Pair(frozenset({"first"})).apply(
        both, x, TrainBatch(), mutable=["batch_stats"]
    )
    stats = changed["batch_stats"]
    jax.tree.map(
        np.testing.assert_array_equal, stats["first"], both["batch_stats"]["first"]
    )
    middle = BatchNorm().apply(first, x, None)
    exact = expected(np.asarray(middle))
    agree(y, exact["y"], CANCELLATION)
    agree(stats["second"]["mean"], exact["mean"])
    agree(stats["second"]["var"], exact["var"])


def test_a_layer_is_stored_by_its_whole_name_only():
    x = jnp.asarray(features())
    both = {
        kind: {"first": values, "second": values}
        for kind, values in variables().items()
    }
    mode = {"batch": TrainBatch(), "mutable": ["batch_stats"]}
    y, _ = Pair(frozenset({"fir", "net/first", "first/scale"})).apply(both, x, **mode)
    plain, _ = Pair().apply(both, x, **mode)
    np.testing.assert_array_equal(y, plain)


def test_evaluation_uses_the_stored_statistics_and_keeps_them():
    x = features()
    y, changed = BatchNorm().apply(variables(), x, None, mutable=["batch_stats"])
    before = variables()
    params, stats = before["params"], before["batch_stats"]
    exact = (x.astype(np.float64) - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    agree(y, exact * params["scale"] + params["bias"])
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], stats)


def test_evaluation_of_an_image_does_not_depend_on_the_batch_around_it():
    x = features()
    whole = BatchNorm().apply(variables(), x, None)
    alone = BatchNorm().apply(variables(), x[2:3], None)
    np.testing.assert_array_equal(whole[2:3], alone)


def test_initialising_in_training_mode_leaves_the_statistics_at_zero_and_one():
    built = BatchNorm().init(jax.random.key(0), features(), TrainBatch())
    np.testing.assert_array_equal(built["batch_stats"]["mean"], np.zeros(4))
    np.testing.assert_array_equal(built["batch_stats"]["var"], np.ones(4))


def test_padding_alone_is_normalised_by_stored_statistics_which_stay():
    x = np.random.default_rng(0).normal(3, 5, (4, 2, 2, 3)).astype(np.float32)
    stats = {"mean": jnp.full(3, 2.0), "var": jnp.full(3, 9.0)}
    params = {"scale": jnp.ones(3), "bias": jnp.zeros(3)}
    variables = {"params": params, "batch_stats": stats}
    batch = TrainBatch(jnp.zeros(4))
    y, changed = BatchNorm().apply(variables, x, batch, mutable=["batch_stats"])
    # Sums and a square root in float32.
    np.testing.assert_allclose(y, (x - 2) / np.sqrt(9 + 1e-5), rtol=1e-5, atol=1e-5)
    for name, value in stats.items():
        np.testing.assert_array_equal(changed["batch_stats"][name], value)
