"""Servers that mean harm, and what the downloader makes of each: one printable line, in time, and nothing kept.

    uv run --directory tests python hostile_servers.py

The limits are scaled down to half a second of silence and one second a download. test_datasets.py meets some of them.
"""

import contextlib
import itertools
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from microgpt_harness.data import datasets, downloads, registry
from microgpt_harness.system.errors import RunError

SILENCE, SECONDS = 0.5, 1.0  # downloads.TIMEOUT and MAX_SECONDS, as long as we are here
MARGIN = 2.0  # seconds a busy machine may add
PAUSE = 0.05  # seconds between two bytes of what trickles
MAX_MEMORY = 2**30  # bytes
REGISTRY = """\
[hostile]
title = "t"
source = "s"
licence = "l"
file = "hostile.txt"
sha256 = "00"
format = "lines"
mode = "discrete"
documents = 0
characters = 0
url = "{url}"
"""
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ESCAPES = b"\x1b]0;title\x07\x1b[2J\x9b31m\x00\x7f"

Answer = Callable[[int], Iterator[bytes]]  # what is sent, given the server's port


def sends(*parts: bytes) -> Answer:
    """Send these bytes and hang up."""
    return lambda port: iter(parts)


def trickles(begin: bytes, again: bytes = b"x") -> Answer:
    """Send a little every now and then, for ever: always before a socket's timeout is over."""

    def answer(port: int) -> Iterator[bytes]:
        yield begin
        while True:
            time.sleep(PAUSE)
            yield again

    return answer


