"""Downloads one file over https; retries, and resumes after an interruption.

The address may be changed by the environment: JFT_MIRROR=https://mirror.lab/prefix asks
for `https://mirror.lab/prefix/HOST/PATH` instead of `https://HOST/PATH`, in networks
that reach nothing else. A mirror may be `http:` on this machine, or for files
whose whole digest is published. https_proxy, no_proxy and SSL_CERT_FILE mean what they
always do.
"""

import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jft.errors import InputError, StorageError

CHUNK = 1 << 20
"""Bytes that are read, then written, at a time."""
CEILING = 8 << 30
"""More bytes than any published ResNet or VGG: a larger file is a mistake."""
RETRIES = 5
"""Failures in a row, none of which brought a new byte, until giving up."""
TIMEOUT = 30.0
"""Seconds without an answer that count as a failure."""
PAUSE = 0.5
"""Seconds before the first retry; each further one waits twice as long."""
LONGEST_PAUSE = 60.0
"""Seconds that a server's Retry-After is honoured at most."""

# Not `<` alone: a safetensors file may begin with it.
_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<[!?a-zA-Z]")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Unreachable(Exception):
    """The host gave no complete answer in any of the attempts."""


class _Interrupted(Exception):
    """A failure that may pass, in about `wait` seconds."""

    def __init__(self, reason: object, wait: float | None = None) -> None:
        super().__init__(str(reason))
        self.wait = wait


def transfer(url: str, part: Path, *, checked: bool) -> None:
    """Write the whole file at an address to `part`.

    What `part` holds already is kept if the server's ETag shows that the file is
    still the same; the tag is next to it in `PART.etag`.

    Args:
        url: The published https address, before any mirror.
        part: Where to write.
        checked: The caller knows the file's whole digest, and compares it.

    Raises:
        InputError: The server refuses, or what it sends cannot be a checkpoint.
        Unreachable: The host cannot be reached, or the connection breaks each time.
        OSError: `part` cannot be written.
    """
    address = _mirrored(url, checked)
    failures, longest = 0, -1
    while True:
        try:
            return _attempt(address, part, checked)
        except _Interrupted as error:
            size = part.stat().st_size if part.exists() else 0
            failures = failures + 1 if size <= longest else 1
            longest = max(longest, size)
            if failures > RETRIES:
                raise Unreachable(str(error)) from None
            pause = PAUSE * 2 ** (failures - 1) if error.wait is None else error.wait
            time.sleep(min(pause, LONGEST_PAUSE))


def discard(part: Path) -> None:
    """Forget an unfinished file."""
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)


def _tag(part: Path) -> Path:
    return Path(f"{part}.etag")


def _mirrored(url: str, checked: bool) -> str:
    mirror = os.environ.get("JFT_MIRROR")
    if not mirror:
        return url
    address = f"{mirror.rstrip('/')}/{url.removeprefix('https://')}"
    if not _safe(address, checked):
        raise InputError(
            f"JFT_MIRROR={mirror} is not an https address, and {url} has no published "
            "digest long enough to tell a forged file"
        )
    return address


def _safe(url: str, checked: bool) -> bool:
    parts = urlsplit(url)
    on_its_own = parts.scheme == "https" or parts.hostname in _LOOPBACK
    return parts.scheme in {"https", "http"} and (checked or on_its_own)


def _attempt(url: str, part: Path, checked: bool) -> None:
    """Ask once for what is missing, and write what comes."""
    start, tag = _begun(part)
    asked = {"Range": f"bytes={start}-", "If-Range": tag} if start else {}
    with _open(url, asked, part, checked) as response:
        if start and not _continues(response, start, tag, part):
            start = 0
        total = _total(url, response, start, checked)
        head = _read(response)
        if not start:
            if _PAGE.match(head):
                raise InputError(f"{url} answers with a web page, not with a file")
            _begin(part, response.headers.get("ETag", ""))
        _check_room(part.parent, total, start)
        # Importing it takes longer than reading a small file.
        from jft.console.status import working

        with working(part.stem, total, in_bytes=True) as update:
            update(completed=start)
            size = _write(response, head, part, lambda n: update(advance=n))
    if total not in (None, size):
        raise _Interrupted(f"the connection ended at byte {size} of {total}")


