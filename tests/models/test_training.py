"""What is random in training, and which statistics normalise, against NumPy."""

import functools
from typing import Any

import jax
import numpy as np
import pytest
from networks import SMALL, variables_of
from training_runs import BLOCKS, CLASSES, PLAIN, images, keys, norms_of, train

from jft import tree
from jft.errors import InputError
from jft.models import TrainMode
from jft.models.resnet import pad_shortcut

Outputs = dict[str, np.ndarray]


def test_each_layer_normalises_by_its_own_statistics_as_numpy_does():
    spec, weight = SMALL["cifar"], np.array([1, 1, 0, 1, 1, 1], np.float32)
    stored, adapt = "stage1/block0/norm1", "stage1/block1/norm2"
    mode = TrainMode(stored=frozenset({stored}), adapt=frozenset({adapt}))
    _, out = train(spec, mode, images(6), weight=weight, inner=True)
    before = tree.flatten(variables_of(spec.build(CLASSES)))
    for norm in norms_of(spec):
        x = out[norm.replace("norm", "conv")].astype(np.float64)
        rows = x[weight > 0].reshape(-1, x.shape[-1])
        old = [before[f"batch_stats/{norm}/{leaf}"] for leaf in ("mean", "var")]
        batch = [rows.mean(0), rows.var(0)]
        mean, var = old if norm in (stored, adapt) else batch
        y = (x - mean) / np.sqrt(var + 1e-5)
        y = y * before[f"params/{norm}/scale"] + before[f"params/{norm}/bias"]
        # float32 rounds at 6e-8, of sums of some hundred numbers.
        np.testing.assert_allclose(out[norm], y, rtol=1e-4, atol=1e-5)
        new = [rows.mean(0), rows.var(0, ddof=1)]
        for leaf, there, here in zip(("mean", "var"), new, old, strict=True):
            moved = here if norm == stored else 0.9 * here + 0.1 * there
            tolerance = 0 if norm == stored else 1e-5
            np.testing.assert_allclose(out[f"{norm}/{leaf}"], moved, rtol=tolerance)


def test_training_on_eight_devices_is_that_on_one():
    spec = SMALL["cifar"]
    mode = TrainMode(adapt=norms_of(spec), dropout=0.3, drop_path=0.5)
    # Devices hold unlike numbers of examples, and the last has none.
    weight = np.ones(16, np.float32)
    weight[[1, 14, 15]] = 0
    x, drawn = images(16, 8)[..., [0, 1, 2, 0]], keys(*range(16))
    whole, stats = train(spec, mode, x, start="stage2", weight=weight, keys=drawn)
    model = spec.build(CLASSES, mode=mode, axis_name="devices")
    variables = variables_of(model)

    def step(x: Any, weight: Any, keys: Any) -> Any:
        return model.apply(
            variables,
            x,
            train=True,
            start="stage2",
            weight=weight,
            keys=keys,
            mutable=["batch_stats"],
        )

    logits, changed = jax.pmap(step, "devices")(
        x.reshape(8, 2, *x.shape[1:]), weight.reshape(8, 2), drawn.reshape(8, 2)
    )
    # Logits see stored statistics and own keys alone; statistics are sums over all
    # devices, so added up in another order.
    np.testing.assert_allclose(logits.reshape(16, -1), whole, rtol=1e-5, atol=1e-6)
    before = tree.flatten(variables["batch_stats"])
    for name, leaf in tree.flatten(changed["batch_stats"]).items():
        moved = np.abs(leaf[0] - before[name]).max()
        assert (moved > 1e-3) == name.startswith("stage2/"), name
        for device in range(8):
            np.testing.assert_allclose(leaf[device], stats[name], rtol=1e-5, atol=1e-6)


