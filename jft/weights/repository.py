"""A repository of weights: a folder on this machine, or one of the Hugging Face hub.

The hub's own library fetches, and reads its variables: HF_HOME, HF_HUB_CACHE, HF_TOKEN,
HF_ENDPOINT, HF_HUB_OFFLINE. What it has fetched is checked here, once.
"""

import contextlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from jft.config.folders import cache_folder
from jft.errors import InputError, StorageError
from jft.weights.description import Description, read_description, read_json
from jft.weights.download import intact, offline
from jft.weights.sharded import INDEX_SUFFIX, weight_map

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The files that may hold a repository's weights; the first that is there does."""

_NAME = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]+))?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Repository:
    """A repository of the Hugging Face hub.

    Attributes:
        name: `OWNER/REPO`.
        revision: A branch, a tag or a commit.
    """

    name: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> "Repository":
        """Return what `OWNER/REPO` or `OWNER/REPO@REVISION` names."""
        match = _NAME.fullmatch(text)
        if not match or ".." in text:
            raise InputError(f"{text!r} is not of the form OWNER/REPO[@REVISION]")
        return cls(match[1], match[2] or "main")

    @property
    def page(self) -> str:
        """Its address for a browser."""
        host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        return f"{host}/{self.name}/tree/{self.revision}"


class _Unreachable(Exception):
    """A file is not in the hub's cache, and the hub cannot be asked."""


def weights_in(path: Path) -> Path:
    """Return the file of a folder's weights, or the index of several, or `path`."""
    if path.is_dir():
        found = [path / name for name in WEIGHT_FILES if (path / name).is_file()]
        found += sorted(path.glob(f"*.safetensors{INDEX_SUFFIX}"))
        if not found:
            raise InputError(
                f"{path} is neither a run nor a folder of weights: it has none of "
                f"{', '.join(WEIGHT_FILES)}; name a file in it"
            )
        path = found[0]
    missing = [name for name in _shards(path) if not (path.parent / name).is_file()]
    if missing:
        raise InputError(f"{path} lists files that do not exist: {', '.join(missing)}")
    return path


def described_beside(path: Path) -> Description:
    """Read the config in a folder of weights, or next to a weights file."""
    if path.is_dir():
        return read_description(path)
    if path.name in WEIGHT_FILES or path.name.endswith(INDEX_SUFFIX):
        return read_description(path.parent)
    return Description()


def fetch_repository(
    repository: Repository, *, described: bool = False
) -> tuple[Path, Description]:
    """Return the file or index of a repository's weights, and its description.

    Its files are taken from the hub's cache if possible, all of the same commit.
    `described` weights are known, so that the config need not be read.
    """
    try:
        config = None if described else _fetch(repository, "config.json")
        if config:
            repository = replace(repository, revision=config.parent.name)
            if read_json(config).get("model_type") == "resnet":
                _fetch(repository, "preprocessor_config.json")
        path = _first_of(repository, WEIGHT_FILES)
        repository = replace(repository, revision=path.parent.name)
        shards = [_needed(repository, name) for name in _shards(path)]
    except _Unreachable as error:
        raise StorageError(
            f"hf:{repository.name} cannot be fetched ({error}): put config.json and "
            f"model.safetensors of {repository.page} into a folder on this machine, "
            "and name that folder as the weights"
        ) from None
    for file in shards or [path]:
        _check(file)
    return path, Description() if described else read_description(path.parent)


def _shards(index: Path) -> list[str]:
    """Return the names of the files that an index lists; of another file, none."""
    if not index.name.endswith(INDEX_SUFFIX):
        return []
    content = read_json(index)
    try:
        return sorted(set(weight_map(content).values()))
    except InputError as error:
        raise InputError(f"{index} {error}") from None


def _first_of(repository: Repository, names: tuple[str, ...]) -> Path:
    unreachable: _Unreachable | None = None
    for name in names:
        try:
            if path := _fetch(repository, name, cached=unreachable is not None):
                return path
        except _Unreachable as error:
            unreachable = unreachable or error
    if unreachable:
        raise unreachable
    raise InputError(f"{repository.page} has no weights: none of {', '.join(names)}")


def _needed(repository: Repository, name: str) -> Path:
    path = _fetch(repository, name)
    if path is None:
        raise InputError(f"{repository.page} has no file {name}, which its index lists")
    return path


def _fetch(repository: Repository, name: str, *, cached: bool = False) -> Path | None:
    """Return the path of a repository's file, perhaps only if it is `cached`.

    None if the repository has no such file.
    """
    # It takes a tenth of a second to import, and most weights come from elsewhere.
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    try:
        return Path(
            hf_hub_download(
                repository.name,
                name,
                revision=repository.revision,
                library_name="jft",
                endpoint=os.environ.get("HF_ENDPOINT"),
                local_files_only=cached or offline(),
            )
        )
    except errors.LocalEntryNotFoundError as error:
        known = try_to_load_from_cache(
            repository.name, name, revision=repository.revision
        )
        # Neither a path nor None: the hub has answered before that there is none.
        if known is not None and not isinstance(known, str):
            return None
        reason = error.__cause__ or error
        known = "HF_HUB_OFFLINE is set" if offline() else _first_line(reason)
        raise _Unreachable(known) from None
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError:
        problem = "requires that you accept its terms on that page and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        problem = "does not exist, or is private and HF_TOKEN has no access to it"
    except errors.RevisionNotFoundError:
        problem = "does not exist: the repository has no such revision"
    # Each major version of the library has another HTTP client, with its own errors.
    except Exception as error:
        problem = f"failed to send {name}: {_first_line(error)}"
    raise InputError(f"{repository.page} {problem}")


def _first_line(error: BaseException) -> str:
    # ascii: parts of it are what a server sent.
    return ascii((str(error) or type(error).__name__).splitlines()[0])[1:-1]


def _check(path: Path) -> None:
    """Check a large file, which the hub's cache names by its sha256, and links to."""
    if not path.is_symlink():
        return
    blob = path.parent / path.readlink()
    digest, record = blob.name, cache_folder() / "hub" / f"{blob.name}.sha256"
    if not _SHA256.fullmatch(digest) or intact(path, f"sha256:{digest}", record):
        return
    with contextlib.suppress(OSError):
        for file in (blob.resolve(), blob, path):
            file.unlink(missing_ok=True)
    raise InputError(
        f"{path} is not the published file: its sha256 is not {digest}. Delete it if "
        "it still exists; the next run downloads it again"
    )
