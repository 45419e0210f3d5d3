"""Bytes from an http(s) address, with a limit on everything a server can do wrong. Standard library only.

A socket's timeout is for one read, so a server that trickles never trips it, whatever it trickles: a status line,
headers, `100 Continue` for ever, a body, what stands behind it. So the deadline and the number of bytes are checked at
every read, below everything that Python makes of the bytes. What cannot be stopped, such as the system's look-up of a
host's name, goes on in a thread that nobody waits for any longer.
"""

import io
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..system.console import printable

TIMEOUT = 30.0  # seconds without a single byte
MAX_SECONDS = 600.0  # for a whole download, however many answers it takes
MAX_BYTES = 64 * 2**20  # of one answer, its headers included; the largest real file has 1.3 MB
CHUNK = 64 * 2**10
PROGRESS_EVERY = 2**20  # bytes between two progress messages
THREAD = "download"
PATIENCE = 0.2  # seconds between two moments at which Ctrl-C is answered

Progress = Callable[[str], None]
News = queue.SimpleQueue[tuple[str, Any]]  # of a download: what it is, and its content


class Unavailable(Exception):
    """This source cannot give the file, another may. The message is the cause."""


def download(address: str, progress: Progress) -> bytes:
    """The bytes behind an http(s) address. Unavailable with address and cause when they cannot be had."""
    deadline = time.monotonic() + MAX_SECONDS
    news: News = queue.SimpleQueue()
    threading.Thread(target=_fetch, args=(address, deadline, news), name=THREAD, daemon=True).start()
    while True:
        try:
            kind, content = news.get(timeout=PATIENCE)
        except queue.Empty:
            if time.monotonic() < deadline + 2 * PATIENCE:  # the thread is to see its deadline first
                continue
            kind, content = "failure", _too_late()
        if kind == "progress":
            progress(content)
        elif kind == "bytes":
            return content
        else:
            raise Unavailable(f"cannot download {address}: {_cause(content)}") from content


def _fetch(address: str, deadline: float, news: News) -> None:
    """Put progress messages into `news`, and at the end the bytes or what came between."""
    import http.client

    dropped = (ConnectionResetError, ConnectionAbortedError, EOFError, http.client.IncompleteRead)
    for attempt in (1, 2):
        try:
            news.put(("bytes", _read_address(address, deadline, lambda message: news.put(("progress", message)))))
            return
        except Exception as error:  # of whatever kind: a stranger's server has chosen it
            if attempt == 1 and isinstance(error, dropped):
                continue  # a dropped connection is often gone at once, so one more try and no waiting
            news.put(("failure", error))
            return


def _read_address(address: str, deadline: float, progress: Progress) -> bytes:
    progress(f"downloading {address}")
    received = bytearray()
    with _opener(deadline).open(address, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() and len(length) < 20 else None
        if total is not None and total > MAX_BYTES:
            raise _too_much()
        of_total = f" of {total / 1e6:.1f}" if total else ""
        while chunk := response.read1(CHUNK):
            before = len(received)
            received += chunk
            if len(received) // PROGRESS_EVERY > before // PROGRESS_EVERY:
                progress(f"downloading {address}: {len(received) / 1e6:.1f}{of_total} MB")
    if total is not None and len(received) != total:
        raise EOFError(f"the connection was dropped after {len(received)} of {total} bytes")
    return bytes(received)


class _LimitedReader(io.RawIOBase):
    """What a socket receives, up to a moment and a number of bytes."""

    def __init__(self, socket: Any, raw: io.RawIOBase, deadline: float) -> None:
        self.socket, self.raw, self.deadline, self.bytes_left = socket, raw, deadline, MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.socket.settimeout(_timeout(self.deadline))
        try:
            n_bytes = self.raw.readinto(buffer)
        except TimeoutError:
            _timeout(self.deadline)  # was it the deadline, or a server that is silent?
            raise
        self.bytes_left -= n_bytes or 0
        if self.bytes_left < 0:
            raise _too_much()
        return n_bytes

    def close(self) -> None:
        self.raw.close()
        super().close()


def _timeout(deadline: float) -> float:
    """The seconds that the next wait may take. TimeoutError when there are none left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise _too_late()
    return min(TIMEOUT, left)


def _too_late() -> TimeoutError:
    return TimeoutError(f"not finished after {MAX_SECONDS:g} s")


def _too_much() -> ValueError:
    return ValueError(f"more than {MAX_BYTES // 2**20} MB came, which cannot be this file")


def _opener(deadline: float) -> Any:
    """An urllib opener that keeps to the limits, and to http and https: a redirect to ftp: or file: is an error."""
    import http.client
    import urllib.request as request

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
            super().__init__(sock, *args, **options)
            self.fp = io.BufferedReader(_LimitedReader(sock, self.fp.detach(), deadline))

    def connect(connection_class: type, host: str, **options: Any) -> Any:
        connection = connection_class(host, **(options | {"timeout": _timeout(deadline)}))
        connection.response_class = Response  # that of a proxy's answer too
        return connection

    class Limited:
        def do_open(self, connection_class: type, *args: Any, **options: Any) -> Any:
            return super().do_open(partial(connect, connection_class), *args, **options)  # type: ignore[misc]

    class HTTPHandler(Limited, request.HTTPHandler):  # type: ignore[misc]
        pass

    class HTTPSHandler(Limited, request.HTTPSHandler):  # type: ignore[misc]
        pass

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        HTTPHandler,
        HTTPSHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
        request.HTTPDefaultErrorHandler,
        request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _cause(error: Exception) -> str:
    """An error of the network in words, on one line."""
    import socket
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError

    if isinstance(error, HTTPError):
        return _one_line(f"the server answered {error.code} {error.reason}")
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, socket.gaierror):
        return "the host's name is not known (no network?)"
    if isinstance(reason, TimeoutError):
        return f"no answer for {TIMEOUT:g} s" if str(reason) in ("timed out", "") else str(reason)
    if isinstance(reason, UnicodeError):
        return "no host can have this name"
    if isinstance(reason, ConnectionRefusedError):
        return "connection refused"
    if isinstance(reason, ConnectionError):
        return "the connection was dropped"
    if isinstance(reason, HTTPException):
        return _one_line(f"the answer is not proper HTTP ({type(reason).__name__}: {reason})")
    return _one_line(str(reason)) or type(reason).__name__


def _one_line(text: str) -> str:
    """What a stranger's server wrote, fit for a terminal: one short line without control characters."""
    return printable(" ".join(text.split()))[:300]
