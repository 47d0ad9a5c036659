"""Where weights are found: the one grammar of `--weights`, and fetching what it names.

none                                    random ones
resnet20-cifar10                        those that come with jft
PATH                                    a file, a folder of weights, a run
torchvision:resnet50/IMAGENET1K_V2      without a version, its newest
timm:resnet50.a1_in1k                   any weights of timm for a network jft has
keras:resnet50, bit:M-R50x1
hf:OWNER/REPO[@REVISION]                a repository in timm's or transformers' form
https://HOST/PATH#sha256=HEX
"""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from jft.config import BUNDLED_WEIGHTS
from jft.errors import InputError, nearest
from jft.preprocess import Preprocess
from jft.weights.download import Link, fetch_file, intact
from jft.weights.published import (
    Description,
    Published,
    by_file_name,
    check_model,
    published,
)
from jft.weights.repository import (
    Repository,
    fetch_repository,
    said_beside,
    weights_in,
)

RANDOM = "none"
BUNDLED = {BUNDLED_WEIGHTS: ("resnet20", "resnet20_cifar10.safetensors")}
"""Network and file of each."""


@dataclass(frozen=True)
class Found:
    """Weights that exist, as far as that can be told without the network.

    Attributes:
        name: What was asked for.
        place: Where they are: a file or folder, a file on the web, or a repository.
        published: What is known of them by their name.
        is_run: The place is the folder of a jft run.
    """

    name: str
    place: Path | Link | Repository
    published: Published | None = None
    is_run: bool = False

    @property
    def model(self) -> str | None:
        """The network they are for, if their name says it."""
        if self.published:
            return self.published.model
        return BUNDLED[self.name][0] if self.name in BUNDLED else None


@dataclass(frozen=True, kw_only=True)
class Local:
    """Weights on this machine, and what their publisher says of them.

    Attributes:
        path: The file that holds them, or the index of several beside it; of a run,
            its folder.
        model: The network they are for, one of `jft.models.MODELS`; None if unsaid.
        preprocess: What they expect of images; None if unsaid.
        class_names: What the outputs of their head mean; empty if unsaid.
        metadata: Of source, url, licence, labels, top1 (percent) and revision, those
            that are known.
        is_run: They are those of a jft run.
    """

    path: Path
    model: str | None = None
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    is_run: bool = False


def find_weights(weights: str) -> Found | None:
    """Return what `--weights` names; None for random ones.

    Nothing is downloaded, and the network is not touched: an unknown name is told at
    once, but a repository that does not exist only by `fetch`.

    Raises:
        InputError: There is no such file, name or scheme.
    """
    if weights == RANDOM:
        return None
    if weights in BUNDLED:
        place = Path(str(resources.files("jft.weights") / BUNDLED[weights][1]))
        return Found(weights, place)
    scheme, colon, rest = weights.partition(":")
    if colon and scheme in _SCHEMES:
        return _SCHEMES[scheme](weights, rest)
    # os.path, which takes any text, be it too long for a path or `~nobody`.
    path = Path(os.path.expanduser(weights))
    if os.path.exists(os.path.expanduser(weights)):
        return _on_disk(weights, path)
    if colon and scheme.isalnum():
        raise InputError(
            f"no weights {weights!r}: {scheme!r} is no source"
            f"{nearest(scheme, _SCHEMES)} (sources: {', '.join(_SCHEMES)})"
        )
    raise InputError(_no_such_file(weights, path))


def fetch(found: Found) -> Local:
    """Return weights as files on this machine, downloaded if need be, and checked.

    Raises:
        InputError: They cannot be had, or are not what their publisher says.
    """
    known, place, said = found.published, found.place, Description()
    if isinstance(place, Repository):
        path, said = fetch_repository(place, described=known is not None)
    elif isinstance(place, Link):
        path = fetch_file(place)
    elif found.is_run:
        return Local(path=place, metadata={"source": found.name}, is_run=True)
    else:
        path = weights_in(place)
        said = said_beside(place)
    if known:
        said = replace(
            said,
            model=known.model,
            preprocess=known.preprocess,
            class_names=known.class_names or said.class_names,
            licence=known.licence,
        )
        _check_published(found, path)
    return Local(
        path=path,
        model=said.model,
        preprocess=said.preprocess,
        class_names=said.class_names,
        metadata=_metadata(found, path, said),
    )


def is_name(weights: str) -> bool:
    """Tell whether weights are given by name, the same on every machine."""
    scheme, colon, _ = weights.partition(":")
    return weights in {RANDOM, *BUNDLED} or bool(colon and scheme in _SCHEMES)


