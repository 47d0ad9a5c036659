from collections.abc import Callable

import jax
import numpy as np
import pytest

from jft.augment import VIEWS, averaged
from jft.augment.views import View, apply, undo

IMAGE = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
EVERY = VIEWS["d4"]

# Where (row, column) of 5 x 5 comes from, written out.
BY_HAND: dict[View, Callable[[int, int], tuple[int, int]]] = {
    View(0, mirrored=False): lambda r, c: (r, c),
    View(0, mirrored=True): lambda r, c: (r, 4 - c),
    View(2, mirrored=False): lambda r, c: (4 - r, 4 - c),
    View(2, mirrored=True): lambda r, c: (4 - r, c),
    View(1, mirrored=False): lambda r, c: (c, 4 - r),
    View(3, mirrored=False): lambda r, c: (4 - c, r),
    View(1, mirrored=True): lambda r, c: (c, r),
    View(3, mirrored=True): lambda r, c: (4 - c, 4 - r),
}


@pytest.mark.parametrize("view", EVERY)
def test_a_view_is_the_turn_written_out(view: View):
    shown = np.asarray(apply(view, IMAGE))
    for row, column in np.ndindex(5, 5):
        source = BY_HAND[view](row, column)
        assert np.array_equal(shown[:, row, column], IMAGE[:, *source])


@pytest.mark.parametrize("view", EVERY)
def test_undoing_a_view_puts_every_pixel_back(view: View):
    assert np.array_equal(undo(view, apply(view, IMAGE)), IMAGE)


def test_undoing_leaves_outputs_without_a_place():
    outputs = IMAGE[:, 0, 0]
    assert all(undo(view, outputs) is outputs for view in EVERY)


def test_the_views_are_those_their_names_say():
    shown = {
        name: {np.asarray(apply(view, IMAGE)).tobytes() for view in views}
        for name, views in VIEWS.items()
    }
    left_right, upside_down = IMAGE[:, :, ::-1], IMAGE[:, ::-1]
    both = IMAGE[:, ::-1, ::-1]
    assert shown["none"] == {IMAGE.tobytes()}
    assert shown["flip"] == {IMAGE.tobytes(), left_right.tobytes()}
    flips = {a.tobytes() for a in (IMAGE, left_right, upside_down, both)}
    assert shown["flips"] == flips
    assert len(shown["d4"]) == 8


def test_a_network_that_sees_each_pixel_alone_says_the_same_in_all_views():
    plain = np.tanh(IMAGE)
    for name in VIEWS:
        found = averaged(jax.numpy.tanh, IMAGE, name)
        # Up to eight additions of values up to 1 in float32.
        np.testing.assert_allclose(found, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", VIEWS)
def test_predictions_of_a_whole_image_are_averaged_over_the_views(name: str):
    # Weighs pixels differently, so that every view is another number.
    weight = np.random.default_rng(1).normal(size=(5, 5, 3, 4)).astype(np.float32)
    calls: list[int] = []

    def predict(image: jax.Array) -> jax.Array:
        calls.append(1)
        return jax.numpy.einsum("bhwc,hwck->bk", image, weight)

    found = averaged(predict, IMAGE, name)
    assert len(calls) == len(VIEWS[name])
    shown = [np.asarray(apply(view, IMAGE)) for view in VIEWS[name]]
    each = [np.einsum("bhwc,hwck->bk", s.astype(np.float64), weight) for s in shown]
    # Sums of 75 products of about 1.
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=0, atol=2e-5)


def test_dense_predictions_are_turned_back_before_they_are_averaged():
    # Depends on the position in the image: averaged over all eight views, it has all
    # symmetries of the square.
    position = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
    found = np.asarray(averaged(lambda image: position + 0 * image, IMAGE, "d4"))
    square = position[0, :, :, 0].astype(np.float64)
    turned = [np.rot90(square, turns) for turns in range(4)]
    expected = np.mean([t for s in turned for t in (s, s.T)], axis=0)
    for channel in np.moveaxis(found, -1, 1).reshape(-1, 5, 5):
        # Sums of eight whole numbers up to 24 are exact.
        np.testing.assert_array_equal(channel, expected)
