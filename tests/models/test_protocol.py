"""A Flax module of one's own is trained by the same step; one step against NumPy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.core import FrozenDict
from networks import SMALL
from training_runs import images

from jft.config import AugmentConfig
from jft.models import CIFAR_PREPROCESS, TrainMode
from jft.models.norm import BatchNorm
from jft.models.protocol import StagedModule
from jft.models.training import TrainBatch
from jft.step import StepSpec, TrainState, make_eval_step, make_train_step
from jft.tasks import Classification

CLASSES, RATE = 3, 0.5


class Own(nn.Module):
    """A pixel-wise layer, normalised, and a linear head on its mean."""

    num_classes: int = CLASSES
    axis_name: str | None = None
    mode: TrainMode = TrainMode()

    @property
    def stages(self) -> tuple[str, ...]:
        return "stem", "norm", "head"

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        batch = TrainBatch(weight, keys) if train else None
        x = nn.Dense(4, name="stem")(x)
        x = BatchNorm(self.mode.stored, name="norm")(x, batch)
        return nn.Dense(self.num_classes, name="head")(jnp.mean(nn.relu(x), (1, 2)))


def starting(module: Own, tx: optax.GradientTransformation) -> TrainState:
    drawn = module.init(jax.random.key(0), jnp.asarray(images(1)))
    stats = {"norm": {"mean": jnp.full(4, 0.5), "var": jnp.full(4, 2.0)}}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=FrozenDict(drawn["params"]),
        batch_stats=FrozenDict(stats),
        opt_state=tx.init(drawn["params"]),
        key=jax.random.key_data(jax.random.key(0)),
    )


def features(state: TrainState, pixels: np.ndarray) -> np.ndarray:
    """Return in float64 what the head is applied to, [B, 4]."""
    preprocess, params = CIFAR_PREPROCESS, jax.tree.map(np.float64, state.params)
    x = (pixels / 255 - np.array(preprocess.mean)) / np.array(preprocess.std)
    x = x @ params["stem"]["kernel"] + params["stem"]["bias"]
    return np.maximum((x - 0.5) / np.sqrt(2 + 1e-5), 0).mean((1, 2))


def test_a_step_of_ones_own_module_is_that_of_numpy_and_leaves_frozen_parts():
    module = Own(mode=TrainMode(stored=frozenset({"norm"})))
    tx = optax.with_extra_args_support(optax.sgd(RATE))
    state = starting(module, tx)
    mults = {part: {"kernel": 0.0, "bias": 0.0} for part in ("stem", "head")}
    mults["head"] = {"kernel": 1.0, "bias": 1.0}
    mults["norm"] = {"scale": 0.0, "bias": 0.0}
    spec = StepSpec(
        model=module,
        task=Classification(("a", "b", "c")),
        tx=tx,
        lr_mults=FrozenDict(mults),
        preprocess=CIFAR_PREPROCESS,
        augment=AugmentConfig(flip=False, crop_padding=0),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    batch: dict[str, Any] = {
        "image": jnp.asarray(pixels),
        "label": jnp.array([0, 1, 2, 1], jnp.int32),
        "weight": jnp.array([1, 1, 1, 0], jnp.float32),
        "id": jnp.arange(4, dtype=jnp.int32),
    }
    moved, sums = jax.jit(make_train_step(spec))(state, batch)
    seen, head = features(state, pixels)[:3], state.params["head"]
    logits = seen @ np.float64(head["kernel"])  # the bias begins at 0
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (probability - np.eye(3)) / 3
    # float32 means over a thousand pixels.
    for name, gradient in (("kernel", seen.T @ error), ("bias", error.sum(0))):
        step = np.asarray(moved.params["head"][name]) - np.asarray(head[name])
        np.testing.assert_allclose(step, -RATE * gradient, rtol=1e-3, atol=1e-6)
    loss = -np.log(np.diagonal(probability)).sum()
    np.testing.assert_allclose(sums["loss"], loss, rtol=1e-5)
    for part in ("stem", "norm"):
        jax.tree.map(
            np.testing.assert_array_equal, moved.params[part], state.params[part]
        )
    jax.tree.map(np.testing.assert_array_equal, moved.batch_stats, state.batch_stats)
    evaluated = jax.jit(make_eval_step(module, spec.task, CIFAR_PREPROCESS))
    found = evaluated(state.variables, batch)
    np.testing.assert_allclose(found["loss"], loss, rtol=1e-5)


def test_every_network_follows_the_protocol():
    for spec in SMALL.values():
        network: StagedModule = spec.build(CLASSES)
        assert network.stages == spec.stages
        assert (network.num_classes, network.axis_name) == (CLASSES, None)
        assert network.mode == TrainMode()
