"""Finds weights: the one grammar of `--weights`.

none                                    random weights
default                                 the network's own published weights
resnet20-cifar10                        the weights that come with jft
PATH                                    a file, a folder of weights, a run
FILE?key=NAME                           one of the state dicts in a file
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
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from jft.config import BUNDLED_WEIGHTS, ModelConfig
from jft.errors import InputError, nearest
from jft.models import get_model
from jft.weights.download import Link
from jft.weights.published import (
    Published,
    by_file_name,
    check_model,
    default_weights,
    published,
)
from jft.weights.repository import (
    Repository,
    weights_in,
)

RANDOM = "none"
DEFAULT = "default"
BUNDLED = {BUNDLED_WEIGHTS: ("resnet20", "resnet20_cifar10.safetensors")}
"""Network and file of each."""


@dataclass(frozen=True)
class Found:
    """Weights that exist, as far as that is known without a download.

    Attributes:
        name: How `--weights` names them; never "default".
        location: A file or folder, a file on the web, or a repository; None for random
            weights.
        published: What is known of them by their name.
        is_run: The location is the folder of a jft run.
        key: Which of several state dicts in the file, or which prefix of their names.
    """

    name: str
    location: Path | Link | Repository | None = None
    published: Published | None = None
    is_run: bool = False
    key: str = ""

    @property
    def is_file(self) -> bool:
        """Whether they are on this machine, and opening them imports no JAX."""
        return isinstance(self.location, Path) and not self.is_run

    @property
    def is_random(self) -> bool:
        """Whether the network starts from random values."""
        return self.location is None

    @property
    def model(self) -> ModelConfig | None:
        """The network they are for; None if their name does not determine it."""
        if self.published:
            return ModelConfig(name=self.published.model)
        return ModelConfig(name=BUNDLED[self.name][0]) if self.name in BUNDLED else None


def find_weights(weights: str | os.PathLike[str], model: str | None = None) -> Found:
    """Find the weights that `--weights` names.

    Nothing is downloaded, JAX is not imported, and nothing is opened: an unknown name
    is refused at once, but a repository that does not exist only when it is opened.

    Args:
        weights: As the module describes.
        model: The network, whose own published weights are the default; None for
            that of the weights that come with jft.

    Raises:
        InputError: There is no such file, name or source, or the network has no
            published weights.
    """
    try:
        weights = os.fspath(weights)
    except TypeError:
        raise InputError(
            f"weights must be a path or a name, got {weights!r:.80}; {RANDOM!r} gives "
            f"random weights, {DEFAULT!r} the network's published ones"
        ) from None
    if weights == DEFAULT:
        weights = _default(model)
    if weights == RANDOM:
        return Found(weights)
    if weights in BUNDLED:
        file = Path(str(resources.files("jft.weights") / BUNDLED[weights][1]))
        return Found(weights, file)
    scheme, colon, rest = weights.partition(":")
    if colon and scheme in _SCHEMES:
        return _SCHEMES[scheme](weights, rest)
    # os.path, which takes any text, even one too long for a path or `~nobody`.
    if os.path.exists(os.path.expanduser(weights)):
        return _on_disk(weights, Path(weights).expanduser())
    name, question, key = weights.partition("?key=")
    if question and os.path.isfile(os.path.expanduser(name)):
        found = _on_disk(name, Path(name).expanduser())
        return replace(found, name=weights, key=key, published=None)
    if colon and scheme.isalnum():
        raise InputError(
            f"no weights {weights!r}: unknown source {scheme!r}"
            f"{nearest(scheme, _SCHEMES)} (sources: {', '.join(_SCHEMES)})"
        )
    raise InputError(_no_such_file(weights, Path(os.path.expanduser(name))))


def is_name(weights: str) -> bool:
    """Return whether weights are given by name, the same on every machine."""
    scheme, colon, _ = weights.partition(":")
    return weights in {RANDOM, DEFAULT, *BUNDLED} or bool(colon and scheme in _SCHEMES)


def _default(model: str | None) -> str:
    for name, (network, _) in BUNDLED.items():
        if model in (None, network):
            return name
    found = default_weights(get_model(model).name)
    if found is None:
        raise InputError(
            f"{model} has no published weights that jft knows: name a file, or give "
            f"weights={RANDOM!r} for random ones (--weights {RANDOM})"
        )
    return found


def _on_disk(weights: str, path: Path) -> Found:
    if path.is_dir() and all(
        (path / name).is_file() for name in ("config.json", "manifest.json")
    ):
        return Found(weights, path, is_run=True)
    # Whether they are all there.
    weights_in(path)
    known = by_file_name(path.name) if path.is_file() else None
    return Found(weights, path, known)


def _no_such_file(weights: str, path: Path) -> str:
    valid = [*BUNDLED, RANDOM, DEFAULT]
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
        newest = default_weights(model) or weights
        return replace(_in_table(newest, rest), name=weights)
    return _in_table(weights, rest)


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
        f"{weights} is not https: others could change the file while it is downloaded"
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
