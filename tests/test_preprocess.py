"""What pixels go through, and what cannot be meant by it."""

import dataclasses
import math
from typing import Any

import pytest

from jft.errors import InputError
from jft.preprocess import CAFFE, Preprocess


def test_the_resized_side_is_that_of_torchvision_and_timm():
    assert Preprocess().resized == 256
    assert Preprocess(crop_fraction=224 / 232).resized == 232
    assert Preprocess(crop_fraction=0.965517).resized == 232
    # timm rounds down: 224 / 0.95 is 235.8.
    assert Preprocess(crop_fraction=0.95).resized == 235


def test_it_comes_back_from_what_json_makes_of_it():
    stated = dataclasses.asdict(CAFFE) | {"mean": list(CAFFE.mean)}
    assert Preprocess.from_dict(stated) == CAFFE
    assert str(CAFFE) == (
        "resize 256 bilinear, crop 224, BGR 0..255, "
        "mean 103.939 116.779 123.68, std 1 1 1"
    )


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (5, "preprocessing must be a group of settings, got 5"),
        ([1], "preprocessing must be a group of settings"),
        ({"sise": 32}, "'sise' is not a preprocessing field; did you mean 'size'?"),
        ({"size": 224.5}, "image size must be a number of pixels from 1 to 4096"),
        ({"size": True}, "image size must be a number of pixels"),
        ({"size": 10**9}, "image size must be a number of pixels"),
        ({"size": 0}, "image size must be a number of pixels"),
        ({"mean": [0.5, 0.5]}, "mean has 2 numbers and std 3"),
        ({"mean": []}, "mean must be finite numbers, one per channel"),
        ({"mean": ["a", "b", "c"]}, "mean must be finite numbers"),
        ({"mean": [0, 0, math.nan]}, "mean must be finite numbers"),
        ({"std": [1, 1, math.inf]}, "std must be positive and finite numbers"),
        ({"std": [1, 1, 0]}, "std must be positive and finite numbers"),
        ({"pixel_max": math.inf}, "pixel_max must be positive"),
        ({"crop_fraction": 1.5}, "crop_fraction must be in"),
        ({"interpolation": "bilinea"}, "interpolation 'bilinea'; valid: nearest"),
        ({"channels": "gbr"}, "channels 'gbr'; valid: rgb, bgr"),
    ],
)
def test_what_cannot_be_meant_is_refused(stated: Any, message: str):
    with pytest.raises(InputError, match=message):
        Preprocess.from_dict(stated)
