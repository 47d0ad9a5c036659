"""What is wrong with a data set, what deserves a look, and which flags may help."""

from collections.abc import Mapping, Sequence
from typing import Any

from jft.data.describe import absent_classes
from jft.data.sources import IN_MEMORY_BYTES, MAX_REJECTED_PERCENT

SKEWED = 3.0  # times as many of the commonest class as of the rarest
RARE_PIXELS = 0.1
NAMED = 3  # examples that a message gives

Remark = dict[str, Any]


def problems(report: Mapping[str, Any]) -> list[Remark]:
    """Return what training would refuse, or what makes its results wrong.

    Returns:
        `what`, one sentence, and `examples`, some names; the worst first.
    """
    found = [_unreadable(report), *_empty_splits(report), *_weightless(report)]
    found.append(_leak(report))
    found += [_contradiction(report), *_missing(report)]
    return [remark for remark in found if remark]


def notes(report: Mapping[str, Any]) -> list[Remark]:
    """Return what may be right, and deserves a look."""
    found = [_remark(sentence) for sentence in report["about_files"]]
    bad, labels = report["rejected"], report["labels"]
    if bad and not _unreadable(report):
        found.append(_remark(f"{_n(len(bad), 'image')} cannot be read", _reasons(bad)))
    identical, near = report["duplicates"]["identical"], report["duplicates"]["near"]
    within = [g for g in identical if not g["across_splits"] and not g["labels_differ"]]
    if within:
        text = f"{_n(len(within), 'picture')} twice or more in one split"
        found.append(_remark(text, _pairs(within)))
    if near:
        across = sum(group["across_splits"] for group in near)
        text = f"{_n(len(near), 'group')} of images that look the same"
        text += f", {across} of them across the splits" if across else ""
        near = sorted(near, key=lambda group: not group["across_splits"])
        found.append(_remark(text, _pairs(near)))
    if report["one_colour"]:
        found.append(_remark(f"{_n(report['one_colour'], 'image')} of a single colour"))
    if deep := sum(n for kind, n in report["pixels"].items() if "16-bit" in kind):
        text = f"{_n(deep, 'image')} of 16 bits: all 65,536 levels become 256, so what"
        found.append(_remark(f"{text} uses few of them looks dark"))
    for what, names in report["pages"].items():
        if names:
            text = f"{_n(len(names), what)} of several pages: the first page is used"
            found.append(_remark(text, _quoted(names)))
    return found + _about_masks(report) + _zero_weights(report) + _outliers(labels)


def _about_masks(report: Mapping[str, Any]) -> list[Remark]:
    found: list[Remark] = []
    labels, turned = report["labels"], report["turned"]
    if turned:
        text = f"{_n(len(turned), 'image')} turned by EXIF, whose masks are not: right "
        text += "only if the masks were drawn on the upright images"
        found.append(_remark(text, _quoted(turned)))
    found += [
        _remark(f"{_n(n, 'mask')} in {split} without any foreground")
        for split, n in labels.get("without_foreground", {}).items()
        if n
    ]
    found += [
        _remark(f"{_n(n, 'mask')} in {split} all void: nothing is learned from them")
        for split, n in labels.get("all_void", {}).items()
        if n
    ]
    return found


def _zero_weights(report: Mapping[str, Any]) -> list[Remark]:
    return [
        _remark(f"{_n(some['zero'], 'image')} in {split} of weight 0: not counted")
        for split, some in report["weights"].items()
        if some["zero"] and some["sum"]
    ]


def suggestions(report: Mapping[str, Any], size: int) -> list[Remark]:
    """Return flags of `jft.train` that may help: `flags`, and `why`.

    Args:
        report: From `describe`.
        size: Side of the square that the network will see, in pixels.
    """
    found = [*_for_balance(report), *_for_size(report, size)]
    if report["task"] == "segmentation":
        why = "masks need a decoder; auto takes this one, deeplabv3 suits large things"
        found.append({"flags": "--model.decoder unet", "why": why})
    if report["task"] == "regression" and _outliers(report["labels"]):
        why = "a few numbers far from all others would rule the squared error"
        found.append({"flags": "--task.loss huber", "why": why})
    names = [name.lower() for name in report["classes"]]
    if {"left", "right"} <= {part for name in names for part in name.split("_")}:
        why = "a mirrored image of a class called left belongs to the one called right"
        found.append({"flags": "--augment.no-flip", "why": why})
    elif names and all(len(name) == 1 and name.isalpha() for name in names):
        why = "classes of one letter are characters, and a mirrored one is another"
        found.append({"flags": "--augment.no-flip", "why": why})
    elif names == list("0123456789"):
        why = "if classes 0 to 9 are digits: a mirrored one is another"
        found.append({"flags": "--augment.no-flip", "why": why})
    if (needed := report["used"] * size**2 * 3) > IN_MEMORY_BYTES:
        why = f"{needed / 2**30:.1f} GiB are not kept in memory, but read in each epoch"
        found.append({"flags": "--cache FOLDER", "why": why})
    return found


