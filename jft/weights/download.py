"""The cache of downloaded files: each is downloaded once and checked.

In the cache folder,
`weights/HOST/PATH` is the file of `https://HOST/PATH`, and next to it `NAME.sha256` (or
`.md5`) records what it was when it was checked, in the format of `sha256sum`. A file of
the recorded size that has not been written since is not hashed again. HF_HUB_OFFLINE=1
uses what is there and makes no connection.
"""

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from jft.config.folders import cache_folder
from jft.errors import DataError, InputError, StorageError

# A host and port without a user; then names, none of them empty; perhaps a query.
_URL = re.compile(r"https://[\w.-]+(:\d{1,5})?(/[^\s/?#\\]+)+(\?[^\s#]*)?", re.ASCII)
_DIGEST = re.compile(r"(sha256:[0-9a-f]{8,64}|md5:[0-9a-f]{32})?")


@dataclass(frozen=True)
class Link:
    """A file on the web.

    Attributes:
        url: Its https address.
        digest: `sha256:HEX`, of which the first 8 digits are enough, `md5:HEX`, or
            empty without a published one: then the file is recorded when it is
            fetched first, and checked against that from then on.

    Raises:
        InputError: No https address of a file, or a digest of another form.
    """

    url: str
    digest: str = ""

    def __post_init__(self) -> None:
        if not _URL.fullmatch(self.url) or {".", ".."} & set(self.url.split("/")):
            raise InputError(
                f"{self.url!r} is not an https://HOST/PATH address of a file"
            )
        if not _DIGEST.fullmatch(self.digest):
            raise InputError(
                f"digest {self.digest!r} is not of the form sha256:HEX or md5:HEX"
            )

    @property
    def is_sealed(self) -> bool:
        """Whether the digest is complete: 8 digits detect accidents, but no forgery."""
        algorithm, _, digits = self.digest.partition(":")
        return len(digits) == {"sha256": 64, "md5": 32}.get(algorithm)

    @property
    def cached(self) -> Path:
        """The path of the file on this machine."""
        parts = urlsplit(self.url)
        return cache_folder().joinpath("weights", parts.netloc, parts.path[1:])


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids every connection."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def fetch_file(link: Link) -> Path:
    """Return the path of a file; download it unless the cache has it.

    Of several processes one downloads, and the others wait for it.

    Raises:
        InputError: The file cannot be had, is not the published one, or there is no
            room for it; the message gives the remedy.
    """
    try:
        if not _cached(link):
            _fetch(link)
    except OSError as error:
        path = error.filename or link.cached
        raise StorageError(f"{path} cannot be used: {error.strerror}") from None
    return link.cached


def _fetch(link: Link) -> None:
    if offline():
        raise StorageError(_by_hand(link, "HF_HUB_OFFLINE is set"))
    # These take a moment to import, and weights are mostly there already.
    from filelock import FileLock

    link.cached.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{link.cached}.lock"):
        if not _cached(link):
            _download(link)


def _download(link: Link) -> None:
    """Fetch a file to a temporary name, and move it if its digest is right."""
    from jft.weights import transfer

    part = Path(f"{link.cached}.part")
    try:
        transfer.transfer(link.url, part, checked=link.is_sealed)
    except transfer.Unreachable as error:
        raise StorageError(_by_hand(link, error)) from None
    algorithm, _, expected = (link.digest or "sha256:").partition(":")
    actual = file_digest(part, algorithm)
    if not actual.startswith(expected):
        transfer.discard(part)
        raise DataError(
            f"{link.url} did not send the published file: its {algorithm} is {actual}, "
            f"not {expected}; it was deleted"
        )
    # In this order, since a record vouches for what is older than itself.
    part.replace(link.cached)
    _note(_record(link), link.cached, actual)
    transfer.discard(part)


def _by_hand(link: Link, reason: object) -> str:
    there = " (another file is there)" if link.cached.exists() else ""
    return (
        f"{link.url} cannot be fetched ({reason}): get that file elsewhere and put it "
        f"at {link.cached}{there}, or name a mirror in JFT_MIRROR"
    )


def _cached(link: Link) -> bool:
    """Whether the cache has the file; one of another digest is to be fetched again."""
    if not link.cached.is_file():
        return False
    known = _recorded(_record(link))
    digest = link.digest or (known and f"sha256:{known}")
    if intact(link.cached, digest, _record(link)):
        return True
    if not link.digest:
        raise DataError(
            f"{link.cached} has changed since it was downloaded: delete it to "
            "download it again"
        )
    return False


def intact(path: Path, digest: str, record: Path | None = None) -> bool:
    """Whether a file has a digest `ALGORITHM:HEX`, perhaps only its first digits.

    An empty digest fits every file. The whole digest is noted in `record`, so that it
    is computed again only if the file has changed.
    """
    algorithm, _, expected = (digest or "sha256:").partition(":")
    known = _recorded(record, path) if record else ""
    actual = known or file_digest(path, algorithm)
    if record and not known and actual.startswith(expected):
        _note(record, path, actual)
    return actual.startswith(expected)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(
                file, lambda: hashlib.new(algorithm, usedforsecurity=False)
            ).hexdigest()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from None


def _record(link: Link) -> Path:
    return Path(f"{link.cached}.{link.digest.partition(':')[0] or 'sha256'}")


def _recorded(record: Path, path: Path | None = None) -> str:
    """Return the digest in a record; empty if `path` has changed since, or without."""
    try:
        _, size, _, digest, _ = record.read_text().split(maxsplit=4)
        now = path.stat() if path else None
        if now is None or (
            now.st_size == int(size) and now.st_mtime_ns <= record.stat().st_mtime_ns
        ):
            return digest
    except (OSError, ValueError):
        pass
    return ""


def _note(record: Path, path: Path, digest: str) -> None:
    name = record.name.removesuffix(record.suffix)
    text = f"# {path.stat().st_size} bytes\n{digest}  {name}\n"
    # In a cache that cannot be written, files are hashed each time.
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(f"{record}.{os.getpid()}")
        draft.write_text(text)
        draft.replace(record)
