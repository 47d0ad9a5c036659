"""The config.json of timm and of the Hugging Face hub."""

from typing import Any

from jft.config import ModelConfig
from jft.errors import InputError
from jft.models import ModelSpec, config_of
from jft.models.variants import GRID
from jft.predict.predictor import Predictor
from jft.weights.description import CROP_MODES
from jft.weights.pretrained import Pretrained


def timm_config(network: Predictor | Pretrained, spec: ModelSpec) -> dict[str, Any]:
    """Return the config.json that timm and the Hugging Face hub read.

    Raises:
        InputError: timm cannot express how the network takes its pixels.
    """
    preprocess = network.preprocess
    if preprocess.channels != "rgb" or preprocess.pixel_max != 1:
        raise InputError(
            f"{spec.name} takes {preprocess.channels} pixels up to "
            f"{preprocess.pixel_max:g}; timm supports only RGB pixels up to 1"
        )
    if config_of(spec) != ModelConfig(name=spec.name):
        raise InputError(
            f"timm has no {spec.name} of this width or with a pooled head; name a "
            "file, not a folder, to write its tensors alone"
        )
    size = preprocess.size
    if spec.variant.hidden and size // 32 > GRID:
        raise InputError(
            f"timm's {spec.name} pools after its classifier, not before, above 255 "
            f"pixels, so that its logits at {size} would differ"
        )
    classes, channels = int(network.model.num_classes), len(preprocess.mean)
    return {
        "architecture": spec.name,
        **({"model_args": {"in_chans": channels}} if channels != 3 else {}),
        "num_classes": classes,
        "label_names": list(network.class_names),
        "pretrained_cfg": {
            "num_classes": classes,
            "input_size": [channels, size, size],
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.crop_fraction,
            "crop_mode": CROP_MODES[preprocess.crop],
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
        },
    }
