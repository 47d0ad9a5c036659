"""Training in fewer bits, and computing again what was not kept."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SMALL, variables_of
from training_runs import BLOCKS, CLASSES, PLAIN, images, keys, train

from jft import tree
from jft.models import ModelSpec, TrainMode
from jft.models.layers import Conv
from jft.models.norm import BatchNorm
from jft.models.training import TrainBatch

pytestmark = pytest.mark.thorough

HALF = TrainMode(dtype="bfloat16")


def loss_of(
    spec: ModelSpec,
    mode: TrainMode,
    frozen: tuple[str, ...] = (),
    start: str | None = None,
) -> tuple[Any, dict[str, np.ndarray]]:
    """Return a loss of (trained leaves, images, keys), and the trained leaves."""
    model = spec.build(CLASSES, mode=mode)
    variables = variables_of(model)
    every = tree.flatten(variables["params"])
    trained = {n: leaf for n, leaf in every.items() if not n.startswith(frozen or "/")}

    def loss(trained: Any, x: Any, keys: Any) -> Any:
        logits, changed = model.apply(
            {**variables, "params": tree.unflatten(every | trained)},
            x,
            train=True,
            start=start,
            keys=keys,
            mutable=["batch_stats"],
        )
        return jnp.sum(jnp.sin(logits)), (logits, changed)

    return loss, trained


def lowered(
    spec: ModelSpec, mode: TrainMode, frozen: tuple[str, ...] = ()
) -> jax.stages.Lowered:
    """Return the gradient of the trained leaves, before XLA sees it."""
    loss, trained = loss_of(spec, mode, frozen)
    grad = jax.jit(jax.grad(loss, has_aux=True))
    return grad.lower(trained, images(4), keys(*range(4)))


def types_of(program: jax.stages.Lowered, operation: str) -> list[str]:
    """Return the types that each such operation of a program takes and gives."""
    return re.findall(rf"stablehlo\.{operation}.* : (.*)", program.as_text())


@pytest.mark.parametrize("name", list(SMALL))
def test_bfloat16_is_what_layers_compute_in_and_float32_what_is_kept(name: str):
    residual = not name.startswith("vgg")
    drop_path = 0.1 if residual else 0.0
    mode = TrainMode(dtype="bfloat16", dropout=0.1, drop_path=drop_path, remat=True)
    program = lowered(SMALL[name], mode)
    convolutions = types_of(program, "convolution")
    assert len(convolutions) >= 8
    assert not [types for types in convolutions if "xf32>" in types]
    products = types_of(program, "dot_general")
    wide = [types for types in products if "xf32>" in types]
    # Three for each dense layer: the head, and a VGG's two hidden ones. Its features'
    # means over areas are float32 products, two there and two back.
    assert len(products) - len(wide) == (3 if residual else 9)
    assert len(wide) == (0 if residual else 4)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(program.out_info)}
    assert kinds == {jnp.dtype("float32")}


def test_bfloat16_gives_nearly_the_same_logits_and_statistics():
    spec, x = SMALL["cifar"], images(16)
    exact, stats = train(spec, PLAIN, x)
    near, near_stats = train(spec, HALF, x)
    # Each of 7 layers rounds its result, and its kernel, by at most 2^-9 of it: 14
    # times 2^-9 if all errors had one sign. Below 2^-10 nothing would be rounded.
    error = np.abs(near - exact).max() / np.abs(exact).max()
    assert 2**-10 < error < 14 * 2**-9
    for name, leaf in stats.items():
        apart = np.abs(near_stats[name] - leaf).max() / np.abs(leaf).max()
        assert apart < 14 * 2**-9, name


def test_features_are_of_the_dtype_that_is_computed_in():
    spec = SMALL["cifar"]
    model = spec.build(CLASSES, mode=HALF)
    variables = variables_of(model)

    def features(x: jax.Array) -> jax.Array:
        return model.apply(variables, x, stop="stage1")

    assert jax.eval_shape(features, images(2)).dtype == jnp.bfloat16
    x = jnp.asarray(images(2, 4)[..., :1].repeat(8, axis=-1), jnp.bfloat16)
    logits = [model.apply(variables, v, start="head") for v in (x, np.float32(x))]
    assert logits[0].dtype == jnp.float32
    np.testing.assert_array_equal(*logits)


def test_bfloat16_features_are_normalised_in_float32():
    # A spread of 1 around 100: bfloat16 steps by a half there.
    x = jnp.asarray(images(8) + 100, jnp.bfloat16)
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    variables = {
        "params": {"scale": ones, "bias": zeros},
        "batch_stats": {"mean": zeros, "var": ones},
    }
    y, changed = BatchNorm().apply(variables, x, TrainBatch(), mutable=["batch_stats"])
    wide = np.asarray(x, np.float64)
    mean, var = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    assert y.dtype == jnp.bfloat16
    exact = (wide - mean) / np.sqrt(var + 1e-5)
    # The result is rounded once, by at most 2^-9; the difference cancels two digits of
    # float32's seven.
    np.testing.assert_allclose(np.asarray(y, np.float64), exact, rtol=2**-8, atol=1e-4)
    stats = changed["batch_stats"]
    np.testing.assert_allclose(stats["mean"], mean / 10, rtol=1e-6)
    stored = 0.9 + 0.1 * wide.var((0, 1, 2), ddof=0) * 2048 / 2047
    np.testing.assert_allclose(stats["var"], stored, rtol=1e-6)


def test_a_kernel_is_standardised_before_it_is_rounded():
    # Around 300 bfloat16 steps by 2: rounded first, a spread of 1 would be lost.
    kernel = images(3, 4)[:, :3, :, :2] + np.float32(300)  # [3, 3, 4, 2]
    x = jnp.ones((1, 3, 3, 4), jnp.bfloat16)
    y = Conv(2, 3, standardised=True).apply({"params": {"kernel": kernel}}, x)
    wide = kernel.astype(np.float64)
    exact = (wide - wide.mean((0, 1, 2))) / wide.std((0, 1, 2))
    # A sum of the 16 numbers, of size 1, that a corner sees, each rounded by 2^-9.
    corner = np.asarray(y[0, 0, 0], np.float64)
    expected = exact[1:, 1:].sum((0, 1, 2))
    np.testing.assert_allclose(corner, expected, atol=16 * 2**-9)


# How many convolutions going backward needs again: two for each basic block, and the
# shortcut that "basic" has; of BiT's blocks not the third nor the shortcut, since their
# gradients need no result of theirs; a VGG's three.
ALL = [("cifar", (), 6), ("basic", (), 7), ("bit", (), 6), ("vgg", (), 3)]
PARTLY_FROZEN = [
    ("cifar", BLOCKS[:1], 4),
    ("cifar", BLOCKS[:2], 2),
    ("cifar", BLOCKS[2:], 4),
    ("cifar", BLOCKS, 0),
    ("vgg_bn", ("stage1/layer1",), 2),
]


@pytest.mark.parametrize(("name", "frozen", "more"), [*ALL, *PARTLY_FROZEN])
def test_trained_blocks_alone_are_computed_again(
    name: str, frozen: tuple[str, ...], more: int
):
    mode = TrainMode(remat=True, frozen=frozenset(frozen))
    plain, again = (lowered(SMALL[name], m, frozen) for m in (PLAIN, mode))
    counts = [len(types_of(program, "convolution")) for program in (plain, again)]
    assert counts[1] - counts[0] == more


def test_remat_keeps_the_inputs_of_blocks_alone():
    spec = SMALL["basic"]

    def kept(mode: TrainMode) -> int:
        """Count the numbers that going backward takes from going forward."""
        loss, trained = loss_of(spec, mode, start="stage1")
        x = jnp.ones((4, 8, 8, 4))

        def back(trained: Any) -> Any:
            return jax.vjp(lambda t: loss(t, x, None)[0], trained)[1]

        leaves = jax.tree.leaves(jax.eval_shape(back, trained))
        images = [leaf for leaf in leaves if leaf.shape[:1] == (4,) and leaf.ndim == 4]
        return sum(leaf.size for leaf in images)

    # The first two blocks see [4, 8, 8, 4], the third too; the mean of what it puts
    # out, [4, 4, 4, 8], needs nothing of it.
    assert kept(TrainMode(remat=True)) == 3 * 4 * 8 * 8 * 4
    # Frozen blocks store all that a plain one does.
    assert kept(TrainMode(remat=True, frozen=frozenset(BLOCKS))) == kept(PLAIN)


def test_remat_changes_no_name_and_no_number():
    spec, x = SMALL["cifar"], images(4, 8)[..., [0, 1, 2, 0]]

    def gradient(remat: bool) -> Any:
        mode = TrainMode(dropout=0.2, drop_path=0.5, remat=remat)
        loss, trained = loss_of(spec, mode, start="stage2")
        return jax.jit(jax.grad(loss, has_aux=True))(trained, x, keys(*range(4)))

    again, plain = gradient(remat=True), gradient(remat=False)
    assert jax.tree.structure(again) == jax.tree.structure(plain)
    for here, there in zip(jax.tree.leaves(again), jax.tree.leaves(plain), strict=True):
        # XLA fuses, and so rounds, otherwise.
        np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-6)
