"""The door of the playground: it lets visitors through to a page that itself listens on this machine alone."""

import asyncio
import errno
import os
import re
import secrets
import socket
from contextlib import closing, suppress
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from mwl.core.errors import BadInput
from mwl.core.files import shown

TOKEN = "MWL_PLAYGROUND_TOKEN"
FIRST_PORT, _PORTS = 8080, 100
_HEAD, _PATIENCE = 16_384, 10.0  # bytes and s that a visitor has for saying what it wants
_UPGRADES = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_REFUSED = "This playground is not open to you: open the whole address that `mwl playground --token` printed."


def make_token() -> str:
    """The secret in the environment, or one that is made up.

    Raises:
        BadInput: the one in the environment could not stand in an address, or is soon guessed.
    """
    given = os.environ.get(TOKEN, "")
    if given and not re.fullmatch(r"[A-Za-z0-9_.~-]{8,200}", given):
        raise BadInput(f"{TOKEN}: it must have 8 to 200 letters, digits, or '-', '_', '.', '~'")
    return given or secrets.token_urlsafe(16)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket to listen at.

    Args:
        host: address, or a name of this machine.
        port: 0 takes any that is free; None the first free one from 8080 on.

    Raises:
        BadInput: nobody can listen there.
    """
    if port is not None and not 0 <= port < 2**16:
        raise BadInput(f"--port {port}: it must be from 0 to {2**16 - 1}; 0 takes any that is free")
    for attempt in range(FIRST_PORT, FIRST_PORT + _PORTS) if port is None else (port,):
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, attempt, type=socket.SOCK_STREAM)[0]
            bound = socket.socket(family, kind)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen()  # who comes early waits
        except UnicodeError as error:
            raise BadInput(f"--host {shown(host)}: {error}") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port is None:
                continue
            what = f"--port {attempt}" if error.errno in (errno.EADDRINUSE, errno.EACCES) else f"--host {shown(host)}"
            raise BadInput(f"{what}: {(error.strerror or str(error)).lower()}; name another") from error
        return bound
    raise BadInput(f"no port from {FIRST_PORT} to {FIRST_PORT + _PORTS - 1} is free; name one with --port")


def is_local(address: str) -> bool:
    """Whether an address, or the name `localhost`, means this machine alone."""
    with suppress(ValueError):
        return ip_address(address.strip("[]").partition("%")[0]).is_loopback
    return address == "localhost"


class Entrance:
    """Passes on what comes from visitors who may come in.

    With a token it is asked of everybody: in the address once, in a cookie from then on. Without, visitors from this
    machine may come in, by its own names: a page of somebody else that a browser here shows may not. A connection
    brings one request, or becomes a web socket: a proxy could send through it what several visitors ask.

    Args:
        bound: socket to listen at.
        inner: port of the page on this machine.
        token: secret that lets in; None lets in who comes from this machine.
    """

    def __init__(self, bound: socket.socket, inner: int, token: str | None) -> None:
        self.bound, self.inner, self.token = bound, inner, token
        self.port = int(bound.getsockname()[1])
        self._cookie = f"mwl-playground-{self.port}"

    async def open(self) -> asyncio.Server:
        """Let visitors come."""
        return await asyncio.start_server(self._visit, sock=self.bound, limit=_HEAD)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
            peer = writer.get_extra_info("peername")[0]
            answer = self.answer(head.decode("latin-1"), peer)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
                return
            inside, outside = await asyncio.open_connection("127.0.0.1", self.inner)
            with closing(outside):
                outside.write(head if _UPGRADES.search(head) else _last(head))
                reply = await _head_of(inside)
                becomes_socket = reply.startswith(b"HTTP/1.1 101 ")
                writer.write(reply if becomes_socket else _last(reply))
                ways = [asyncio.create_task(_pass(inside, writer))]
                if becomes_socket:  # else nothing that follows the request is passed on: nobody has checked it
                    ways.append(asyncio.create_task(_pass(reader, outside)))
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    def answer(self, head: str, peer: str) -> bytes | None:
        """What a request gets instead of the page; None lets it in.

        Args:
            head: first line and headers.
            peer: address that it comes from.
        """
        try:
            return self._answer(head, peer)
        except (ValueError, CookieError):  # no address, or no cookie
            return _response("403 Forbidden", _REFUSED)

    def _answer(self, head: str, peer: str) -> bytes | None:
        first, *lines = head.split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        target = urlsplit([*first.split(" "), ""][1])
        if not self._of_this_page(headers):
            return _response("403 Forbidden", _REFUSED)
        if self.token is None:
            local = is_local(peer) and is_local(_name(headers.get("host", "")))
            return None if local else _response("403 Forbidden", _REFUSED)
        given = parse_qs(target.query).get("token", [""])[0]
        if self._is_token(given):
            keep = f"Set-Cookie: {self._cookie}={self.token}; HttpOnly; SameSite=Lax; Path=/\r\nLocation: /\r\n"
            return _response("303 See Other", "", keep)
        cookies = SimpleCookie(headers.get("cookie", ""))
        kept = cookies[self._cookie].value if self._cookie in cookies else ""
        return None if self._is_token(kept) else _response("403 Forbidden", _REFUSED)

    def _is_token(self, given: str) -> bool:
        """In a time that does not tell how much of it is right."""
        return secrets.compare_digest(given.encode(), (self.token or "").encode()) and bool(self.token)

    @staticmethod
    def _of_this_page(headers: dict[str, str]) -> bool:
        """Whether a connection that a browser's page asks for is asked for by this page."""
        return "origin" not in headers or urlsplit(headers["origin"]).netloc == headers.get("host")


def _name(host: str) -> str:
    """The name in a `Host` header, without its port."""
    return (urlsplit(f"//{host}").hostname or "") if host else ""


def _response(status: str, text: str, more: str = "") -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Cache-Control: no-store\r\nConnection: close\r\n{more}\r\n".encode() + body


async def _head_of(source: asyncio.StreamReader) -> bytes:
    """First line and headers of an answer; whatever was said, if it is none."""
    try:
        return await source.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return error.partial


def _last(head: bytes) -> bytes:
    """The head of a request or an answer, saying that its connection ends with it."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    return b"\r\n".join([first, *kept, b"Connection: close", b"", b""]) if head.endswith(b"\r\n\r\n") else head


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
        await sink.drain()
