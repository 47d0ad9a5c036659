"""Features are those of the step: of each view, and at each position the same bits."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SMALL, variables_of

from jft import augment
from jft.config import AugmentConfig
from jft.data.images import Source
from jft.features.cut import Cut
from jft.features.extract import View, features_of, make_extract_step
from jft.features.key import images_digest, key_of
from jft.models.pixels import normalise

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 255, (4, 32, 32, 3), np.uint8)
SPEC = SMALL["cifar"]
MODEL = SPEC.build(5)
VARIABLES = variables_of(MODEL)


@pytest.mark.parametrize("name", ["cifar", "basic", "vgg", "bit"])
def test_a_network_in_two_parts_gives_the_logits_of_the_whole(name: str):
    model, spec = SMALL[name].build(5), SMALL[name]
    variables, preprocess = variables_of(model), spec.preprocess
    whole = model.apply(variables, normalise(jnp.asarray(IMAGES), preprocess))
    for index in (len(model.stages) - 1, len(model.stages) - 2):
        cut = Cut(model.stages, index)
        features = features_of(model, variables, jnp.asarray(IMAGES), preprocess, cut)
        if cut.start == "head":
            assert features.ndim == 2
        parts = model.apply(variables, features, start=cut.start)
        np.testing.assert_array_equal(np.asarray(parts), np.asarray(whole))


def test_a_view_is_what_the_augmentation_draws_in_that_epoch():
    config = AugmentConfig(flip=True, crop_padding=4)
    cut, ids = Cut(MODEL.stages, 1), np.arange(4, dtype=np.int32)
    batch = {"image": jnp.asarray(IMAGES), "id": jnp.asarray(ids)}
    found: list[Any] = []
    for epoch in (0, 1):
        step = make_extract_step(MODEL, SPEC.preprocess, cut, View(config, 7, epoch))
        found.append(np.asarray(jax.jit(step)(VARIABLES, batch)))
        drawn = augment.augment(
            batch["image"],
            batch["id"],
            jax.random.key(7),
            jnp.asarray(epoch, jnp.int32),
            config,
            size=32,
        ).image
        plain = make_extract_step(MODEL, SPEC.preprocess, cut, None)
        expected = jax.jit(plain)(VARIABLES, {**batch, "image": drawn})
        np.testing.assert_array_equal(found[-1], np.asarray(expected))
    assert (found[0] != found[1]).any()


def test_the_key_changes_with_all_that_features_depend_on():
    other = jax.tree.map(lambda leaf: leaf + np.float32(1), VARIABLES)
    view = View(AugmentConfig(flip=True), 0, 0)
    settings: dict[str, Any] = {"size": 32, "view": view, "dtype": "float32"}
    keys = {
        key_of("a", VARIABLES, **settings),
        key_of("b", VARIABLES, **settings),
        key_of("a", other, **settings),
        key_of("a", VARIABLES, **settings | {"size": 64}),
        key_of("a", VARIABLES, **settings | {"dtype": "bfloat16"}),
        *(
            key_of("a", VARIABLES, **settings | {"view": changed})
            for changed in (
                None,
                dataclasses.replace(view, seed=1),
                dataclasses.replace(view, epoch=1),
                dataclasses.replace(view, augment=AugmentConfig()),
            )
        ),
    }
    assert len(keys) == 9
    assert key_of("a", VARIABLES, **settings) in keys


def test_one_pixel_changes_the_digest_of_the_images():
    changed = IMAGES.copy()
    changed[3, 0, 0, 0] ^= 1
    ones = np.ones(4, np.float32)
    first, second = (
        Source(pixels, np.zeros(4, np.int32), ones) for pixels in (IMAGES, changed)
    )
    assert images_digest(first) != images_digest(second)
    assert images_digest(first, 2) == images_digest(second, 2)
