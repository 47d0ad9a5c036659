"""Weights and images that a torch script and the tests compute alike, from names."""

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

CLASSES = 7

# Height and width of the images that each network's logits are for. 57 and 75 leave
# odd sizes behind every stride.
LOGITS = {
    "resnet18": ((64, 64), (57, 75)),
    "resnet50": ((64, 64), (57, 75)),
    "resnet20": ((32, 32),),
    "resnet34": ((32, 32),),
    "resnet101": ((32, 32),),
    "resnet152": ((32, 32),),
}
IMAGES = {"resnet34": 1, "resnet101": 1, "resnet152": 1}  # two of the others


class Small(NamedTuple):
    """A network that is made shallower or narrower than the published one.

    Attributes:
        stage_sizes: Its blocks per stage.
        width: Channels of its first stage.
        sizes: Height and width of the images that its logits are for.
        hidden: Channels of a VGG's hidden layers.
    """

    stage_sizes: tuple[int, ...]
    width: int
    sizes: tuple[tuple[int, int], ...] = ((64, 64), (57, 75))
    hidden: int = 0


# One of each kind of layer; which tensors they have is in oracle.npz too. A VGG's
# features of one pixel are repeated over its grid, those of 2x3 in part.
SMALL = {
    "resnext50_32x4d": Small((1, 1, 1, 1), 64),
    "resnet50d": Small((1, 1, 1, 2), 16),
    "vgg11_bn": Small((1, 1, 2, 2, 2), 16, ((32, 32), (64, 96)), hidden=64),
    "resnetv2_50x1_bit": Small((1, 2, 1, 1), 32),
    "keras_resnet50": Small((1, 2), 64),
    "keras_resnet50v2": Small((2, 2), 64),
    # The second image is wide enough for kernels that see 36 features to each side.
    "fcn_resnet50": Small((1, 1, 2, 2), 16, ((57, 73),)),
    "deeplabv3_resnet50": Small((1, 1, 2, 2), 16, ((57, 73), (41, 321))),
}

# Images, height and width of the training batch. At 32 pixels resnet18 would end on
# one pixel, whose normalisation over four numbers magnifies rounding.
TRAINING = {"resnet18": (4, 64, 64), "resnet20": (4, 32, 32)}
# The kernels of VGGs, by their names in torch and Keras, except the last layer's.
PLAIN = re.compile(r"features\.|classifier\.[03]|pre_logits|block\d_conv\d/|fc\d/")

# The normalisation before the last convolution of BiT's branches, as timm names it.
BRANCH = re.compile(r"stages\.\d\.blocks\.\d+\.norm3\.")

RATE, MOMENTUM, STEPS = 0.1, 0.9, 3

NORMS = {
    "resnet18": ("bn1", "layer1.1.bn2", "layer3.0.downsample.1", "layer4.1.bn2"),
    "resnet20": ("bn1", "layer1.0.bn1", "layer2.0.bn1", "layer3.2.bn2"),
}
SLICES = {
    "resnet18": (
        *("conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv2.weight"),
        *("layer2.0.conv1.weight", "layer2.0.downsample.0.weight"),
        *("layer3.0.downsample.1.bias", "layer4.1.conv2.weight", "layer4.1.bn2.weight"),
        *("fc.weight", "fc.bias"),
    ),
    "resnet20": (
        *("conv1.weight", "bn1.bias", "layer2.0.conv1.weight", "layer3.0.conv1.weight"),
        *("layer3.2.bn2.weight", "linear.weight", "linear.bias"),
    ),
}

SIZES = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "resnet20": (3, 3, 3),
    "resnet32": (5, 5, 5),
    "resnet44": (7, 7, 7),
    "resnet56": (9, 9, 9),
    "resnet110": (18, 18, 18),
}


def shapes_of(name: str, classes: int = CLASSES) -> dict[str, tuple[int, ...]]:
    """Return a published network's tensors by torch name, with their shapes.

    Written from torchvision's and akamaster's code, not from jft's tables.
    """
    sizes = SIZES[name]
    small = len(sizes) == 3
    bottleneck = name in ("resnet50", "resnet101", "resnet152")
    width = 16 if small else 64
    return torch_shapes(
        sizes, width=width, classes=classes, small=small, bottleneck=bottleneck
    )


