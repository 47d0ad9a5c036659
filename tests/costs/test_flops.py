"""Counts against loops over every tap, and against XLA's own cost analysis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from steps import counted

from jft.costs import operations
from jft.costs.flops import flops
from jft.costs.hlo import Program

# Size, kernel, stride, padding on both sides, dilation of kernel and image, groups.
CONVOLUTIONS = {
    "1x1": (8, 1, 1, (0, 0), 1, 1, 1),
    "1x1 of every second": (8, 1, 2, (0, 0), 1, 1, 1),
    "3x3": (8, 3, 1, (1, 1), 1, 1, 1),
    "3x3 without padding": (9, 3, 1, (0, 0), 1, 1, 1),
    "3x3 of every second": (8, 3, 2, (1, 1), 1, 1, 1),
    "3x3 of every second, odd": (7, 3, 2, (1, 1), 1, 1, 1),
    "uneven padding": (8, 3, 2, (0, 1), 1, 1, 1),
    "7x7 stem": (14, 7, 2, (3, 3), 1, 1, 1),
    "kernel beyond the image": (3, 7, 1, (3, 3), 1, 1, 1),
    "stride beyond the kernel": (11, 2, 4, (1, 0), 1, 1, 1),
    "dilated kernel": (9, 3, 1, (2, 2), 2, 1, 1),
    "dilated image": (5, 3, 1, (2, 1), 1, 2, 1),
    "cropped": (9, 3, 1, (-1, -2), 1, 1, 1),
    "groups": (8, 3, 2, (1, 1), 1, 1, 2),
}
IN, OUT, BATCH = 4, 6, 3


def convolution(case: str) -> tuple[Callable[..., Any], tuple[Any, Any]]:
    """Return a convolution, and the shapes of its image and kernel."""
    size, kernel, stride, pad, of_kernel, of_image, groups = CONVOLUTIONS[case]

    def convolve(image: Any, weights: Any) -> Any:
        return jax.lax.conv_general_dilated(
            image,
            weights,
            (stride, stride),
            (pad, pad),
            lhs_dilation=(of_image, of_image),
            rhs_dilation=(of_kernel, of_kernel),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    image = jax.ShapeDtypeStruct((BATCH, size, size + 1, IN), jnp.float32)
    weights = (kernel, kernel, IN // groups, OUT)
    return convolve, (image, jax.ShapeDtypeStruct(weights, jnp.float32))


def gradient(case: str, of: int) -> tuple[Callable[..., Any], tuple[Any, Any]]:
    """Return the gradient of a convolution by its image (0) or its kernel (1)."""
    convolve, shapes = convolution(case)

    def backward(other: Any, cotangent: Any) -> Any:
        def forward(x: Any) -> Any:
            return convolve(x, other) if of == 0 else convolve(other, x)

        return jax.linear_transpose(forward, shapes[of])(cotangent)

    return backward, (shapes[1 - of], jax.eval_shape(convolve, *shapes))


def compiled(function: Callable[..., Any], shapes: Any) -> Any:
    return jax.jit(function).lower(*shapes).compile()


def count(program: Any) -> int:
    return sum(operation.flops for operation in operations(program.as_text(), ()))


def by_loops(case: str) -> int:
    convolve, shapes = convolution(case)
    return sum(map(counted, jax.make_jaxpr(convolve)(*shapes).eqns))


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_has_the_taps_that_meet_the_image(case: str):
    program = compiled(*convolution(case))
    assert count(program) == by_loops(case) == program.cost_analysis()["flops"]


@pytest.mark.parametrize("of", [0, 1], ids=["image", "kernel"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_each_gradient_costs_what_the_convolution_costs(case: str, of: int):
    program = compiled(*gradient(case, of))
    assert count(program) == by_loops(case)
    assert count(program) == program.cost_analysis()["flops"]


def test_matrix_products_are_counted_with_their_batch():
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in ((7, 8, 5, 3), (8, 7, 3, 9))
    ]
    program = compiled(lambda a, b: jnp.einsum("xyik,yxkj->yxij", a, b), shapes)
    assert count(program) == 2 * (7 * 8) * 5 * 3 * 9
    assert count(program) == program.cost_analysis()["flops"]


@pytest.mark.parametrize(("unroll", "rounds"), [(True, 3), (False, 1)])
def test_a_loop_counts_as_one_round_unless_it_is_unrolled(unroll: bool, rounds: int):
    def power(x: Any) -> Any:
        return jax.lax.scan(lambda y, _: (y @ x, None), x, length=3, unroll=unroll)[0]

    program = compiled(power, [jax.ShapeDtypeStruct((4, 4), jnp.float32)])
    assert count(program) == rounds * 2 * 4**3


# As XLA's own tests write what it makes of these for NVIDIA GPUs: the labels and the
# window of both gradients are those of the forward convolution. Not run on a GPU yet.
def called(result: str, shapes: tuple[str, str], attributes: str, op_name: str) -> str:
    return f"""HloModule step
