"""The classic recipe does what every tutorial teaches, step by step."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict
from networks import variables_of
from test_loop import images

from jft import augment, models, tree
from jft.cli import load_recipe
from jft.config import ModelConfig, TrainConfig
from jft.data.pipeline import Batches
from jft.data.sources import open_splits
from jft.freeze import layer_of
from jft.inference import Predictor
from jft.loop import fit
from jft.models import MODELS, ModelSpec
from jft.models.training import TrainMode
from jft.pretrained import load_pretrained
from jft.weights.export import find_layout, to_layout, write_weights

pytestmark = pytest.mark.thorough
__all__ = ["images"]  # a fixture
ROOT = Path(__file__).parents[1]
FIRST_FIVE = {"stem", *(f"stage1/block{i}" for i in range(3)), "stage2/block0"}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """Make a ResNet-50 of an eighth of its width known by its name."""
    spec = dataclasses.replace(MODELS["resnet50"], width=8)
    monkeypatch.setitem(models.MODELS, "resnet50", spec)
    return spec


@pytest.fixture
def recipe(narrow: ModelSpec, images: Path, tmp_path: Path) -> TrainConfig:
    """Return the recipe on small images, from a file in torchvision's layout."""
    weights = tmp_path / "resnet50.safetensors"
    variables = tree.flatten(variables_of(narrow.build(1000)))
    host = {name: np.asarray(leaf) for name, leaf in variables.items()}
    layout = find_layout("torchvision", narrow)
    write_weights(weights, to_layout(host, layout, narrow), {})
    return dataclasses.replace(
        load_recipe(str(ROOT / "configs" / "tutorial_resnet50.py")),
        data=f"folder:{images}",
        weights=str(weights),
        model=ModelConfig(name="resnet50"),
        image_size=64,
        batch_size=16,
        devices="jit",
        workdir=str(tmp_path / "run"),
    )


def test_the_recipe_says_what_the_tutorials_say():
    config = load_recipe(str(ROOT / "configs" / "tutorial_resnet50.py"))
    assert config.weights.startswith("torchvision:resnet50")
    assert (config.freeze, config.epochs) == ("first:5", 10)
    assert (config.optim.name, config.optim.learning_rate) == ("sgd", 1e-4)
    assert config.optim.schedule == "constant"
    assert config.optim.weight_decay == config.label_smoothing == 0


def by_hand(config: TrainConfig, spec: ModelSpec) -> tuple[Any, Any]:
    """Return the parameters before and after SGD with momentum, written out."""
    start = load_pretrained("resnet50", config.weights, 2, image_size=64)
    splits = open_splits(config.data, start.preprocess)
    batches = Batches(splits.train, config.batch_size, config.seed, config.epochs)
    params = {
        n: np.asarray(x) for n, x in tree.flatten(start.variables["params"]).items()
    }
    stored = frozenset(
        name.removesuffix("/mean")
        for name in tree.flatten(start.variables["batch_stats"])
        if name.endswith("/mean") and layer_of(name, spec) in FIRST_FIVE
    )
    model = spec.build(2, mode=TrainMode(stored=stored))

    @jax.jit
    def gradient(params: Any, stats: Any, image: Any, batch: Any) -> Any:
        def loss(params: Any) -> Any:
            logits, changed = model.apply(
                {"params": params, "batch_stats": stats},
                image,
                train=True,
                weight=batch["weight"],
                mutable=["batch_stats"],
            )
            each = optax.softmax_cross_entropy_with_integer_labels(
                logits, batch["label"]
            )
            weight = batch["weight"]
            return jnp.sum(each * weight) / jnp.sum(weight), changed["batch_stats"]

        return jax.grad(loss, has_aux=True)(params)

    momentum = {name: np.zeros_like(x) for name, x in params.items()}
    stats, before = start.variables["batch_stats"], dict(params)
    for i in range(len(batches)):
        batch = batches[i]
        epoch = jnp.int32(i // batches.steps_per_epoch)
        key = jax.random.key(config.seed)
        pixels, _ = augment.augment(
            jnp.asarray(batch["image"]),
            jnp.asarray(batch["id"]),
            key,
            epoch,
            config.augment,
            size=start.preprocess.size,
        )
        image = augment.normalise(pixels, start.preprocess)
        grads, stats = gradient(tree.unflatten(params), stats, image, batch)
        for name, grad in tree.flatten(grads).items():
            if layer_of(name, spec) not in FIRST_FIVE:
                momentum[name] = np.float32(0.9) * momentum[name] + np.asarray(grad)
                params[name] = params[name] - np.float32(1e-4) * momentum[name]
    return before, params


def test_the_first_five_layers_stay_and_sgd_moves_the_others(
    recipe: TrainConfig, narrow: ModelSpec
):
    result = fit(recipe)
    predictor = Predictor.from_run(result.workdir)  # saved for inference
    after = tree.flatten(FrozenDict(predictor.variables)["params"])
    before, expected = by_hand(recipe, narrow)
    moved = worst = 0.0
    for name, leaf in after.items():
        if layer_of(name, narrow) in FIRST_FIVE:
            assert np.asarray(leaf).tobytes() == before[name].tobytes(), name
        else:
            worst = max(worst, float(np.abs(leaf - expected[name]).max()))
            moved = max(moved, float(np.abs(leaf - before[name]).max()))
    # A first step is within 3e-8 of the reference; batch statistics magnify the
    # rounding of the nine after it.
    assert worst < 0.02 * moved
    assert moved > 1e-3
    assert predictor([np.zeros((40, 40, 3), np.uint8)]).shape == (1, 2)