def floods(begin: bytes, again: bytes) -> Answer:
    """Send the same, for ever, as fast as it is taken."""
    return lambda port: itertools.chain([begin], itertools.repeat(again * (65536 // len(again))))


def hesitates(begin: bytes) -> Answer:
    """Send something, and then nothing more without hanging up."""

    def answer(port: int) -> Iterator[bytes]:
        yield begin
        time.sleep(SECONDS + MARGIN)

    return answer


def redirects(to: str, pause: float = 0.0, body: bytes = b"") -> Answer:
    def answer(port: int) -> Iterator[bytes]:
        time.sleep(pause)
        location = to.format(port=port, anew=time.monotonic_ns()).encode("latin-1")
        yield b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n"
        while body:
            yield body

    return answer


SERVERS: dict[str, Answer] = {
    "says nothing": hesitates(b""),
    "hangs up": sends(),
    "trickles a status line": trickles(b"HTTP/1.1 200 "),
    "trickles a header": trickles(OK + b"X: "),
    "trickles headers": trickles(OK, b"X: x\r\n"),
    "endless status line": floods(b"HTTP/1.1 200 ", b"x"),
    "endless header": floods(OK + b"X: ", b"x"),
    "endless headers": floods(OK, b"X: x\r\n"),
    "endless 100 Continue": floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trickles 100 Continue": trickles(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers of 100 Continue": floods(b"HTTP/1.1 100 Continue\r\n", b"X: x\r\n"),
    "trickles a body": trickles(OK + b"Content-Length: 1000000\r\n\r\n"),
    "trickles a body of no length": trickles(OK + b"\r\n"),
    "stops after its headers": hesitates(OK + b"Content-Length: 9\r\n\r\n"),
    "stops in its body": hesitates(OK + b"Content-Length: 9\r\n\r\nx"),
    "endless body": floods(OK + b"\r\n", b"x"),
    "too short": sends(OK + b"Content-Length: 9\r\n\r\nx"),
    "too long": sends(OK + b"Content-Length: 2\r\n\r\nxyz"),
    "length of 400 digits": sends(OK + b"Content-Length: " + b"9" * 400 + b"\r\n\r\nx"),
    "length of 5,000 digits": sends(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nx"),
    "negative length": sends(OK + b"Content-Length: -1\r\n\r\nx"),
    "two lengths": sends(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxyz"),
    "chunk size of letters": sends(CHUNKED + b"xyz\r\nx\r\n"),
    "negative chunk size": sends(CHUNKED + b"-5\r\nx\r\n"),
    "chunk size of 1,000 digits": sends(CHUNKED + b"f" * 1000 + b"\r\nx\r\n"),
    "endless chunk extension": floods(CHUNKED + b"1;", b"x"),
    "trickles a chunk extension": trickles(CHUNKED + b"1;"),
    "endless chunks of a byte": floods(CHUNKED, b"1\r\nx\r\n"),
    "trickles chunks": trickles(CHUNKED, b"1\r\nx\r\n"),
    "endless trailers": floods(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: x\r\n"),
    "trickles trailers": trickles(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: x\r\n"),
    "redirects to itself": redirects("http://127.0.0.1:{port}/again"),
    "redirects to ever new places, slowly": redirects("http://127.0.0.1:{port}/{anew}", pause=0.3),
    "redirects with an endless body": redirects("http://127.0.0.1:{port}/again", body=b"x" * 65536),
    "redirects to a file": redirects("file:///etc/passwd"),
    "redirects to ftp": redirects("ftp://127.0.0.1:{port}/x"),
    "redirects to data": redirects("data:text/plain,x"),
    "redirects to no host": redirects("http://"),
    "redirects to a broken address": redirects("http://[::1"),
    "redirects to control characters": redirects("http://127.0.0.1:{port}/\x1b[2J\x07\x00"),
    "reason of control characters": sends(b"HTTP/1.1 404 " + ESCAPES + b"\r\n\r\n"),
    "headers of control characters": sends(OK + b"X: " + ESCAPES + b"\r\n" + ESCAPES + b": x\r\n\r\nx"),
    "status of control characters": sends(b"HTTP/1.1 " + ESCAPES + b"\r\n\r\n"),
    "version of control characters": sends(ESCAPES + b" 200 OK\r\n\r\n"),
    "status of 5,000 digits": sends(b"HTTP/1.1 " + b"2" * 5000 + b" OK\r\n\r\n"),
    "HTTP/0.9": sends(b"anna\nbob\n"),
    "switches protocols": trickles(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "asks for a password": sends(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=" + ESCAPES + b"\r\n\r\n"),
    "gzip that nobody asked for": sends(OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00" + b"\0" * 1000),
    "other content": sends(OK + b"\r\nanna\nbob\n"),
}
OVER_TLS: dict[str, Answer] = {  # answers to the first message of a TLS handshake
    "TLS: says nothing": hesitates(b""),
    "TLS: hangs up": sends(),
    "TLS: garbage": floods(b"", b"\x1b[2J"),
    "TLS: trickles a record": trickles(b"\x16\x03\x03\x40\x00"),
    "TLS: trickles records": trickles(b"", b"\x16\x03\x03\x00\x01\x00"),
    "TLS: endless warnings": floods(b"", b"\x15\x03\x03\x00\x02\x01\x00"),
    "TLS: speaks HTTP": sends(OK + b"\r\nx"),
}
AS_PROXY: dict[str, Answer] = {  # answers to CONNECT
    "proxy: trickles a status line": trickles(b"HTTP/1.1 200 "),
    "proxy: endless headers": floods(OK, b"X: x\r\n"),
    "proxy: trickles headers": trickles(OK, b"X: x\r\n"),
    "proxy: refuses in control characters": sends(b"HTTP/1.1 403 " + ESCAPES + b"\r\n\r\n"),
}


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[int]:
    """Answer every connection in a thread of its own. Yield the port."""

    def converse(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:  # an OSError: the client has hung up
            connection.recv(65536)
            for part in answer(port):
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)

    def accept() -> None:
        with contextlib.suppress(OSError):  # closed, below
            while True:
                connection, _ = listener.accept()
                connection.settimeout(10 * SECONDS)
                threading.Thread(target=converse, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=accept, daemon=True).start()
        yield port
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Outcome:
    name: str
    seconds: float
    message: str
    faults: list[str]


def meet(name: str, folder: Path) -> Outcome:
    """Load a dataset from a server, in this process, whose limits are changed meanwhile."""
    scheme = "http" if name in SERVERS else "https"
    with serving((SERVERS | OVER_TLS | AS_PROXY)[name]) as port, pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "REGISTRY", folder / "datasets.toml")
        registry.REGISTRY.write_text(REGISTRY.format(url=f"{scheme}://127.0.0.1:{port}/hostile.txt"))
        patch.setattr(downloads, "TIMEOUT", SILENCE)
        patch.setattr(downloads, "MAX_SECONDS", SECONDS)
        patch.setenv("MICROGPT_CACHE", str(folder / "cache"))
        patch.delenv("MICROGPT_MIRROR", raising=False)
        patch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        patch.setenv("no_proxy", "" if name in AS_PROXY else "127.0.0.1")
        began = time.monotonic()
        try:
            message = f"{len(datasets.load('hostile').documents)} documents came"
        except RunError as error:
            message = str(error)
        seconds = time.monotonic() - began
        return Outcome(name, seconds, message, faults(seconds, message, folder / "cache"))


def faults(seconds: float, message: str, cache: Path) -> list[str]:
    conditions = {
        "too late": seconds > SECONDS + MARGIN,
        "no error": not message.startswith("dataset hostile: "),
        "control characters in the message": not message.isprintable(),
        "something was kept": cache.exists(),
        "the download goes on": still_downloading(),
    }
    return [fault for fault, is_so in conditions.items() if is_so]


def still_downloading() -> bool:
    for thread in threading.enumerate():
        if thread.name == downloads.THREAD:
            thread.join(MARGIN)
            return thread.is_alive()
    return False


def main() -> int:
    import resource  # Windows has none

    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in (*SERVERS, *OVER_TLS, *AS_PROXY):
            outcome = meet(name, Path(folder))
            cause = outcome.message.partition("hostile.txt: ")[2].partition(". Put the file")[0]
            verdict = f"FAILED: {'; '.join(outcome.faults)}" if outcome.faults else "held"
            print(f"{verdict:6s} {outcome.seconds:4.1f} s  {name:40s} {ascii(cause)[1:-1][:100]}", flush=True)
            failed += bool(outcome.faults)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{failed} failed; at most {memory / 1e6:.0f} MB of memory")
    return int(failed > 0 or memory > MAX_MEMORY)


if __name__ == "__main__":
    sys.exit(main())
