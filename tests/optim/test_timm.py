"""LARS and LAMB against timm's: norms and biases have no trust ratio."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from unrolled import as_numpy, nested

from jft.config import OptimConfig
from jft.optim.chain import make_optimizer

SHAPES = {"stage1/kernel": (3, 4), "stage1/scale": (4,), "stage1/bias": (4,)}
# timm 1.0.31 on torch 2.13 in float64: five steps of Lars(lr=0.5, momentum=0.9) and of
# Lamb(lr=0.05, max_grad_norm=None), with weight_decay 1e-9 for the kernel and 0 for the
# others; the first four values of each parameter. The two weigh decay in lars's trust
# ratio differently, which 1e-9 does not show.
TIMM = {
    "lars": [
        [0.0022152, 0.6468324, 0.9872343, 0.8633244],
        [-1.8491245, -1.0767987, 0.2019624, 1.3857374],
        [3.1758361, 1.2268362, -1.299164, -3.2141471],
    ],
    "lamb": [
        [0.1393422, 0.8242527, 1.0840577, 0.8618821],
        [0.6594402, 0.8499879, 0.5995141, 0.0589803],
        [1.0602945, 0.5167543, -0.2540321, -0.8988144],
    ],
}


def values(shape: tuple[int, ...], phase: int) -> np.ndarray:
    angles = np.arange(math.prod(shape)) * 0.7 + phase
    return np.sin(angles).reshape(shape).astype(np.float32)


@pytest.mark.parametrize(("name", "rate"), [("lars", 0.5), ("lamb", 0.05)])
def test_five_steps_are_those_of_timm(name: str, rate: float):
    config = OptimConfig(name=name, weight_decay=1e-9)  # pyright: ignore[reportArgumentType]
    shapes = list(enumerate(SHAPES.items()))
    params = nested({n: values(shape, i) for i, (n, shape) in shapes})
    tx = make_optimizer(config, rate, nested(dict.fromkeys(SHAPES, 1.0)))
    state = tx.init(params)
    for step in range(5):
        flat = {n: values(shape, 10 * i + step + 3) for i, (n, shape) in shapes}
        updates, state = tx.update(nested(flat), state, params)
        summed = {n: x + as_numpy(updates)[n] for n, x in as_numpy(params).items()}
        params = nested({n: jnp.asarray(x) for n, x in summed.items()})
    for leaf, expected in zip(as_numpy(params).values(), TIMM[name], strict=True):
        # float32, and bias correction in powers of 0.999, against float64.
        np.testing.assert_allclose(leaf.ravel()[:4], expected, rtol=0, atol=2e-5)
