import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import hosts
import pytest
from hosts import Host, Trick

from jft.errors import InputError
from jft.weights import download, transfer
from jft.weights.download import Link, fetch_file, intact

DATA = random.Random(0).randbytes(100_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()
URL = "https://download.example.org/models/net-0123.pth"
PATH = "/download.example.org/models/net-0123.pth"
LINK = Link(URL, f"sha256:{SHA256[:8]}")
SEALED = Link(URL, f"sha256:{SHA256}")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    """Start a mirror that has the file, and an empty cache; waiting takes no time."""
    with hosts.serve() as server:
        server.files[PATH] = DATA
        monkeypatch.setenv("JFT_MIRROR", server.url)
        monkeypatch.setenv("JFT_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(transfer, "CHUNK", 4096)
        monkeypatch.setattr(transfer, "PAUSE", 0.0)
        yield server


def refusal(link: Link = LINK) -> str:
    """Return why a file is refused, having seen that nothing of it is left."""
    with pytest.raises(InputError) as caught:
        fetch_file(link)
    assert not link.cached.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def folder() -> list[str]:
    return sorted(path.name for path in LINK.cached.parent.iterdir())


@pytest.mark.parametrize("digest", ["", f"sha256:{SHA256}", f"md5:{MD5}"])
def test_a_file_is_fetched_once_and_recorded(host: Host, tmp_path: Path, digest: str):
    link = Link(URL, digest)
    path = fetch_file(link)
    assert path == tmp_path / "cache/weights/download.example.org/models/net-0123.pth"
    assert path.read_bytes() == DATA
    kind, digits = ("md5", MD5) if "md5" in digest else ("sha256", SHA256)
    record = path.with_name(f"net-0123.pth.{kind}")
    assert record.read_text() == f"# 100000 bytes\n{digits}  net-0123.pth\n"
    assert set(folder()) - {"net-0123.pth.lock"} == {"net-0123.pth", record.name}
    assert fetch_file(link) == path
    assert len(host.gets(PATH)) == 1


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs sha256sum")
def test_the_record_is_one_that_sha256sum_checks(host: Host):
    path = fetch_file(LINK)
    command = ["sha256sum", "--strict", "--check", f"{path.name}.sha256"]
    subprocess.run(command, cwd=path.parent, check=True, capture_output=True)


@pytest.mark.parametrize("cut", [int(100_000 * i / 20) for i in range(20)])
def test_a_cut_transfer_goes_on_where_it_stopped(host: Host, cut: int):
    host.plan(PATH, Trick(cut=cut))
    assert fetch_file(LINK).read_bytes() == DATA
    assert host.gets(PATH) == ["", f"bytes={cut}-" if cut else ""]


def test_twenty_cuts_in_a_row_are_no_failure_as_long_as_bytes_come(host: Host):
    host.plan(PATH, *[Trick(cut=4500)] * 20)
    assert fetch_file(LINK).read_bytes() == DATA
    assert host.gets(PATH)[-1] == f"bytes={20 * 4500}-"


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(host: Host):
    host.plan(PATH, Trick(cut=60_000), *[Trick(cut=0)] * transfer.RETRIES)
    message = refusal()
    assert "the connection ended at byte 60000 of 100000" in message
    assert folder()[1:] == ["net-0123.pth.part", "net-0123.pth.part.etag"]
    assert fetch_file(LINK).read_bytes() == DATA
    assert host.gets(PATH)[-1] == "bytes=60000-"
    assert len(host.gets(PATH)) == transfer.RETRIES + 2


def test_a_finished_part_without_its_final_name_is_no_trap(host: Host):
    part = Path(f"{LINK.cached}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA)
    Path(f"{part}.etag").write_text(f'"{MD5}"')
    assert fetch_file(LINK).read_bytes() == DATA


@pytest.mark.parametrize(
    "second",
    [
        Trick(ranges=False),
        Trick(headers={"ETag": '"another version"'}),
        Trick(headers={"Content-Range": "bytes 7-99999/100000"}),
        Trick(status=416),
    ],
    ids=["no ranges", "changed", "wrong range", "unsatisfiable"],
)
def test_what_cannot_go_on_starts_again(host: Host, second: Trick):
    host.plan(PATH, Trick(cut=50_001), second)
    assert fetch_file(LINK).read_bytes() == DATA
    assert host.gets(PATH)[1] == "bytes=50001-"


def test_a_file_that_changes_midway_is_not_mixed(host: Host):
    other = DATA[::-1]
    host.plan(PATH, Trick(cut=50_000, body=other))
    assert fetch_file(Link(URL)).read_bytes() == DATA
    # A server that ignores If-Range, but sends the new file's tag.
    link = Link("https://elsewhere.example.org/net.pth")
    path = "/elsewhere.example.org/net.pth"
    host.files[path] = DATA
    broken = Trick(
        headers={"ETag": '"new"', "Content-Range": "bytes 50000-"}, status=206
    )
    host.plan(path, Trick(cut=50_000), broken)
    assert fetch_file(link).read_bytes() == DATA


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_without_a_strong_tag_a_cut_transfer_starts_again(host: Host, tag: str | None):
    host.plan(PATH, Trick(cut=50_000, headers={"ETag": tag}))
    assert fetch_file(LINK).read_bytes() == DATA
    assert host.gets(PATH) == ["", ""]


@pytest.mark.parametrize("digest", [f"sha256:{SHA256[:8]}", f"md5:{MD5}"])
def test_a_tampered_byte_is_refused_and_thrown_away(host: Host, digest: str):
    tampered = bytearray(DATA)
    tampered[70_000] ^= 1
    host.files[PATH] = bytes(tampered)
    message = refusal(Link(URL, digest))
    kind, _, digits = digest.partition(":")
    actual = hashlib.new(kind, tampered).hexdigest()
    assert f"its {kind} is {actual}, not {digits}; it was deleted" in message
    assert folder() == ["net-0123.pth.lock"]
    host.files[PATH] = DATA
    assert fetch_file(LINK).read_bytes() == DATA


def test_a_short_read_is_never_a_file(host: Host):
    claim: dict[str, str | None] = {"Content-Length": "100000"}
    short = Trick(body=DATA[:99_999], headers=claim, ranges=False)
    host.plan(PATH, *[short] * 20)
    assert "the connection ended at byte 99999 of 100000" in refusal(Link(URL))


@pytest.mark.parametrize(
    ("trick", "found"),
    [
        (Trick(body=b"\n <!DOCTYPE html><p>Log in"), "answers with a web page"),
        (Trick(body=b"\xef\xbb\xbf<?xml version"), "answers with a web page"),
        (Trick(headers={"Content-Type": "text/html; charset=utf-8"}), "a web page"),
        (Trick(headers={"Content-Encoding": "gzip"}), "is sent compressed"),
        (Trick(status=404), "cannot be fetched: HTTP 404 Not Found"),
        (Trick(status=403), "cannot be fetched: HTTP 403 Forbidden"),
        (Trick(headers={"Content-Length": str(9 << 30)}), "longer than 8 GiB"),
    ],
)
def test_answers_that_are_no_checkpoint_are_refused_at_once(
    host: Host, trick: Trick, found: str
):
    host.plan(PATH, trick)
    message = refusal(Link(URL))
    assert found in message
    assert f"{host.url}{PATH}" in message
    assert len(host.gets(PATH)) == 1


def test_a_file_may_begin_as_a_web_page_does(host: Host):
    host.files[PATH] = b" <\0\0\0\0\0\0{" + DATA
    assert fetch_file(Link(URL)).read_bytes() == host.files[PATH]


def test_a_file_without_a_length_needs_a_digest(host: Host):
    nameless = Trick(headers={"Content-Length": None}, cut=100_000)
    host.plan(PATH, nameless, nameless)
    assert "comes without a length" in refusal(Link(URL))
    assert fetch_file(SEALED).read_bytes() == DATA


def test_an_endless_file_is_given_up(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transfer, "CEILING", 50_000)
    host.plan(PATH, Trick(headers={"Content-Length": None}, cut=100_000))
    assert "is longer than" in refusal(SEALED)


def test_no_room_is_told_before_anything_is_written(
    host: Host, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage("/")._replace(free=3 << 10)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: usage)
    assert "has 0 MiB free" in refusal()
    assert "JFT_CACHE" in refusal()


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(
    host: Host, status: int, monkeypatch: pytest.MonkeyPatch
):
    waits: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", waits.append)
    monkeypatch.setattr(transfer, "PAUSE", 0.5)
    later, much_later = ({"Retry-After": text} for text in ("7", "86400"))
    host.plan(
        PATH,
        *(Trick(status=status, headers=headers) for headers in (later, much_later)),
        *[Trick(status=status)] * 2,
    )
    assert fetch_file(LINK).read_bytes() == DATA
    # The server's own Trick(wait=0) sleeps too.
    assert [wait for wait in waits if wait] == [7.0, 60.0, 2.0, 4.0]


def test_a_server_that_stays_down_is_given_up(host: Host):
    host.plan(PATH, *[Trick(status=503)] * 20)
    message = refusal()
    assert len(host.gets(PATH)) == transfer.RETRIES + 1
    assert "HTTP 503 Service Unavailable" in message
    assert f"get that file elsewhere and put it at {LINK.cached}" in message


def test_a_server_that_does_not_answer_is_given_up(
    host: Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transfer, "TIMEOUT", 0.05)
    monkeypatch.setattr(transfer, "RETRIES", 1)
    host.plan(PATH, *[Trick(wait=0.3)] * 2)
    assert "timed out" in refusal()


def test_an_unreachable_host_says_what_to_put_where(
    host: Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JFT_MIRROR", hosts.refusing_url())
    message = refusal()
    assert message.startswith(f"{URL} cannot be fetched (")
    assert "Connection refused" in message
    assert f"put it at {LINK.cached}, or name a mirror in JFT_MIRROR" in message


def test_offline_uses_the_cache_alone(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = refusal()
    assert f"{URL} cannot be fetched (HF_HUB_OFFLINE is set)" in message
    LINK.cached.parent.mkdir(parents=True)
    LINK.cached.write_bytes(b"something else")
    with pytest.raises(InputError, match="another file is there"):
        fetch_file(LINK)
    LINK.cached.write_bytes(DATA)
    assert fetch_file(LINK).read_bytes() == DATA
    assert not host.asked


def test_a_damaged_file_in_the_cache_is_fetched_again(host: Host):
    path = fetch_file(LINK)
    path.write_bytes(DATA[:-1])
    assert fetch_file(LINK).read_bytes() == DATA
    # Of the same size, and later than the record.
    path.write_bytes(bytes(len(DATA)))
    later = Path(f"{path}.sha256").stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))
    assert fetch_file(LINK).read_bytes() == DATA


def test_a_file_without_a_digest_is_held_to_what_it_was_first(host: Host):
    link = Link(URL)
    path = fetch_file(link)
    path.write_bytes(DATA[:-1])
    with pytest.raises(InputError, match="has changed since it was downloaded: delete"):
        fetch_file(link)
    path.unlink()
    assert fetch_file(link).read_bytes() == DATA


def test_an_unchanged_file_is_not_hashed_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
):
    fetch_file(LINK)
    monkeypatch.setattr(download, "file_digest", None)
    fetch_file(LINK)


@pytest.mark.process
def test_eight_processes_download_once(host: Host):
    host.plan(PATH, Trick(wait=0.5))
    code = (
        "from jft.weights.download import *\n"
        f"print(file_digest(fetch_file(Link({LINK.url!r}, {LINK.digest!r}))))"
    )
    command = [sys.executable, "-c", code]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(8)]
    assert [run.communicate()[0].decode().strip() for run in runs] == [SHA256] * 8
    assert host.gets(PATH) == [""]


def test_redirects_are_followed_with_the_range(host: Host):
    there = "/cdn.example.org/blob"
    host.files[there] = DATA
    onward = Trick(status=302, headers={"Location": f"{host.url}{there}"})
    host.plan(PATH, onward, onward)
    host.plan(there, Trick(cut=30_000))
    assert fetch_file(LINK).read_bytes() == DATA
    assert host.gets(there) == ["", "bytes=30000-"]


@pytest.mark.parametrize(
    "target", ["http://elsewhere.example.org/net.pth", "ftp://127.0.0.1/net.pth"]
)
def test_a_redirect_to_what_can_be_forged_is_refused(host: Host, target: str):
    host.plan(PATH, Trick(status=302, headers={"Location": target}))
    message = refusal(Link(URL))
    assert target in message
    assert len(host.asked) == 1


@pytest.mark.parametrize("checked", [True, False])
def test_https_is_never_left(checked: bool):
    request = urllib.request.Request("https://127.0.0.1/net.pth")
    redirects = transfer._Redirects(checked)
    with pytest.raises(InputError, match=r"redirects to 'http://127\.0\.0\.1/net'"):
        redirects.redirect_request(
            request, io.BytesIO(), 302, "", {}, "http://127.0.0.1/net"
        )


def test_a_loop_of_redirects_ends(host: Host):
    around = Trick(status=302, headers={"Location": f"{host.url}{PATH}"})
    host.plan(PATH, *[around] * 50)
    assert "it redirects in circles (HTTP 302 Found)" in refusal()


def test_a_mirror_without_https_needs_digests(
    host: Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JFT_MIRROR", "http://mirror.lab")
    assert "JFT_MIRROR=http://mirror.lab is not an https address" in refusal(Link(URL))
    assert transfer._mirrored(URL, True) == f"http://mirror.lab{PATH}"
    monkeypatch.setenv("JFT_MIRROR", "https://mirror.lab/files/")
    assert transfer._mirrored(URL, False) == f"https://mirror.lab/files{PATH}"
    monkeypatch.delenv("JFT_MIRROR")
    assert transfer._mirrored(URL, False) == URL


@pytest.mark.parametrize(
    "url",
    [
        "http://host/net.pth",
        "file:///etc/passwd",
        "https:///net.pth",
        "https://host",
        "https://host/",
        "https://host/folder/",
        "https://host/a/../../../net.pth",
        "https://host/..",
        "https://host/a//net.pth",
        "https://host/a\\..\\net.pth",
        "https://host/a b.pth",
        "https://host/a\n.pth",
        "https://user:secret@host/net.pth",
        "https://host:port/net.pth",
        "https://[::1/net.pth",
        "https://../net.pth",
    ],
)
def test_other_addresses_are_refused(url: str):
    with pytest.raises(
        InputError, match="is not an https://HOST/PATH address of a file"
    ):
        Link(url)


@pytest.mark.parametrize("digest", ["sha256:", "sha1:0123456789", "sha256:XYZ", SHA256])
def test_other_digests_are_refused(digest: str):
    with pytest.raises(InputError, match="is not of the form sha256:HEX or md5:HEX"):
        Link(URL, digest)


def test_a_cache_that_cannot_be_written_is_explained(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JFT_CACHE", str(tmp_path / "file"))
    assert "cannot be used: Not a directory" in refusal()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(InputError, match=r"/none\.pth cannot be read: No such file"):
        intact(tmp_path / "none.pth", f"sha256:{SHA256}")


def test_a_record_that_cannot_be_written_is_done_without(tmp_path: Path):
    (tmp_path / "file").write_bytes(DATA)
    record = tmp_path / "file" / "record"
    assert intact(tmp_path / "file", f"sha256:{SHA256}", record)
    assert not intact(tmp_path / "file", "sha256:00000000", record)


def test_a_terminal_shows_a_bar(host: Host, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch_file(LINK)
    assert "net-0123.pth" in (shown := capsys.readouterr().err)
    assert "100.0" in shown
