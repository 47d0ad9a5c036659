"""The settings of the augmentation that change images."""

SINGLE = (
    *("flip", "vertical_flip", "resized_crop", "rotate", "jitter", "hue"),
    *("crop_padding", "policy", "erase"),
)
"""Change single images at random."""

PAIRS = ("mixup", "cutmix")
"""Mix pairs of images."""

OFF = (0, "none")