def torch_shapes(
    sizes: tuple[int, ...],
    *,
    width: int,
    classes: int,
    small: bool,
    bottleneck: bool = False,
) -> dict[str, tuple[int, ...]]:
    """Return a residual network's tensors by torch name, with their shapes."""
    shapes = {"conv1.weight": (width, 3, *((3, 3) if small else (7, 7)))}
    shapes |= norm_shapes("bn1", width)
    channels = width
    for i, blocks in enumerate(sizes):
        inner = width * 2**i
        out = inner * (4 if bottleneck else 1)
        for j in range(blocks):
            block = f"layer{i + 1}.{j}"
            if bottleneck:
                plan = [(channels, inner, 1), (inner, inner, 3), (inner, out, 1)]
            else:
                plan = [(channels, inner, 3), (inner, inner, 3)]
            for k, (before, after, size) in enumerate(plan, start=1):
                shapes[f"{block}.conv{k}.weight"] = (after, before, size, size)
                shapes |= norm_shapes(f"{block}.bn{k}", after)
            if not small and (channels != out or (j == 0 and i > 0)):
                shapes[f"{block}.downsample.0.weight"] = (out, channels, 1, 1)
                shapes |= norm_shapes(f"{block}.downsample.1", out)
            channels = out
    head = "linear" if small else "fc"
    return shapes | {f"{head}.weight": (classes, channels), f"{head}.bias": (classes,)}


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (channels,) for leaf in leaves}


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the float32 values of one tensor, which its name fixes.

    Kernels have the variance 1 / inputs: with He's twice that, the variance of a
    residual network's features would double at every block, 50 times in resnet152.
    A plain network's would halve at every layer without it. BiT standardises kernels,
    so the normalisation before a branch's last convolution decides how large the branch
    is: a fifth of what it is added to, as training leaves them small too. With ones of
    equal size 152 layers magnify rounding a thousandfold: timm's float32 is then off
    from its float64 by 1e-4 of the logits, jft's by 8e-5, and they differ by 1.3e-4.

    Args:
        name: As in torch or Keras, which determines the layout of a kernel.
        shape: Its shape there.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    value = 2 * rng.random(shape) - 1
    leaf = re.split("[./]", name)[-1]
    if leaf in ("running_var", "moving_variance"):
        value = 2.0**value
    elif len(shape) > 1:
        inputs = shape[:-1] if leaf == "kernel" else shape[1:]
        value *= np.sqrt(3 * (2 if PLAIN.match(name) else 1) / np.prod(inputs))
    elif leaf in ("weight", "gamma"):
        value = 1 + value / 5
    elif leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    else:
        value /= 10
    return (value * (0.2 if BRANCH.match(name) else 1)).astype(np.float32)


def tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return the values of all tensors."""
    return {name: tensor(name, shape) for name, shape in shapes.items()}


def images(count: int, height: int, width: int) -> np.ndarray:
    """Return uint8 images [count, height, width, 3]: coloured squares and noise."""
    rng = np.random.default_rng(zlib.crc32(f"{height}x{width}".encode()))
    coarse = rng.integers(0, 192, (count, -(-height // 8), -(-width // 8), 3))
    squares = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    return (squares + rng.integers(0, 64, squares.shape)).astype(np.uint8)


def labels(count: int) -> np.ndarray:
    """Return class numbers [count] int32, all different."""
    return np.arange(count, dtype=np.int32) * 2 % CLASSES


def part(gradient: np.ndarray) -> np.ndarray:
    """Return the few elements of a gradient, in torch's layout, that are compared."""
    return gradient.reshape(-1)[:: max(1, gradient.size // 24)][:24]


def pixels(logits: np.ndarray) -> np.ndarray:
    """Return the logits that are compared: of a map, those of every eighth pixel."""
    return logits[:, ::8, ::8] if logits.ndim == 4 else logits


def fingerprint() -> np.ndarray:
    """Return a few numbers that change if NumPy's random streams ever do."""
    values = tensor("conv1.weight", (64, 3, 7, 7)), images(2, 57, 75)
    return np.array([zlib.crc32(value.tobytes()) for value in values], np.uint32)


def cases() -> Iterator[tuple[str, np.ndarray]]:
    """Yield each network with uint8 images to compare its logits on."""
    small = {name: network.sizes for name, network in SMALL.items()}
    for name, sizes in (LOGITS | small).items():
        for height, width in sizes:
            yield name, images(IMAGES.get(name, 2), height, width)


def described(tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return names and shapes as an array of lines, `conv1.weight 64 3 7 7`."""
    return np.array([" ".join([k, *map(str, v.shape)]) for k, v in tensors.items()])


def digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return a digest of a checkpoint's names and shapes."""
    text = "\n".join(f"{name} {shapes[name]}" for name in sorted(shapes))
    return hashlib.sha256(text.encode()).hexdigest()


def shapes_in(lines: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes that `described` has written."""
    words = (str(line).split(" ") for line in lines)
    return {name: tuple(map(int, shape)) for name, *shape in words}


def normalise(images: np.ndarray) -> np.ndarray:
    """Return images as networks that are trained on ImageNet see them, float64."""
    mean, std = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
    return (images / 255 - mean) / std
