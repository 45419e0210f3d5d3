"""Bytes from an http(s) address, with a limit on everything a server can do wrong. Standard library only."""

from collections.abc import Callable

from .console import printable

TIMEOUT = 30.0  # seconds without a single byte
MAX_SECONDS = 600.0  # for a whole download: a server that trickles never trips TIMEOUT
MAX_BYTES = 64 * 2**20  # the largest real file has 1.3 MB
CHUNK = 64 * 2**10
PROGRESS_EVERY = 2**20  # bytes between two progress messages

Progress = Callable[[str], None]


class Unavailable(Exception):
    """This source cannot give the file, another may. The message is the cause."""


def download(address: str, progress: Progress) -> bytes:
    """The bytes behind an http(s) address. Unavailable with address and cause when they cannot be had."""
    import http.client

    for attempt in (1, 2):
        try:
            return _read_address(address, progress)
        except (ConnectionResetError, ConnectionAbortedError, EOFError, http.client.IncompleteRead) as error:
            if attempt == 2:  # a dropped connection is often gone at once, so one more try and no waiting
                raise Unavailable(f"cannot download {address}: {_cause(error)}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"cannot download {address}: {_cause(error)}") from error
    raise AssertionError("unreachable")


def _read_address(address: str, progress: Progress) -> bytes:
    import time

    started = time.monotonic()
    progress(f"downloading {address}")
    received = bytearray()
    with _opener().open(address, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        of_total = f" of {total / 1e6:.1f}" if total else ""
        # read1 returns what has come, where read would wait for a whole chunk and never see the deadline.
        while chunk := response.read1(CHUNK):
            before = len(received)
            received += chunk
            if len(received) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES // 2**20} MB came, which cannot be this file")
            if time.monotonic() - started > MAX_SECONDS:
                raise TimeoutError(f"not finished after {MAX_SECONDS:g} s")
            if len(received) // PROGRESS_EVERY > before // PROGRESS_EVERY:
                progress(f"downloading {address}: {len(received) / 1e6:.1f}{of_total} MB")
    if total is not None and len(received) != total:
        raise EOFError(f"the connection was dropped after {len(received)} of {total} bytes")
    return bytes(received)


def _opener():
    """An urllib opener that speaks http and https only: a redirect to ftp: or file: is an error."""
    import urllib.request as request

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
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
    from urllib.error import HTTPError, URLError

    if isinstance(error, HTTPError):
        return _one_line(f"the server answered {error.code} {error.reason}")
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, socket.gaierror):
        return "the host's name is not known (no network?)"
    if isinstance(reason, TimeoutError):
        return f"no answer for {TIMEOUT:g} s" if str(reason) in ("timed out", "") else str(reason)
    if isinstance(reason, ConnectionRefusedError):
        return "connection refused"
    if isinstance(reason, ConnectionError):
        return "the connection was dropped"
    return _one_line(str(reason)) or type(reason).__name__


def _one_line(text: str) -> str:
    """What a stranger's server wrote, fit for a terminal: one short line without control characters."""
    return printable(" ".join(text.split()))[:300]