def _for_balance(report: Mapping[str, Any]) -> list[Remark]:
    labels, task = report["labels"], report["task"]
    counts = labels.get("pixels", labels["counts"])["train"]
    some = {name: n for name, n in counts.items() if n}
    if task == "regression" or len(some) < 2:
        return []
    rare, common = min(some, key=some.__getitem__), max(some, key=some.__getitem__)
    ratio, fraction = some[common] / some[rare], some[rare] / sum(some.values())
    unit = {"segmentation": "pixels"}.get(task, "images")
    why = f"{ratio:.3g} times as many {unit} of {common!r} as of {rare!r}"
    if task == "segmentation" and fraction < RARE_PIXELS:
        why = (
            f"{fraction:.1%} of the pixels are {rare!r}: cross-entropy may ignore them"
        )
        return [{"flags": "--task.loss cross-entropy+dice", "why": why}]
    if ratio < SKEWED:
        return []
    flags = "--task.class-weights balanced"
    if task == "classification":
        flags += " or --sampling balanced"
    return [{"flags": flags, "why": why}]


def _for_size(report: Mapping[str, Any], size: int) -> list[Remark]:
    if not report["sizes"]:
        return []
    shorter = report["sizes"]["shorter"][1]
    if shorter <= 0.6 * size:
        near = max(32, 32 * round(shorter / 32))
        why = (
            f"half of the images have at most {shorter:.0f} pixels on the short side; "
        )
        return [
            {"flags": f"--image-size {near}", "why": why + f"{size} only enlarge them"}
        ]
    if report["task"] == "segmentation" and shorter >= 2 * size:
        larger = 32 * round(shorter / 64)
        why = (
            f"at {size} pixels, things thinner than {shorter / size:.1f} pixels vanish"
        )
        return [{"flags": f"--image-size {larger}", "why": why}]
    return []


def _unreadable(report: Mapping[str, Any]) -> Remark:
    bad, found = report["rejected"], report["found"]
    if 100 * len(bad) <= MAX_REJECTED_PERCENT * found:
        return {}
    text = f"{len(bad):,} of {found:,} images cannot be read; training takes at most "
    return _remark(f"{text}{MAX_REJECTED_PERCENT} %", _reasons(bad))


def _empty_splits(report: Mapping[str, Any]) -> list[Remark]:
    empty = [split for split, n in report["splits"].items() if not n]
    return [_remark(f"no image of {split} can be read") for split in empty]


def _weightless(report: Mapping[str, Any]) -> list[Remark]:
    return [
        _remark(f"all weights of {split} are 0: no image of it counts")
        for split, some in report["weights"].items()
        if report["splits"][split] and not some["sum"]
    ]


def _leak(report: Mapping[str, Any]) -> Remark:
    across = [g for g in report["duplicates"]["identical"] if g["across_splits"]]
    if not across:
        return {}
    text = f"{_n(len(across), 'picture')} in both splits: testing on what was learned"
    return _remark(text, _pairs(across))


def _contradiction(report: Mapping[str, Any]) -> Remark:
    differ = [g for g in report["duplicates"]["identical"] if g["labels_differ"]]
    if not differ:
        return {}
    return _remark(f"{_n(len(differ), 'picture')} with two labels", _pairs(differ))


def _missing(report: Mapping[str, Any]) -> list[Remark]:
    lines: list[Remark] = []
    for split, counts in report["labels"]["counts"].items():
        text, absent = absent_classes(counts, split)
        if absent and report["splits"][split]:
            lines.append(_remark(text, _quoted(absent)))
    return lines


def _outliers(labels: Mapping[str, Any]) -> list[Remark]:
    return [
        _remark(
            f"{_n(some['outliers'], 'value')} of {name!r} in {split} far from the rest"
        )
        for split, numbers in labels.get("numbers", {}).items()
        for name, some in numbers.items()
        if some.get("outliers")
    ]


def _remark(what: str, examples: Sequence[str] = ()) -> Remark:
    return {"what": what, "examples": list(examples)}


def _n(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("s" if count != 1 else "")


def _quoted(names: Sequence[str]) -> list[str]:
    return [repr(name) for name in names[:NAMED]]


def _reasons(bad: Sequence[Mapping[str, str]]) -> list[str]:
    return [f"{one['path']!r}: {one['reason']}" for one in bad[:NAMED]]


def _pairs(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name two images of each group, one of each split if they are of both."""
    lines: list[str] = []
    for group in groups[:NAMED]:
        first, *rest = group["images"]
        other = next((one for one in rest if one["split"] != first["split"]), rest[0])
        more = f", and {len(rest) - 1} more" if len(rest) > 1 else ""
        lines.append(f"{first['path']!r} and {other['path']!r}{more}")
    return lines