ENTRY %main (a: f32[{shapes[0]}], b: f32[{shapes[1]}]) -> f32[{result}] {{
  %a = f32[{shapes[0]}]{{1,0}} parameter(0)
  %b = f32[{shapes[1]}]{{1,0}} parameter(1)
  %call = (f32[{result}]{{1,0}}, u8[64]{{0}}) custom-call(%a, /*index=1*/%b), \
{attributes}, metadata={{op_name="jit(step)/{op_name}"}}
  ROOT %get-tuple-element = f32[{result}]{{1,0}} get-tuple-element(%call), index=0
}}
"""


IMAGE, KERNEL, RESULT = "3,14,15,4", "6,7,7,4", "3,7,8,6"


@pytest.mark.parametrize(
    ("target", "shapes", "transform", "kind"),
    [
        ("Forward", (IMAGE, KERNEL, RESULT), "jvp(R)", "forward"),
        ("BackwardInput", (RESULT, KERNEL, IMAGE), "transpose(jvp(R))", "backward"),
        ("BackwardFilter", (IMAGE, RESULT, KERNEL), "transpose(jvp(R))", "backward"),
    ],
)
def test_calls_of_cudnn_count_as_the_same_convolution(
    target: str, shapes: tuple[str, str, str], transform: str, kind: str
):
    attributes = (
        "window={size=7x7 stride=2x2 pad=3_3x3_3}, dim_labels=b01f_o01i->b01f, "
        f'custom_call_target="__cudnn$conv{target}"'
    )
    op_name = f"{transform}/stem/conv/conv_general_dilated"
    text = called(shapes[2], shapes[:2], attributes, op_name)
    [found] = operations(text, ["stem", "head"])
    assert (found.module, found.kind) == ("stem/conv", kind)
    assert found.flops == by_loops("7x7 stem")


@pytest.mark.parametrize("target", ["__cublas$gemm", "__cublas$lt$matmul"])
def test_calls_of_cublas_count_as_a_matrix_product(target: str):
    attributes = (
        f'custom_call_target="{target}", backend_config={{"gemm_backend_config":'
        '{"beta":0,"dot_dimension_numbers":{"lhs_contracting_dimensions":["0"],'
        '"rhs_contracting_dimensions":["0"],"lhs_batch_dimensions":[]}}}'
    )
    text = called("3,9", ("5,3", "5,9"), attributes, "jvp(R)/head/dot_general")
    [found] = operations(text, ["head"])
    assert (found.module, found.kind, found.flops) == ("head", "forward", 2 * 3 * 5 * 9)


def test_other_instructions_are_not_products():
    def step(x: Any) -> Any:
        return jnp.cumsum(jnp.tanh(x), axis=0) @ jnp.ones((4, 4))

    text = compiled(step, [jax.ShapeDtypeStruct((4, 4), jnp.float32)]).as_text()
    program = Program(text)
    counts = [flops(i, program) for i in program.instructions.values()]
    assert [n for n in counts if n is not None] == [2 * 4**3]
