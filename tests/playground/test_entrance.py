"""Who is let in to the playground."""

import asyncio
import contextlib
import socket

import pytest

from mwl.core.errors import BadInput
from mwl.core.terminal import redacted
from mwl.playground.entrance import TOKEN, Entrance, listen, make_token

SECRET = "a-secret-of-19-signs"
ELSEWHERE = "203.0.113.7"  # of no machine (RFC 5737)


def head(path: str = "/", **headers: str) -> str:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"Host": "localhost:80", **headers}.items()]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""])


@pytest.fixture
def entrance() -> Entrance:
    with listen("127.0.0.1", 0) as bound:
        return Entrance(bound, 0, None)


@pytest.fixture
def guarded(entrance: Entrance) -> Entrance:
    entrance.token = SECRET
    return entrance


def refused(answer: bytes | None) -> bool:
    return answer is not None and answer.startswith(b"HTTP/1.1 403 ")


def test_without_a_token_visitors_from_elsewhere_are_refused(entrance: Entrance) -> None:
    assert entrance.answer(head(), "127.0.0.1") is None
    assert entrance.answer(head(Host="[::1]:80"), "::1") is None
    assert refused(entrance.answer(head(), ELSEWHERE))
    assert refused(entrance.answer(head("/?token="), ELSEWHERE))
    assert refused(entrance.answer(head(f"/?token={SECRET}"), ELSEWHERE))


def test_a_page_of_somebody_else_is_refused(entrance: Entrance) -> None:
    assert refused(entrance.answer(head(Origin="http://evil.example"), "127.0.0.1"))
    assert refused(entrance.answer(head(Host="evil.example", Origin="http://evil.example"), "127.0.0.1")), "rebound"
    assert entrance.answer(head(Origin="http://localhost:80"), "127.0.0.1") is None


def test_a_token_is_asked_of_everybody_and_kept_in_a_cookie(guarded: Entrance) -> None:
    assert refused(guarded.answer(head(), "127.0.0.1"))
    for wrong in ("", SECRET[:-1], SECRET + "x", "%FF", "é"):
        assert refused(guarded.answer(head(f"/?token={wrong}"), ELSEWHERE))
    answer = guarded.answer(head(f"/?token={SECRET}"), ELSEWHERE)
    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 303 ")
    assert b"Location: /\r\n" in answer, "the secret does not stay in the address"
    cookie = answer.decode().split("Set-Cookie: ")[1].split(";")[0]
    assert guarded.answer(head(Cookie=f"other=1; {cookie}"), ELSEWHERE) is None
    assert refused(guarded.answer(head(Cookie=cookie[:-1]), ELSEWHERE))
    assert refused(guarded.answer(head(Cookie='"\x00=;;='), ELSEWHERE))
    assert refused(guarded.answer(head(Cookie=cookie, Origin="http://evil.example"), ELSEWHERE))


def test_nothing_and_no_http_is_refused(guarded: Entrance) -> None:
    for nonsense in ("", "\r\n\r\n", "GET", "GET http://[ HTTP/1.1\r\n\r\n"):
        assert refused(guarded.answer(nonsense, ELSEWHERE))


def test_the_secret_comes_from_the_environment_or_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    assert make_token() != make_token()
    assert len(make_token()) > 20
    monkeypatch.setenv(TOKEN, SECRET)
    assert make_token() == SECRET
    assert SECRET not in redacted(f"a message with {SECRET}")
    for bad in ("short", "has blanks in it", "ends in a line\n", "ümlaut-ümlaut"):
        monkeypatch.setenv(TOKEN, bad)
        with pytest.raises(BadInput) as caught:
            make_token()
        assert bad not in str(caught.value)


def test_ports_that_are_taken_or_none_are_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(BadInput, match=f"--port {taken}"):
            listen("127.0.0.1", taken)
    for port in (-1, 65536, 99999):
        with pytest.raises(BadInput, match="--port"):
            listen("127.0.0.1", port)
    with pytest.raises(BadInput, match="--host"):
        listen("no such host", 0)
    with listen("127.0.0.1", None) as bound:
        assert bound.getsockname()[1] >= 8080


@pytest.mark.parametrize("upgrade", [False, True])
def test_no_request_rides_on_another_visitors_connection(upgrade: bool) -> None:
    heard: list[bytes] = []

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:  # a page that would go on talking, whoever asks
                heard.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")
                if b"Connection: close" in heard[-1] or upgrade:
                    break
        await asyncio.sleep(0.1)
        writer.close()

    async def visit() -> bytes:
        inner = await asyncio.start_server(page, "127.0.0.1", 0)
        entrance = Entrance(listen("127.0.0.1", 0), inner.sockets[0].getsockname()[1], SECRET)
        async with inner, await entrance.open():
            reader, writer = await asyncio.open_connection("127.0.0.1", entrance.port)
            more = {"Connection": "Upgrade", "Upgrade": "websocket"} if upgrade else {}
            writer.write(head("/first", Cookie=f"{entrance._cookie}={SECRET}", **more).encode())
            writer.write(head("/stranger").encode())  # without the secret
            answer = await reader.read()
            writer.close()
            return answer

    answer = asyncio.run(visit())
    assert [request.split(b" ")[1] for request in heard] == [b"/first"]
    assert b"Connection: close" in answer, "who shares connections is told not to share this one"
    assert b"keep-alive" not in answer
    assert answer.endswith(b"hi")


def test_who_is_let_in_reaches_the_page_and_back() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"seen " + request.split(b" ")[1])
        writer.close()

    async def visit(port: int, path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(path).encode())
        answer = await reader.read()
        writer.close()
        return answer

    async def both() -> tuple[bytes, bytes]:
        inner = await asyncio.start_server(page, "127.0.0.1", 0)
        entrance = Entrance(listen("127.0.0.1", 0), inner.sockets[0].getsockname()[1], None)
        async with inner, await entrance.open():
            first = await visit(entrance.port, "/that")
            entrance.token = SECRET
            return first, await visit(entrance.port, "/that")

    let_in, turned_away = asyncio.run(both())
    assert let_in == b"seen /that"
    assert turned_away.startswith(b"HTTP/1.1 403 ")