def _begun(part: Path) -> tuple[int, str]:
    """Return how much of the file is here, and of which version of it."""
    try:
        return part.stat().st_size, _tag(part).read_text()
    except OSError:
        return 0, ""


def _begin(part: Path, tag: str) -> None:
    discard(part)
    # Only a strong tag guarantees that two answers have the same bytes.
    if tag.startswith('"'):
        _tag(part).write_text(tag)


def _write(
    response: http.client.HTTPResponse,
    head: bytes,
    part: Path,
    advance: Callable[[int], None],
) -> int:
    """Append the answer, of which `head` has been read; return the file's size."""
    with part.open("ab") as file:
        while head:
            file.write(head)
            advance(len(head))
            if file.tell() > CEILING:
                raise InputError(f"{part.stem} is longer than {CEILING >> 30} GiB")
            file.flush()
            head = _read(response)
        return file.tell()


def _open(
    url: str, asked: dict[str, str], part: Path, checked: bool
) -> http.client.HTTPResponse:
    headers = {"User-Agent": "jft", "Accept-Encoding": "identity", **asked}
    opener = urllib.request.build_opener(_Redirects(checked))
    try:
        request = urllib.request.Request(url, headers=headers)
        return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                discard(part)
            raise _refusal(url, error) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise Unreachable(f"its certificate: {reason.verify_message}") from None
        raise _Interrupted(reason) from None


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    """Return what an HTTP error means: something to wait for, or an answer."""
    status = f"HTTP {error.code} {http.client.responses.get(error.code, '')}"
    if error.code in {408, 416, 429} or error.code >= 500:
        wait = error.headers.get("Retry-After", "")
        # The other form, a date, is rare and depends on this machine's clock.
        return _Interrupted(status, float(wait) if wait.isdecimal() else None)
    if error.code < 400:
        return InputError(
            f"{url} cannot be fetched: it redirects in circles ({status})"
        )
    return InputError(f"{url} cannot be fetched: {status}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to anything that can be forged."""

    def __init__(self, checked: bool) -> None:
        self._checked = checked

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str,
        headers: Any, newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        """Return the request to make instead of `req`."""
        downgrade = req.type == "https" and not newurl.startswith("https:")
        if downgrade or not _safe(newurl, self._checked):
            fp.close()
            raise InputError(f"{req.full_url} redirects to {newurl!r}, not to https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _continues(
    response: http.client.HTTPResponse, start: int, tag: str, part: Path
) -> bool:
    """Whether an answer is the rest of the file; else it is the whole of it.

    It is the whole if the file has changed, or if the server knows no ranges.
    """
    if response.status != 206:
        return False
    found = response.headers.get("Content-Range", ""), response.headers.get("ETag", tag)
    if not found[0].startswith(f"bytes {start}-") or found[1] != tag:
        discard(part)
        raise _Interrupted("the server sent another part than jft asked for")
    return True


def _total(
    url: str, response: http.client.HTTPResponse, start: int, checked: bool
) -> int | None:
    """Return the whole file's size in bytes; None if the server does not state it."""
    if response.headers.get_content_type() == "text/html":
        raise InputError(f"{url} answers with a web page, not with a file")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise InputError(f"{url} is sent compressed, which jft did not ask for")
    if response.length is None and not checked:
        raise InputError(
            f"{url} comes without a length, so a cut connection would not be noticed"
        )
    total = None if response.length is None else start + response.length
    if total is not None and total > CEILING:
        raise InputError(
            f"{url} is longer than {CEILING >> 30} GiB, which no checkpoint is"
        )
    return total


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(error) from None


def _check_room(folder: Path, total: int | None, start: int) -> None:
    needed, free = (total or 0) - start, shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{folder} has {free >> 20} MiB free, and the download needs "
            f"{needed >> 20} MiB; JFT_CACHE names another folder"
        )
