"""A server on this machine that imitates those which publish weights, faults included.

Its paths `/HOST/PATH` mirror every host; `/hub` is the Hugging Face hub, which answers
the `resolve` path of a large file with a redirect to its CDN.
"""

import contextlib
import hashlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Trick:
    """What goes otherwise than it should in one answer.

    Attributes:
        status: Sent instead of 200 or 206, without the file.
        headers: Sent besides the usual ones, or instead of one; None omits one.
        body: Sent instead of the file.
        cut: The connection is closed after that many bytes of the body.
        ranges: The server knows the Range header.
        wait: Seconds between the headers and the body.
    """

    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    ranges: bool = True
    wait: float = 0.0


@dataclass
class Host:
    """What the server has, how it will misbehave, and what it was asked.

    Attributes:
        url: Its address.
        files: By path, from the first "/".
        tricks: By path: one for each of the next GET requests.
        asked: Method, path and Range header of every request.
        gone: The hub's answer, X-Error-Code and status, for a repository.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    tricks: dict[str, deque[Trick]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    gone: dict[str, tuple[str, int]] = field(default_factory=dict)

    def gets(self, path: str) -> list[str]:
        """Return the Range header of each GET of a path."""
        return [r for method, p, r in self.asked if (method, p) == ("GET", path)]

    def next_trick(self, path: str) -> Trick:
        waiting = self.tricks.get(path)
        return waiting.popleft() if waiting else Trick()

    def plan(self, path: str, *tricks: Trick) -> None:
        self.tricks[path] = deque(tricks)

    def add_repository(self, name: str, files: dict[str, bytes]) -> None:
        """Publish files in a repository of the hub; large ones lie in its CDN."""
        for file, data in files.items():
            self.files[f"/hub/{name}/resolve/{file}"] = data
            self.files[f"/cdn/{hashlib.sha256(data).hexdigest()}"] = data


@contextlib.contextmanager
def serve() -> Iterator[Host]:
    """Run a server on a free port of this machine."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.host = Host(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.host
        finally:
            server.shutdown()
            thread.join()


def refusing_url() -> str:
    """Return an address of this machine at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


class _Server(ThreadingHTTPServer):
    host: Host
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Ignore a client that disconnected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def host(self) -> Host:
        return cast(_Server, self.server).host

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        host, path = self.host, unquote(self.path.partition("?")[0])
        host.asked.append((self.command, path, self.headers.get("Range", "")))
        if path.startswith("/hub/"):
            return self._hub(path, with_body)
        trick = host.next_trick(path) if with_body else Trick()
        data = host.files.get(path) if trick.body is None else trick.body
        if trick.status is not None or data is None:
            status = trick.status or 404
            return self._send(status, b"<html>no</html>", {}, trick, with_body)
        tag = trick.headers.get("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        headers: dict[str, str | None] = {"ETag": tag, "Accept-Ranges": "bytes"}
        start = self._start(tag) if trick.ranges else 0
        if start >= len(data) > 0:
            return self._send(416, b"", headers, trick, with_body)
        if start:
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            headers["Content-Range"] = span
        status = 206 if start else 200
        return self._send(status, data[start:], headers, trick, with_body)

    def _start(self, tag: str | None) -> int:
        if self.headers.get("If-Range", tag) != tag:
            return 0
        span = self.headers.get("Range", "bytes=0-")
        return int(span.removeprefix("bytes=").partition("-")[0])

    def _hub(self, path: str, with_body: bool) -> None:
        """Answer `/hub/OWNER/REPO/resolve/REVISION/FILE` as huggingface.co does."""
        host = self.host
        repository, _, rest = path.removeprefix("/hub/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        headers: dict[str, str | None] = {"X-Repo-Commit": COMMIT}
        data = host.files.get(f"/hub/{repository}/resolve/{file}")
        if revision not in {"main", "v1", COMMIT}:
            host = Host("", gone={repository: ("RevisionNotFound", 404)})
        if repository in host.gone or data is None:
            code, status = host.gone.get(repository, ("EntryNotFound", 404))
            headers |= {"X-Error-Code": code, "X-Error-Message": code}
            return self._send(status, b"", headers, Trick(), with_body)
        if file.endswith(".json"):
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            headers["ETag"] = f'"{blob}"'
            return self._send(200, data, headers, Trick(), with_body)
        digest = hashlib.sha256(data).hexdigest()
        headers |= {
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(data)),
            # Another host, as the real CDN is: to the same one, the hub's library
            # would follow at once, and miss these headers.
            "Location": f"{self.host.url}/cdn/{digest}".replace(
                "127.0.0.1", "localhost"
            ),
        }
        return self._send(302, b"", headers, Trick(), with_body)

    def _send(self, status, body, headers, trick: Trick, with_body: bool) -> None:
        usual = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(body)),
        }
        self.send_response(status)
        for name, value in (usual | headers | trick.headers).items():
            if value is not None:
                self.send_header(name, value)
        if trick.cut is not None:
            self.send_header("Connection", "close")
        self.end_headers()
        if not with_body:
            return
        time.sleep(trick.wait)
        self.wfile.write(body[: trick.cut])
        if trick.cut is not None or "Content-Length" in trick.headers:
            self.close_connection = True
