"""`fit(config, model=...)`: a Flax module of one's own, trained and read again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
import pytest
from test_loop import StopAfter, images, rules

import jft
from jft import tree
from jft.config import AugmentConfig, ModelConfig, TrainConfig
from jft.errors import InputError
from jft.models import CIFAR_PREPROCESS, ModelSpec, TrainMode
from jft.models.norm import BatchNorm
from jft.models.training import TrainBatch
from jft.train.own_module import check_module
from jft.train.resolve import Objects, resolve
from jft.train.setup import prepare

__all__ = ["images", "rules"]  # fixtures


class Net(nn.Module):
    """Three parts; `flaw` is what it does wrong."""

    num_classes: int = 2
    axis_name: str | None = None
    mode: TrainMode = TrainMode()
    width: int = 4
    flaw: str = ""

    @property
    def stages(self) -> tuple[str, ...]:
        return ("conv", "norm") if self.flaw == "headless" else ("conv", "norm", "head")

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        name = "stem" if self.flaw == "misnamed" else "conv"
        x = nn.Conv(self.width, (3, 3), strides=4, name=name)(x)
        stored = frozenset[str]() if self.flaw == "unfrozen" else self.mode.stored
        batch = TrainBatch(None if self.flaw == "padded" else weight, keys)
        x = BatchNorm(stored, axis_name=self.axis_name, name="norm")(
            x, batch if train else None
        )
        x = jnp.mean(nn.relu(x), axis=(1, 2))
        x = nn.Dense(self.num_classes, name="head")(x)
        return x[:, :1] if self.flaw == "narrow" else x


@pytest.fixture
def mine(rules: TrainConfig) -> TrainConfig:
    """Return the rules of a run whose module comes from Python."""
    return replace(rules, model=ModelConfig(), freeze="until:norm", image_size=32)


def own(**fields: Any) -> jft.OwnModel:
    return jft.OwnModel(Net(**fields), preprocess=CIFAR_PREPROCESS)


@pytest.mark.thorough
def test_a_network_of_jft_given_as_a_module_is_the_same_run(
    rules: TrainConfig, tiny: ModelSpec, tmp_path: Path
):
    rules = replace(rules, epochs=1)
    whole = jft.fit(rules)
    module = jft.OwnModel(tiny.build(7), preprocess=tiny.preprocess)
    config = replace(rules, model=ModelConfig(), workdir=str(tmp_path / "own"))
    given = jft.fit(config, model=module)
    assert given.params_digest == whole.params_digest
    assert given.metrics == whole.metrics
    before = jft.Run(whole.workdir).predictor().variables
    config = replace(config, workdir=str(tmp_path / "on"), freeze="all-but:head")
    start = jft.OwnModel(tiny.build(2), before, tiny.preprocess)
    after = jft.Run(jft.fit(config, model=start).workdir, model=start)
    for name, leaf in tree.flatten(after.predictor().variables).items():
        same = np.array_equal(leaf, tree.flatten(before)[name])
        assert same == ("/head/" not in name), name


def arrays(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """Return images of two classes that differ in brightness."""
    draw = np.random.default_rng(seed)
    labels = [i % 2 for i in range(count)]
    pixels = draw.integers(0, 128, (count, 32, 32, 3)) + 127 * np.reshape(
        labels, (-1, 1, 1, 1)
    )
    return pixels.astype(np.uint8), labels


def test_the_losses_are_those_of_a_loop_written_by_hand(
    mine: TrainConfig, tmp_path: Path
):
    train, steps, rate = arrays(16, 0), 4, 0.3
    config = replace(
        mine,
        data="digits",
        freeze="conv/bias, norm/*=0.5",
        norm="stored",
        epochs=steps,
        batch_size=16,
        label_smoothing=0.0,
        augment=AugmentConfig(crop_padding=0),
        seed=3,
    )
    result = jft.fit(
        config, train=train, test=arrays(8, 1), model=own(), optimizer=optax.sgd(rate)
    )
    losses = [r["loss"] for r in result.history if r["split"] == "train"]

    net = Net()
    key = jax.random.key(3, impl="rbg")
    variables = net.init(key, jnp.zeros((1, 32, 32, 3), jnp.float32))
    params = variables["params"]
    mean, std = (
        np.array(v, np.float32)[None, None, None]
        for v in (CIFAR_PREPROCESS.mean, CIFAR_PREPROCESS.std)
    )
    x = (train[0].astype(np.float32) / np.float32(255) - mean) / std
    label = jnp.array(train[1], jnp.int32)

    @jax.jit
    def step(params: Any) -> tuple[jax.Array, Any]:
        def loss(params: Any) -> jax.Array:
            logits = net.apply({**variables, "params": params}, x)
            each = optax.softmax_cross_entropy_with_integer_labels(logits, label)
            return jnp.mean(each)

        value, grads = jax.value_and_grad(loss)(params)
        moved = jax.tree.map(lambda p, g: p - rate * g, params, grads)
        moved["conv"]["bias"] = params["conv"]["bias"]
        for leaf in ("scale", "bias"):
            grad, start = grads["norm"][leaf], params["norm"][leaf]
            moved["norm"][leaf] = start - rate * 0.5 * grad
        return value, moved

    expected: list[float] = []
    for _ in range(steps):
        value, params = step(params)
        expected.append(float(value))
    # Sums of 16 x 64 values in float32, in another order in each epoch.
    np.testing.assert_allclose(losses, expected, rtol=2e-6)
    assert losses[-1] < losses[0]
    found = tree.flatten(jft.Run(result.workdir, model=Net()).predictor().variables)
    for name, leaf in tree.flatten(params).items():
        np.testing.assert_allclose(found[f"params/{name}"], leaf, rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_a_run_of_a_module_resumes_and_its_folder_reads_with_the_module_only(
    mine: TrainConfig, tmp_path: Path
):
    config = replace(mine, phases="1*all-but:head", checkpoint_every=1)
    whole = jft.fit(config, model=own())
    broken = replace(config, workdir=str(tmp_path / "broken"))
    for step in (2, 5):  # in either phase
        with pytest.raises(RuntimeError, match="crash"):
            jft.fit(broken, model=own(), callbacks=[StopAfter(step)])
    with pytest.raises(InputError, match="weights sha256"):
        jft.fit(broken, model=own(width=5))
    assert jft.fit(broken, model=own()).params_digest == whole.params_digest

    folder = whole.workdir
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["not_repeatable"] == ["model (object: Net)"]
    assert jft.Run(folder).config.model.name == "object:Net"
    run = jft.Run(folder, model=Net())
    assert run.evaluate(devices="jit")["accuracy"] == whole.metrics["accuracy"]
    assert run.predictor("best")(arrays(3, 0)[0]).shape == (3, 2)
    # With its own configuration, and the module again, it is finished already.
    assert jft.fit(run.config, model=Net()).params_digest == whole.params_digest
    for read in (
        jft.Run(folder).predictor,
        jft.Run(folder).evaluate,
        lambda: jft.load_pretrained(weights=str(folder)),
        lambda: jft.fit(run.config),
    ):
        with pytest.raises(InputError, match="Net is a Flax module from Python"):
            read()
    for refused, message in (
        (run.export, "other libraries have no such network"),
        (lambda: run.predictor(alpha=0.5), "does not hold the initial values"),
        (jft.Run(folder, model=Other()).predictor, "holds a object:Net, not a Other"),
        (jft.Run(folder, model=Net(width=5)).predictor, "or model= is not the module"),
    ):
        with pytest.raises(InputError, match=message):
            refused()


class Other(Net):
    """Another module."""


@pytest.mark.parametrize(
    ("given", "change", "message"),
    [
        (Net, {}, r"got the class Net: give Net\(\.\.\.\)"),
        (
            "resnet50",
            {},
            "str has no num_classes, axis_name, mode, stages, init, apply",
        ),
        (nn.Dense(3), {}, "Dense has no num_classes, axis_name, mode, stages"),
        (Net(flaw="headless"), {}, "stages of Net must end with 'head', got"),
        (
            own(flaw="misnamed"),
            {},
            "got conv, norm, head\nparameters: head, norm, stem",
        ),
        (own(flaw="narrow"), {}, r"logits of shape \(2, 2\) for 2 images, got .*2, 1"),
        (
            own(flaw="padded"),
            {"freeze": "none"},
            "must leave out the images of weight 0",
        ),
        (own(flaw="unfrozen"), {}, "names are in mode.stored must use their stored"),
        (own(), {"dropout": 0.5}, "dropout 0.5: Net does not use its mode.dropout"),
        (own(), {"dtype": "bfloat16"}, "dtype bfloat16: Net does not use its"),
        (own(), {"remat": True}, "remat True: Net does not use its mode.remat"),
        (
            own(),
            {"freeze": "until:norn"},
            "Net has no stage 'norn'; did you mean 'norm'",
        ),
        (
            own(),
            {"norm": "conv=batch"},
            "Net has no batch normalisation in stage 'conv'",
        ),
        (
            own(),
            {"weights": "timm:resnet50.a1_in1k"},
            "model= and weights 'timm:resnet5",
        ),
        (own(), {"model": ModelConfig(width=8)}, "model= and model.width 8: give one"),
        (
            jft.OwnModel(Net(), {"params": {"stem": {"bias": np.zeros(3)}}}),
            {"image_size": 32},
            r"params/stem/bias: not a variable of Net",
        ),
    ],
)
def test_a_module_that_cannot_be_trained_so_is_one_clear_error(
    mine: TrainConfig, given: Any, change: dict[str, Any], message: str
):
    with pytest.raises(InputError, match=message):
        prepare(resolve(replace(mine, **change), Objects(model=given)))


def test_a_head_for_other_classes_is_new_and_the_rest_is_what_was_given(
    mine: TrainConfig,
):
    drawn = Net(num_classes=5).init(jax.random.key(1), jnp.zeros((1, 32, 32, 3)))
    start = jft.OwnModel(Net(num_classes=5), drawn, CIFAR_PREPROCESS)
    setup = prepare(resolve(mine, Objects(model=start)))
    report = setup.pretrained.report
    assert report.reinitialised == ("params/head/bias", "params/head/kernel")
    flat = tree.flatten(setup.pretrained.variables)
    for name in report.loaded:
        assert np.array_equal(flat[name], tree.flatten(drawn)[name])


def test_a_batch_of_one_value_is_refused_for_layers_of_flax_too(mine: TrainConfig):
    class Flax(Net):
        @nn.compact
        def __call__(self, x: jax.Array, **flags: Any) -> jax.Array:
            x = nn.Conv(3, (32, 32), padding="VALID", name="conv")(x)
            stored = not flags.get("train") or "norm" in self.mode.stored
            x = nn.BatchNorm(stored, name="norm")(
                x,
                mask=None
                if (w := flags.get("weight")) is None
                else w[:, None, None, None] > 0,
            )
            return nn.Dense(self.num_classes, name="head")(x[:, 0, 0])

    config = replace(mine, freeze="none", batch_size=1)
    with pytest.raises(InputError, match=r"one value per channel .* in norm: train at"):
        prepare(resolve(config, Objects(model=jft.OwnModel(Flax()))))
    prepare(resolve(replace(config, batch_size=2), Objects(model=Flax())))


def test_a_module_that_uses_dropout_is_accepted():
    class Dropped(Net):
        @nn.compact
        def __call__(self, x: jax.Array, **flags: Any) -> jax.Array:
            x = nn.Dense(self.num_classes, name="head")(jnp.mean(x, axis=(1, 2)))
            if flags.get("train") and self.mode.dropout:
                keep = jax.vmap(
                    lambda k: jax.random.bernoulli(k, 1 - self.mode.dropout)
                )
                x = x * keep(flags["keys"])[:, None].astype(x.dtype)
            return x

    module = Dropped(mode=TrainMode(dropout=0.5))
    variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    check_module(module, variables, 8, dense=False)
    with pytest.raises(InputError, match=r"logits of shape \(2, 8, 8, 2\)"):
        check_module(module, variables, 8, dense=True)
