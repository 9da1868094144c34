"""One question to a language model's server: no redirects, one limit of time for everything, an answer of bounded size.

A server may be slow, broken or hostile: it may send a byte every few seconds, no status line, headers without end, or
another address. Whatever it does, the caller gets the message of its answer or an `Unanswered` that says in one line
what went wrong.
"""

import http.client
import io
import queue
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from mwl.core.errors import BadInput, CorruptFile, MwlError
from mwl.core.files import parse_json, shown

MAX_ANSWER = 1 << 20  # bytes
_KEY_REFUSED = "the server refuses the key (401)"
_KEY_WANTED = "the server wants a key (401), and the environment variable for it is not set"
_STATUS = {
    400: "the server does not take the question (400); perhaps it has no such model",
    403: "the server does not allow it (403): the key has no right to this model",
    404: "the server has no such model, or no chat at this address (404)",
}
_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # what may go better at a second try


class Unanswered(MwlError):
    """The server gave no usable message; `again` says whether a second try may help, `wait` after how many seconds."""

    def __init__(self, message: str, *, again: bool = True, wait: float = 0.0) -> None:
        super().__init__(message)
        self.again, self.wait = again, wait


def checked_address(endpoint: str) -> str:
    """The endpoint without a slash at its end.

    Raises:
        BadInput: no address of http or https, or it holds a name, a password, a query or a fragment.
    """
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
        raise BadInput("planner endpoint: needs to be an address that begins with http:// or https://")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadInput(
            "planner endpoint: may hold no name, password, query or fragment; the key goes into MWL_CHAT_KEY"
        )
    return endpoint.rstrip("/")


def ask(address: str, request: bytes, key: str, limit: float) -> str:
    """The message that the server answers with.

    Args:
        address: that takes the request.
        request: JSON.
        key: sent to this address alone; empty: none is sent.
        limit: s for everything from the first byte sent to the last one received.

    Raises:
        Unanswered: it gave none within the limit.
    """
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    asked = urllib.request.Request(address, data=request, headers=headers)
    deadline = time.monotonic() + limit
    proxies = [urllib.request.ProxyHandler({})] if _is_here(address) else []
    opener = urllib.request.build_opener(_NoRedirects, _Http(deadline), _Https(deadline), *proxies)

    def read() -> bytes:
        with opener.open(asked, timeout=limit) as response:
            content: bytes = response.read(MAX_ANSWER + 1)
            return content

    try:
        content = _at_most(limit, read)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error.code, error.headers, bool(key)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unreached(error, limit) from error
    if len(content) > MAX_ANSWER:
        raise Unanswered(f"the answer is larger than {MAX_ANSWER >> 20} MiB")
    return _message(content)


def _at_most(limit: float, call: Callable[[], bytes]) -> bytes:
    """What a call returns or raises; the names and the addresses of a host know no limit, so another thread waits.

    Raises:
        TimeoutError: nothing after `limit` s; the call is left to itself.
    """
    answer: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put(call())
        except Exception as error:  # handed over, whatever it is
            answer.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        got = answer.get(timeout=limit)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(got, Exception):
        raise got
    return got


def parsed(text: str) -> dict[str, Any]:
    """The JSON object in a message, which may stand in a fence, or between sentences.

    Raises:
        Unanswered: there is none.
    """
    text = re.sub(r"(?s)\A\s*<think>.*?</think>", "", text).strip()
    fenced = re.search(r"(?s)```(?:json)?\s*(\{.*?\})\s*```", text)
    braced = text[text.find("{") : text.rfind("}") + 1]
    for candidate in (text, fenced[1] if fenced else "", braced):
        if candidate:
            try:
                found = parse_json(candidate, "answer")
            except CorruptFile:
                continue
            if isinstance(found, dict):
                return found
    raise Unanswered("the answer holds no JSON object")


def _message(content: bytes) -> str:
    try:
        message = parse_json(content, "answer")["choices"][0]["message"]["content"]
    except (CorruptFile, KeyError, IndexError, TypeError) as error:
        raise Unanswered("the answer is not that of a chat server") from error
    if not isinstance(message, str):
        raise Unanswered("the answer holds no text")
    return message


def _is_here(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _refused(code: int, headers: Any, with_key: bool) -> Unanswered:
    if code == 401:
        return Unanswered(_KEY_REFUSED if with_key else _KEY_WANTED, again=False)
    if code == 429:
        wait = _seconds(headers.get("Retry-After"))
        asks = f", and asks to wait {wait:.0f} s" if wait else ""
        return Unanswered(f"the server has too many requests (429){asks}", wait=wait)
    if 300 <= code < 400:
        return Unanswered(f"the server sends to another address ({code}), which is not followed", again=False)
    if 500 <= code < 600:
        return Unanswered(f"the server failed ({code})", wait=_seconds(headers.get("Retry-After")))
    return Unanswered(_STATUS.get(code, f"the server refuses ({code})"), again=code in _AGAIN)


def _seconds(value: str | None) -> float:
    """What a Retry-After header says, as seconds from now; 0 where it says nothing that can be read."""
    if value is None:
        return 0.0
    if re.fullmatch(r"\d{1,6}", value.strip()):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _unreached(error: Exception, limit: float) -> Unanswered:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return Unanswered(f"the server gave no whole answer within {limit:.3g} s")
    if isinstance(reason, http.client.HTTPException | ValueError):
        return Unanswered(f"the server does not speak HTTP as it should ({type(reason).__name__})")
    if isinstance(reason, ssl.SSLError):
        return Unanswered(f"no safe connection ({shown(reason.reason or 'SSL')})", again=False)
    said = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(reason).__name__
    return Unanswered(f"the server can't be reached ({said.lower()})")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: it could lead the key, and the plan, to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None

    def http_error_302(self, *_: Any) -> None:
        """Leave it to who makes errors of what is no success; the base would look at the new address first."""

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302  # type: ignore[assignment]


class _Http(urllib.request.HTTPHandler):
    def __init__(self, deadline: float) -> None:
        super().__init__()
        self.deadline = deadline

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_within(http.client.HTTPConnection, self.deadline), request)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, deadline: float) -> None:
        super().__init__()
        self.deadline = deadline

    def https_open(self, request: urllib.request.Request) -> Any:
        made = _within(http.client.HTTPSConnection, self.deadline)
        return self.do_open(made, request, context=ssl.create_default_context())


def _within(kind: type[http.client.HTTPConnection], deadline: float) -> Any:
    """A kind of connection whose answers end at the deadline, however slowly their bytes arrive."""

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
            super().__init__(sock, *arguments, **options)
            self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock, deadline))  # type: ignore[attr-defined]

    class Connection(kind):  # type: ignore[misc, valid-type]
        response_class = Response

    return Connection


class _Timed(io.RawIOBase):
    """Reads from a socket as long as there is time."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self.raw, self.sock, self.deadline = raw, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)
        return self.raw.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        self.raw.close()
        super().close()