def parts(name: str, out: Outputs, block: str, before: str) -> tuple[Any, Any, Any]:
    """Return what a block adds up, its shortcut and its branch, and its output."""
    x, y = out[before], out[block]
    if before == "stem" and name == "cifar":
        x = np.maximum(x, 0)  # rectified behind its module
    if f"{block}/shortcut" in out:
        x = out[f"{block}/shortcut"]
    elif name == "keras_v2":
        x = x[:, :: x.shape[1] // y.shape[1], :: x.shape[1] // y.shape[1]]
    elif x.shape != y.shape:
        x = np.asarray(pad_shortcut(x, y.shape[-1]))
    return x, out[f"{block}/{'conv3' if name == 'keras_v2' else 'norm2'}"], y


def left_out(name: str, out: Outputs, block: str, before: str, rate: float) -> Any:
    """Return for which examples a block's output has no branch; in the rest it has."""
    shortcut, branch, y = parts(name, out, block, before)
    with_it, without = shortcut + branch / (1 - rate), shortcut
    if name == "cifar":
        with_it, without = np.maximum(with_it, 0), np.maximum(without, 0)
    errors = [np.abs(y - z).max(axis=(1, 2, 3)) for z in (with_it, without)]
    # One of the two up to rounding, and far from the other.
    assert np.all(np.minimum(*errors) < 1e-5)
    assert np.all(np.maximum(*errors) > 1e-2)
    return errors[1] < errors[0]


@pytest.mark.parametrize("frozen", [(), BLOCKS[1:2]])
@pytest.mark.parametrize("name", ["cifar", "keras_v2"])
def test_a_branch_is_left_out_as_often_as_its_depth_says(
    name: str, frozen: tuple[str, ...]
):
    spec, count = SMALL[name], 400
    mode = TrainMode(stored=norms_of(spec), drop_path=0.6, frozen=frozenset(frozen))
    x = images(1, 8).repeat(count, axis=0)
    _, out = train(spec, mode, x, keys=keys(*range(count)), inner=True)
    drawn: list[np.ndarray] = []
    for block, before, rate in zip(
        BLOCKS, ("stem", *BLOCKS), (0, 0.3, 0.6), strict=False
    ):
        rate = 0 if block in frozen else rate
        drawn.append(left_out(name, out, block, before, rate))
        # Four deviations of a fraction of so many draws, once for all: keys are fixed.
        assert abs(drawn[-1].mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / count)
    # Blocks draw apart: both are left out as often as the product of both.
    both = (drawn[1] & drawn[2]).mean()
    assert abs(both - drawn[1].mean() * drawn[2].mean()) < 4 * np.sqrt(0.15 / count)


def test_held_blocks_and_evaluation_are_whole():
    spec, x = SMALL["cifar"], images(4)
    plain, _ = train(spec, PLAIN, x)
    frozen = TrainMode(drop_path=0.9, frozen=frozenset(BLOCKS))
    np.testing.assert_array_equal(train(spec, frozen, x)[0], plain)
    mode = TrainMode(drop_path=0.9, dropout=0.9, remat=True)
    here, there = spec.build(CLASSES), spec.build(CLASSES, mode=mode)
    logits = [jax.jit(m.apply)(variables_of(here), x) for m in (here, there)]
    np.testing.assert_array_equal(*logits)


def test_rates_of_zero_draw_nothing():
    model = SMALL["cifar"].build(CLASSES, mode=TrainMode(dropout=0.0, drop_path=0.0))

    def program(**options: Any) -> str:
        run = functools.partial(model.apply, train=True, mutable=["batch_stats"])
        made = jax.make_jaxpr(run)(variables_of(model), images(2), **options)
        return str(made.jaxpr.eqns)

    assert program(keys=keys(0, 1)) == program()


def test_an_example_loses_the_same_in_any_batch():
    spec = SMALL["cifar"]
    mode = TrainMode(stored=norms_of(spec), dropout=0.4, drop_path=0.6)
    x, ids = images(8), np.arange(8)
    y, _ = train(spec, mode, x, keys=keys(*ids))
    order = np.array([5, 2, 7, 2, 5, 0, 0, 0])
    there = ids[order]
    there[4] = 99
    moved, _ = train(spec, mode, x[order], keys=keys(*there))
    same = np.arange(8) != 4
    # Convolutions take several images at once: up to rounding.
    np.testing.assert_allclose(moved[same], y[order][same], rtol=1e-5, atol=1e-6)
    assert np.abs(moved[4] - y[5]).max() > 1e-2


def test_dropout_denies_the_head_a_share_of_what_it_sees():
    spec, rate, count = SMALL["cifar"], 0.3, 300
    variables = variables_of(spec.build(8))
    # A head that puts out what it sees.
    head = {"kernel": np.eye(8, dtype=np.float32), "bias": np.zeros(8, np.float32)}
    variables["params"]["head"] = head
    x = images(1, 8).repeat(count, axis=0)
    options: dict[str, Any] = {"variables": variables, "classes": 8}
    stored = TrainMode(stored=norms_of(spec))
    features, _ = train(spec, stored, x, **options)
    assert features.min() > 0
    mode = TrainMode(stored=norms_of(spec), dropout=rate)
    seen, _ = train(spec, mode, x, keys=keys(*range(count)), **options)
    kept = seen != 0
    np.testing.assert_allclose(seen[kept], features[kept] / (1 - rate), rtol=1e-6)
    # Each feature is kept as often as any other, and not with it.
    deviation = np.sqrt(rate * (1 - rate) / count)
    assert np.abs(kept.mean(axis=0) - (1 - rate)).max() < 4 * deviation
    together = np.corrcoef(kept.T) - np.eye(8)
    assert np.abs(together).max() < 4 / np.sqrt(count)


def test_a_vgg_drops_behind_both_hidden_layers():
    spec, rate, count = SMALL["vgg"], 0.3, 500
    variables = variables_of(spec.build(6))
    one = {"kernel": np.eye(6, dtype=np.float32), "bias": np.zeros(6, np.float32)}
    variables["params"]["head"] = variables["params"]["pre_logits"]["fc2"] = one
    variables["params"]["pre_logits"]["fc1"]["bias"] += 9  # so that all are above zero
    x = images(1, 8).repeat(count, axis=0)
    options: dict[str, Any] = {"variables": variables, "classes": 6}
    first, _ = train(spec, PLAIN, x, **options)
    assert first.min() > 0
    mode = TrainMode(dropout=rate)
    seen, _ = train(spec, mode, x, keys=keys(*range(count)), **options)
    kept = seen != 0
    np.testing.assert_allclose(seen[kept], first[kept] / (1 - rate) ** 2, rtol=1e-5)
    expected = (1 - rate) ** 2  # both let it through, each by a draw of its own
    assert abs(kept.mean() - expected) < 4 * np.sqrt(
        expected * (1 - expected) / kept.size
    )


@pytest.mark.parametrize("option", ["dropout", "drop_path"])
def test_dropping_without_keys_is_refused(option: str):
    with pytest.raises(ValueError, match="dropout or drop_path needs keys, got None"):
        train(SMALL["cifar"], TrainMode(**{option: 0.1}), images(2))


@pytest.mark.parametrize("name", ["vgg", "vgg_bn"])
def test_a_vgg_has_no_blocks_to_leave_out(name: str):
    with pytest.raises(InputError) as caught:
        SMALL[name].build(CLASSES, mode=TrainMode(drop_path=0.2))
    assert str(caught.value) == (
        f"{SMALL[name].name} has no residual blocks to drop: drop_path must be 0, "
        "got 0.2; dropout is for every network"
    )
