"""A contact sheet: some images of each class, masks over them in colour."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from jft.data.check.labels import known_labels
from jft.data.check.look import Seen, as_rgb
from jft.data.decode import decode
from jft.data.geometry import letterbox
from jft.data.listing import Dataset, Listing, Split
from jft.data.masks.values import background
from jft.types import VOID

COLUMNS = 6
_MOST_ROWS = 40
_TILE, _GAP, _NAMES, _TOP = 120, 6, 190, 46
_PAPER, _INK, _PALE = (250, 250, 248), (30, 30, 30), (130, 130, 130)
# Wong's colours, which the colour-blind can tell apart; further classes repeat them.
_COLOURS = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    ],
    np.uint8,
)

Row = tuple[str, str, list[int]]  # a name, the text below it, indices in the split


def contact_sheet(
    dataset: Dataset, seen: Mapping[Split, Sequence[Seen]], channels: int = 3
) -> Image.Image:
    """Draw up to six training images of each class, spread over the whole split.

    Of masks, each image is followed by a copy with the classes in colour and void in
    white; of numbers, the rows go from the lowest to the highest of the first one.

    Args:
        dataset: What was listed.
        seen: What is remembered of each split; images that cannot be read stay out.
        channels: As in `decode`.
    """
    listing, ground = dataset.splits["train"], background(dataset.class_names)
    rows = _rows(dataset, seen["train"])
    left_out = len(rows) - _MOST_ROWS
    rows = rows[:_MOST_ROWS]
    width = _NAMES + COLUMNS * (_TILE + _GAP) + _GAP
    height = _TOP + len(rows) * (_TILE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    more = ", void in white" if dataset.task == "segmentation" else ""
    more += f", {left_out} more rows left out" if left_out > 0 else ""
    _write(draw, (_GAP * 2, 14), f"{dataset.name}, training images{more}", 18, _INK)
    for i, (name, below, indices) in enumerate(rows):
        top = _TOP + i * (_TILE + _GAP)
        _name(draw, top, name, below, _colour(dataset, i))
        for column, tile in enumerate(_tiles(listing, indices, ground, channels)):
            left = _NAMES + column * (_TILE + _GAP)
            sheet.paste(Image.fromarray(tile), (left, top))
    return sheet


def _rows(dataset: Dataset, seen: Sequence[Seen]) -> list[Row]:
    good = np.array([i for i, one in enumerate(seen) if not one.reason], int)
    names, listing = dataset.class_names, dataset.splits["train"]
    if dataset.task == "segmentation":
        counts = np.array([seen[i].mask for i in good]).reshape(-1, VOID + 1)
        return [_mask_row(name, good, counts[:, k]) for k, name in enumerate(names)]
    labels = known_labels(listing)[good]
    if dataset.task == "regression":
        return _number_rows(names[0], good, labels[:, 0])
    member = (
        labels[:, None] == np.arange(len(names)) if labels.ndim == 1 else labels == 1
    )
    return [
        (name, _images(member[:, k].sum()), _some(good[member[:, k]]))
        for k, name in enumerate(names)
    ]


def _mask_row(
    name: str, good: npt.NDArray[np.int_], pixels: npt.NDArray[np.int64]
) -> Row:
    """Take images among the half that shows most of a class."""
    shown = good[np.argsort(-pixels, kind="stable")][: (pixels > 0).sum()]
    some = _some(shown[: max(COLUMNS // 2, len(shown) // 2)], COLUMNS // 2)
    return name, _images(len(shown)), some


def _number_rows(
    name: str, good: npt.NDArray[np.int_], values: npt.NDArray[np.float32]
) -> list[Row]:
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    rows: list[Row] = []
    for part in np.array_split(order, min(5, len(order))):
        low, high = values[part[0]], values[part[-1]]
        rows.append((f"{name} {low:.4g} to {high:.4g}", "", _some(good[part])))
    return rows


def _images(count: int) -> str:
    return f"{count:,} image" + ("s" if count != 1 else "")


def _some(indices: npt.NDArray[np.int_], count: int = COLUMNS) -> list[int]:
    """Choose indices spread evenly, because the first ones are often alike."""
    chosen = np.linspace(0, len(indices) - 1, min(count, len(indices)))
    return indices[chosen.round().astype(int)].tolist()


def _tiles(
    listing: Listing, indices: Sequence[int], ground: int, channels: int
) -> list[npt.NDArray[np.uint8]]:
    tiles: list[npt.NDArray[np.uint8]] = []
    masks = listing.masks
    for index in indices:
        given = decode(listing.images[index], at_least=_TILE, channels=channels)
        image = as_rgb(given)
        tile = letterbox(image, _TILE, _filter(image), _PAPER)
        tiles.append(tile)
        if masks is not None:
            tiles.append(_overlay(tile, masks[index], ground))
    return tiles


def _filter(image: npt.NDArray[np.uint8]) -> Image.Resampling:
    """Show the pixels of tiny images as they are."""
    tiny = max(image.shape[:2]) < _TILE // 2
    return Image.Resampling.NEAREST if tiny else Image.Resampling.BICUBIC


def _overlay(
    tile: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], ground: int
) -> npt.NDArray[np.uint8]:
    """Blend the colours of all classes except the background over a tile."""
    shown = np.where(mask == ground, 0, mask + (mask < ground)).astype(np.uint8)
    small = _shrink(shown)[..., None]
    colour = np.where(small == VOID, 255, _COLOURS[(small[..., 0] - 1) % len(_COLOURS)])
    mixed = (tile * 0.35 + colour * 0.65).astype(np.uint8)
    return np.where(small == 0, tile, mixed)


def _shrink(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Fit a mask to a tile so that thin things stay: of a cell, the highest class."""
    cell = max(1, max(mask.shape) // _TILE)
    if cell > 1:
        height, width = (-(-side // cell) * cell for side in mask.shape)
        shown = np.where(mask == VOID, 0, mask)
        padded = np.zeros((height, width), np.uint8)
        padded[: mask.shape[0], : mask.shape[1]] = shown
        cells = padded.reshape(height // cell, cell, width // cell, cell)
        void = mask[::cell, ::cell] == VOID
        mask = np.where(void, VOID, cells.max((1, 3))).astype(np.uint8)
    return letterbox(mask, _TILE, Image.Resampling.NEAREST, 0)


def _colour(dataset: Dataset, row: int) -> tuple[int, ...] | None:
    ground = background(dataset.class_names)
    if dataset.task != "segmentation" or row == ground:
        return None
    return tuple(_COLOURS[(row - (row > ground)) % len(_COLOURS)].tolist())


def _name(
    draw: ImageDraw.ImageDraw,
    top: int,
    name: str,
    below: str,
    colour: tuple[int, ...] | None,
) -> None:
    left = _GAP * 2
    if colour:
        draw.rectangle((left, top + 4, left + 12, top + 16), fill=colour)
        left += 20
    lines = textwrap.wrap(name, 20, max_lines=3, placeholder=" ...") or [""]
    for i, line in enumerate(lines):
        _write(draw, (left, top + 18 * i), line, 15, _INK)
    _write(draw, (left, top + 18 * len(lines) + 2), below, 13, _PALE)


def _write(
    draw: ImageDraw.ImageDraw,
    position: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int],
) -> None:
    # Pillow's own font; a lone surrogate out of a file name cannot be drawn.
    text = text.encode("utf-8", "replace").decode()
    draw.text(position, text, colour, ImageFont.load_default(size))
