"""Training steps of small networks, and what they compute counted without XLA."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from networks import SMALL

from jft import tree
from jft.costs import Cost, module_costs, operations
from jft.models import ModelSpec

# The first block of a stage has every kind of layer. One is enough where the next
# stage brings nothing new: a change of width, or groups of more than one channel.
SHORT = "bottleneck"
PLAIN = {
    name: dataclasses.replace(SMALL[name], stage_sizes=(1,) * stages)
    for stages, names in (
        (2, ("basic", "cifar", "grouped", "vgg", "keras_v2")),
        (1, (SHORT, "deep", "bit")),
    )
    for name in names
}
# One decoder with skips, and one with branches.
SPECS = PLAIN | {
    "cifar+unet": PLAIN["cifar"].adapted(decoder="unet"),
    "cifar+deeplabv3": PLAIN["cifar"].adapted(decoder="deeplabv3"),
}
BATCH, CLASSES, SIZE = 4, 5, 32
IMAGE = jax.ShapeDtypeStruct((BATCH, SIZE, SIZE, 3), jnp.float32)
LABEL = jax.ShapeDtypeStruct((BATCH,), jnp.int32)

# Whether a parameter stays as it is, by its name and the network's stages.
RULES: dict[str, Callable[[str, tuple[str, ...]], bool]] = {
    "none": lambda name, stages: False,
    "stem": lambda name, stages: name.split("/")[0] == stages[0],
    "all but the last stage": lambda name, stages: (
        name.split("/")[0] not in ("stage2", "head")
    ),
    "all but the head": lambda name, stages: not name.startswith("head/"),
    "all but the stem": lambda name, stages: name.split("/")[0] != stages[0],
    "all but biases": lambda name, stages: not name.endswith("/bias"),
    "all but norms": lambda name, stages: "/norm" not in name,
}


@functools.cache
def variables_of(spec: ModelSpec) -> dict[str, Any]:
    """Return shapes and dtypes of the variables."""
    return jax.eval_shape(spec.build(CLASSES).init, jax.random.key(0), IMAGE)


def frozen_by(rule: str, spec: ModelSpec) -> dict[str, Any]:
    """Return a tree of bools like the parameters."""
    names = tree.flatten(variables_of(spec)["params"])
    return tree.unflatten({n: RULES[rule](n, spec.stages) for n in names})


def hold(params: Any, frozen: Any) -> Any:
    return jax.tree.map(
        lambda leaf, fixed: jax.lax.stop_gradient(leaf) if fixed else leaf,
        params,
        frozen,
    )


def loss_of(spec: ModelSpec, apply: Any = None) -> Callable[..., Any]:
    """Return `loss(params, batch_stats, image, label) -> (loss, batch_stats)`."""
    model = spec.build(CLASSES)
    apply = apply or functools.partial(model.apply, train=True, mutable=["batch_stats"])

    def loss(params: Any, batch_stats: Any, image: Any, label: Any) -> Any:
        variables = {"params": params, "batch_stats": batch_stats}
        logits, changed = apply(variables, image)
        if logits.ndim == 4:  # all pixels have the image's class
            label = jnp.broadcast_to(label[:, None, None], logits.shape[:3])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        return losses.mean(), changed

    return loss


def step_of(loss: Callable[..., Any], frozen: Any) -> Callable[..., Any]:
    """Return a step that logs the norm of all gradients, of frozen leaves too."""

    def train_step(params: Any, batch_stats: Any, image: Any, label: Any) -> Any:
        def held_loss(params: Any) -> Any:
            return loss(hold(params, frozen), batch_stats, image, label)

        grads, changed = jax.grad(held_loss, has_aux=True)(params)
        moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        return moved, changed, optax.tree.norm(grads)

    return train_step


def arguments(spec: ModelSpec) -> tuple[Any, ...]:
    variables = variables_of(spec)
    return variables["params"], variables.get("batch_stats", {}), IMAGE, LABEL


@functools.cache
def compiled(name: str, rule: str = "none") -> Any:
    """Compile the step of a network in which a rule holds leaves."""
    spec = SPECS[name]
    step = step_of(loss_of(spec), frozen_by(rule, spec))
    return jax.jit(step).lower(*arguments(spec)).compile()


@functools.cache
def costs_of(name: str, rule: str = "none") -> dict[str, Cost]:
    """Return what `compiled` costs by module."""
    text = compiled(name, rule).as_text()
    return module_costs(operations(text, SPECS[name].stages))


def is_product(equation: Any) -> bool:
    return equation.primitive.name in ("conv_general_dilated", "dot_general")


def counted(equation: Any) -> int:
    """Count the operations of a traced convolution or matrix product, one by one."""
    first, second = (variable.aval.shape for variable in equation.invars)
    out, how = equation.outvars[0].aval.shape, equation.params
    numbers = how["dimension_numbers"]
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = numbers
        return 2 * math.prod(out) * math.prod(first[axis] for axis in contracted)
    image = [first[i] for i in numbers.lhs_spec]  # [B, C, H, W]
    kernel = [second[i] for i in numbers.rhs_spec]  # [C', C / groups, H, W]
    result = [out[i] for i in numbers.out_spec]  # [B, C', H, W]
    pairs = 1
    for axis in range(len(image) - 2):
        holes = how["lhs_dilation"][axis]
        real = range(0, image[axis + 2] * holes, holes)
        pairs *= sum(
            o * how["window_strides"][axis]
            + k * how["rhs_dilation"][axis]
            - how["padding"][axis][0]
            in real
            for o in range(result[axis + 2])
            for k in range(kernel[axis + 2])
        )
    return 2 * pairs * result[0] * result[1] * kernel[1]
