"""A report in lines of text, the worst first."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jft.data.walk import listed

WIDTH = 88
_MOST = 20  # classes that are shown
_THING = {
    "classification": ("class", "classes", " to tell apart"),
    "multilabel": ("label", "labels", ", any number of them on an image"),
    "segmentation": ("class", "classes", " of pixels"),
    "regression": ("number", "numbers", " to predict"),
}
_COUNTED = {
    "classification": "images",
    "multilabel": "images with it",
    "segmentation": "images that show it",
    "regression": "images with it",
}


def lines(report: Mapping[str, Any]) -> list[str]:
    """Return a checked report for a person."""
    return [
        *_head(report),
        *_remarks("PROBLEMS", report["problems"]),
        *_remarks("look at", report["notes"]),
        "",
        *_table(_rows(report), report["task"]),
        "",
        *_facts(report),
        *_flags(report["suggestions"]),
    ]


def _head(report: Mapping[str, Any]) -> list[str]:
    used, kinds = report["used"], len(report["classes"])
    counts = " and ".join(f"{n:,} {split}" for split, n in report["splits"].items())
    verdict = "nothing is wrong" if not report["problems"] else ""
    one, many, more = _THING[report["task"]]
    head = f"{_short(report['name'])}: {used:,} images ({counts}), {kinds} "
    head += (one if kinds == 1 else many) + more
    return [head, *([verdict] if verdict else [])]


def _remarks(title: str, remarks: Sequence[Mapping[str, Any]]) -> list[str]:
    if not remarks:
        return []
    found = ["", title]
    for remark in remarks:
        found += _wrap(f"- {remark['what']}", "  ", "    ")
        for example in remark["examples"]:
            found += _wrap(example, "    ", "      ")
    return found


def _rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a row a class, with its count in each split, the commonest first."""
    labels, splits = report["labels"], list(report["splits"])
    counts = labels["counts"]
    names = sorted(report["classes"], key=lambda name: -counts["train"][name])
    head = ["", *splits]
    pixels: Mapping[str, Mapping[str, int]] = labels.get("pixels", {})
    head += [f"pixels of {split}" for split in pixels]
    rows = [tuple(head)]
    totals = {split: max(1, sum(some.values())) for split, some in pixels.items()}
    for name in names:
        cells = [f"{counts[split][name]:,}" for split in splits]
        cells += [f"{pixels[split][name] / n:.2%}" for split, n in totals.items()]
        rows.append((_short(name), *cells))
    if len(rows) > _MOST + 1:
        gap = tuple("..." for _ in rows[0])
        rows[_MOST // 2 + 1 : -_MOST // 2] = [gap]
    return rows


def _table(rows: Sequence[Sequence[str]], task: str) -> list[str]:
    widths = [
        max(len(row[i]) for row in rows if len(row) > i) for i in range(len(rows[0]))
    ]
    head, *body = (
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    )
    return [head + f"   ({_COUNTED[task]})", *body]


def _facts(report: Mapping[str, Any]) -> list[str]:
    labels = report["labels"]
    facts = [
        ("formats", _counts(report["formats"])),
        ("channels", _counts(report["pixels"])),
        *_sizes(report["sizes"]),
    ]
    if report["skipped"]:
        kinds = report["skipped_kinds"]
        which = f": {listed(kinds)}" if kinds else " that are not examples"
        facts.append(("skipped", f"{report['skipped']:,} entries{which}"))
    if fractions := labels.get("void_fraction"):
        text = ", ".join(
            f"{fraction:.2%} of {split}" for split, fraction in fractions.items()
        )
        facts.append(("void", text))
    if "most_together" in labels:
        facts += _sets(labels)
    for split, numbers in labels.get("numbers", {}).items():
        for name, some in numbers.items():
            facts.append((split, f"{_short(name)}: {_range(some)}"))
    return [f"{name:<10}{text}" for name, text in facts]


def _sizes(sizes: Mapping[str, Sequence[float]]) -> list[tuple[str, str]]:
    if not sizes:
        return []
    (w0, w1, w2), (h0, h1, h2) = sizes["width"], sizes["height"]
    text = f"{w1:.0f} x {h1:.0f}"
    if (w0, h0) == (w2, h2):
        return [("size", f"{text}, all of them")]
    return [
        ("width", _side(w0, w1, w2)),
        ("height", _side(h0, h1, h2)),
        (
            "shape",
            "longer by shorter side: {:.2f} to {:.2f}, median {:.2f}".format(
                sizes["aspect"][0], sizes["aspect"][2], sizes["aspect"][1]
            ),
        ),
    ]


def _side(least: float, median: float, most: float) -> str:
    if least == most:
        return f"{median:.0f} pixels"
    return f"{least:.0f} to {most:.0f} pixels, median {median:.0f}"


def _sets(labels: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [
        (
            "labels",
            f"{labels['labels_per_image']:.2f} an image; "
            f"{labels['images_without_label']:,} images without any; "
            f"{labels['unknown']:,} labels unknown",
        )
    ]
    most = labels["most_together"]
    if most["images"]:
        a, b = most["labels"]
        text = f"{a!r} and {b!r} on {most['images']:,} images"
        text += f", {most['of_the_rarer']:.0%} of the rarer one's"
        found.append(("together", text))
    return found


def _range(some: Mapping[str, Any]) -> str:
    if "min" not in some:
        return "none is known"
    text = f"{some['min']:.4g} to {some['max']:.4g}, median {some['median']:.4g}, "
    text += f"std {some['std']:.4g}"
    return text + (f", {some['unknown']:,} unknown" if some["unknown"] else "")


def _flags(suggestions: Sequence[Mapping[str, Any]]) -> list[str]:
    if not suggestions:
        return []
    found = ["", "flags to try"]
    for one in suggestions:
        found += [f"  {one['flags']}", *_wrap(one["why"], "      ", "      ")]
    return found


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())


def _short(name: str) -> str:
    name = name if name.isprintable() else repr(name)
    return name if len(name) <= 32 else name[:31] + "…"


def _wrap(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