def _metadata(found: Found, path: Path, said: Description) -> dict[str, str]:
    known = found.published
    facts = {"source": found.name, "licence": said.licence}
    if isinstance(found.place, Link):
        facts["url"] = found.place.url
    if isinstance(found.place, Repository):
        facts |= {"url": found.place.page, "revision": path.parent.name}
    if known:
        facts["labels"] = known.labels
        facts["top1"] = "" if known.top1 is None else str(known.top1)
    return {name: fact for name, fact in facts.items() if fact}


def _on_disk(weights: str, path: Path) -> Found:
    if path.is_dir() and all(
        (path / name).is_file() for name in ("config.json", "manifest.json")
    ):
        return Found(weights, path, is_run=True)
    # Whether they are all there.
    weights_in(path)
    known = by_file_name(path.name) if path.is_file() else None
    return Found(weights, path, known)


def _check_published(found: Found, path: Path) -> None:
    known, place = found.published, found.place
    done = isinstance(place, Link) and known and place.digest == known.digest
    if known and known.digest and not done and not intact(path, known.digest):
        raise InputError(
            f"{path} is not the file that was published under this name, "
            f"{known.name} ({known.digest}): get that one, or rename yours"
        )


def _no_such_file(weights: str, path: Path) -> str:
    valid = [*BUNDLED, RANDOM]
    siblings: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        siblings = os.listdir(path.parent)
    hint = nearest(path.name, siblings) or nearest(weights, [*valid, *published()])
    if f"torchvision:{weights}/IMAGENET1K_V1" in published():
        hint = f"; did you mean 'torchvision:{weights}'?"
    return (
        f"no weights {weights!r}: it is neither a file nor a name{hint} "
        f"(names: {', '.join(valid)}, or SOURCE:NAME, where SOURCE is one of "
        f"{', '.join(_SCHEMES)})"
    )


def _in_table(weights: str, rest: str) -> Found:
    if weights not in published():
        raise InputError(_no_such_name(weights))
    known = published()[weights]
    return Found(weights, Link(known.file, known.digest), known)


def _torchvision(weights: str, rest: str) -> Found:
    model, _, version = rest.partition("/")
    if version in {"", "DEFAULT"}:
        newest = re.compile(f"torchvision:{re.escape(model)}/[A-Z0-9_]+_V\\d+")
        versions = [name for name in published() if newest.fullmatch(name)]
        found = _in_table(max(versions, key=_number, default=weights), rest)
        return replace(found, name=weights)
    return _in_table(weights, rest)


def _number(version: str) -> int:
    return int(version.rpartition("_V")[2])


def _timm(weights: str, rest: str) -> Found:
    name, _, revision = rest.partition("@")
    model, dot, _ = name.partition(".")
    known = published().get(f"timm:{name}")
    try:
        check_model(model)
        file = known.file.removeprefix("hf:") if known else f"timm/{name}"
        repository = Repository.parse(file)
    except InputError as error:
        raise InputError(f"no weights {weights!r}: {error}") from None
    if not dot:
        raise InputError(_no_such_name(weights))
    if revision:
        repository = Repository.parse(f"{repository.name}@{revision}")
        known = replace(known, digest="") if known else None
    return Found(weights, repository, known)


def _no_such_name(weights: str) -> str:
    source = weights.partition(":")[0]
    names = [name for name in published() if name.startswith(f"{source}:")]
    model = re.split(r"[/.]", weights)[0]
    same = [name for name in names if re.split(r"[/.]", name)[0] == model]
    hint = f"; there are {', '.join(same)}" if same else nearest(weights, names)
    return (
        f"no weights {weights!r} are published{hint} (python -m jft.convert --list "
        "prints all)"
    )


def _hf(weights: str, rest: str) -> Found:
    try:
        return Found(weights, Repository.parse(rest))
    except InputError as error:
        raise InputError(f"no weights {weights!r}: {error}") from None


def _https(weights: str, rest: str) -> Found:
    url, _, fragment = weights.partition("#")
    name, _, digest = fragment.partition("=")
    if name != "sha256" or not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise InputError(
            f"{url} needs a digest: write {url}#sha256=HEX, where HEX are the 64 "
            "digits that its publisher states, or that `sha256sum FILE` prints of a "
            "copy that you trust"
        )
    link = Link(url, f"sha256:{digest.lower()}")
    return Found(weights, link, by_file_name(link.cached.name))


def _http(weights: str, rest: str) -> Found:
    raise InputError(
        f"{weights} is not https: anybody on the way could change the file"
    )


_SCHEMES: dict[str, Callable[[str, str], Found]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "keras": _in_table,
    "bit": _in_table,
    "hf": _hf,
    "https": _https,
    "http": _http,
}
