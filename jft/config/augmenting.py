"""Which settings of the augmentation change images."""

from jft.config.schema import AugmentConfig

_SINGLE = (
    *("flip", "vertical_flip", "resized_crop", "rotate", "jitter", "hue"),
    *("crop_padding", "erase"),
)


def changes(config: AugmentConfig) -> tuple[str, ...]:
    """Return the names of the settings that change single images at random."""
    policy = ("policy",) if config.policy != "none" else ()
    return (*(name for name in _SINGLE if getattr(config, name)), *policy)


def mixes(config: AugmentConfig) -> tuple[str, ...]:
    """Return the names of the settings that mix pairs of images."""
    return tuple(name for name in ("mixup", "cutmix") if getattr(config, name))
