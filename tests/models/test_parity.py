"""The networks and the training step against torch, through a committed file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import make_oracle
import numpy as np
import optax
import pytest
import reference
from flax.core import FrozenDict

from jft import optim, tree
from jft.config import AugmentConfig, OptimConfig
from jft.models import MODELS
from jft.pretrained import Pretrained
from jft.step import StepSpec, TrainState, make_train_step
from jft.tasks import Classification
from jft.weights.load import LoadReport, place
from jft.weights.names import torch_name

ORACLE = Path(__file__).with_name("oracle.npz")

# All tolerances are shares of the largest number compared. The file was computed in
# float64, so they bound the rounding of float32 alone; the first figure is what we are
# off by, the second torch's own float32, both on CPU. Another platform adds up in
# another order, hence the room above them.
# 2e-6, 8e-7; "SAME" padding, the stride of v1 or an epsilon of 1e-3 are beyond it.
LOGITS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-4  # 2e-5, 1e-5: a ReLU near zero may go the other way
STATS_TOLERANCE = 5e-6  # 6e-7, 1e-6
# Each step at this high rate magnifies what the one before was off by: 7e-7, 6e-7, 6e-5
# for us and 9e-7, 4e-7, 3e-3 for torch.
LOSS_TOLERANCE = (1e-5, 1e-4, 2e-2)

SLOW = {"resnet101", "resnet152"}

Trained = tuple[str, list[TrainState], list[float]]


@pytest.fixture(scope="module")
def oracle() -> dict[str, np.ndarray]:
    with np.load(ORACLE) as numbers:
        return dict(numbers)


def network(name: str) -> Pretrained:
    """Build a network whose weights are the reference's, read by their torch names."""
    spec = MODELS[name]
    model = spec.build(reference.CLASSES)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = tree.flatten(jax.eval_shape(model.init, jax.random.key(0), image))
    tensors = reference.tensors(reference.shapes_of(name))
    placed, _ = place(shapes, tensors, "reference")
    assert set(placed) == set(shapes)
    variables = FrozenDict(tree.unflatten(placed))
    report = LoadReport("reference", "", tuple(sorted(placed)), ())
    return Pretrained(model, variables, spec.preprocess, report)


def distance(ours: Any, exact: np.ndarray) -> float:
    """Return the largest difference, as a share of the largest number."""
    ours = np.asarray(ours, np.float64)
    assert ours.shape == exact.shape
    return float(np.abs(ours - exact).max() / np.abs(exact).max())


def test_numpy_still_draws_the_weights_that_torch_was_given(
    oracle: dict[str, np.ndarray],
):
    np.testing.assert_array_equal(reference.fingerprint(), oracle["fingerprint"])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in reference.LOGITS
    ],
)
def test_logits_are_those_of_torch(name: str, oracle: dict[str, np.ndarray]):
    built = network(name)
    compared = 0
    for case, images in reference.cases():
        if case == name:
            height, width = images.shape[1:3]
            exact = oracle[f"{name}/logits/{height}x{width}"]
            assert distance(built.logits(images), exact) < LOGITS_TOLERANCE
            compared += 1
    assert compared == len(reference.LOGITS[name])


def train(name: str) -> Iterator[tuple[TrainState, float]]:
    """Yield the state and the loss of each training step."""
    built = network(name)
    params = built.variables["params"]
    frozen = jax.tree.map(lambda _: False, params)
    config = OptimConfig(
        learning_rate=reference.RATE,
        momentum=reference.MOMENTUM,
        schedule="constant",
    )
    rate = optim.learning_rate(
        config, steps=reference.STEPS, steps_per_epoch=reference.STEPS
    )
    optimizer = optim.optimizer(config, rate, frozen)
    step_spec = StepSpec(
        model=built.model,
        task=Classification(),
        optimizer=optimizer,
        rate=rate,
        frozen=frozen,
        preprocess=built.preprocess,
        augment=AugmentConfig(crop_padding=0),
        steps_per_epoch=reference.STEPS,
    )
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=built.variables["batch_stats"],
        opt_state=optimizer.init(params),
        key=jax.random.key_data(jax.random.key(0)),
    )
    count = reference.TRAINING[name][0]
    batch = {
        "image": jnp.asarray(reference.images(*reference.TRAINING[name])),
        "label": jnp.asarray(reference.labels(count)),
        "weight": jnp.ones(count),
        "id": jnp.arange(count, dtype=jnp.int32),
    }
    step = jax.jit(make_train_step(step_spec))
    for _ in range(reference.STEPS):
        state, sums = step(state, batch)
        yield state, float(sums["loss"] / sums["n"])


@pytest.fixture(scope="module", params=list(reference.TRAINING))
def trained(request: pytest.FixtureRequest) -> Trained:
    states, losses = zip(*train(request.param), strict=True)
    return request.param, list(states), list(losses)


def in_torch(variables: Any, collection: str, name: str) -> dict[str, np.ndarray]:
    """Return leaves under their torch names and in torch's layout."""
    leaves = {}
    for ours, leaf in tree.flatten(variables).items():
        array = np.asarray(leaf)
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        if array.ndim == 2:
            array = array.T
        there = reference.shapes_of(name)
        leaves[torch_name(f"{collection}/{ours}", there)] = array
    return leaves


def test_losses_of_three_steps_are_those_of_torch(
    trained: Trained, oracle: dict[str, np.ndarray]
):
    name, _, losses = trained
    exact = oracle[f"{name}/loss"]
    for ours, loss, tolerance in zip(losses, exact, LOSS_TOLERANCE, strict=True):
        assert ours == pytest.approx(float(loss), rel=tolerance)


def test_gradients_are_those_of_torch(trained: Trained, oracle: dict[str, np.ndarray]):
    name, states, _ = trained
    # After the first step the momentum is the gradient.
    momentum = optax.tree.get(states[0].opt_state, "trace")
    grads = in_torch(momentum, "params", name)
    norms = [np.linalg.norm(grads[key].reshape(-1)) for key in sorted(grads)]
    exact = oracle[f"{name}/gradient_norms"]
    np.testing.assert_allclose(norms, exact, rtol=GRADIENT_TOLERANCE)
    for key in reference.SLICES[name]:
        slice_ = oracle[f"{name}/gradient/{key}"]
        assert distance(reference.part(grads[key]), slice_) < GRADIENT_TOLERANCE, key


def test_stored_statistics_are_those_of_torch(
    trained: Trained, oracle: dict[str, np.ndarray]
):
    name, states, _ = trained
    stats = in_torch(states[0].batch_stats, "batch_stats", name)
    for norm in reference.NORMS[name]:
        for leaf in ("running_mean", "running_var"):
            key = f"{norm}.{leaf}"
            exact = oracle[f"{name}/stats/{key}"]
            assert distance(stats[key], exact) < STATS_TOLERANCE, key


@pytest.fixture(scope="module")
def live() -> dict[str, np.ndarray]:
    pytest.importorskip("torch")
    pytest.importorskip("PIL")
    return make_oracle.compute()


@pytest.mark.oracle
def test_live_torch_computes_what_the_file_holds(
    live: dict[str, np.ndarray], oracle: dict[str, np.ndarray]
):
    assert {*live, "fingerprint"} == set(oracle)
    for key, value in live.items():
        # The file is float32, whose last bit is 6e-8.
        assert distance(value, oracle[key]) < 1e-6, key


@pytest.mark.oracle
@pytest.mark.parametrize("name", list(reference.SIZES))
def test_live_torch_has_the_parameters_that_the_table_says(name: str):
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        model = make_oracle.architecture(name, MODELS[name].num_classes)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == MODELS[name].parameters
