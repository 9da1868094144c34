"""`mwl playground`: bad input is refused in one line, and visitors get the robots that there are."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("viser", reason="the playground needs the extra `viewer`")
pytest.importorskip("mjviser", reason="the playground needs the extra `viewer`")

import msgspec
import viser
import zstandard
from websockets.sync.client import connect

from mwl.app.cli import main
from mwl.playground import serve
from mwl.playground.serve import Visitors, served
from mwl.playground.session import Session


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--host", "192.0.2.1"], "--host '192.0.2.1'"),  # of no machine (RFC 5737)
        (["--port", "99999"], "--port 99999"),
        (["--task", "h1-nowhere"], "no task"),
        (["--agent", "agent:nobody"], "no agent"),
        (["--agent", "agent:reach", "--task", "h1-maze"], "made for h1-reach"),
        (["--agent", "agent:reach", "--agents", "walk=expert:walk"], "--agent and --agents"),
        (["--agents", "walk"], "SKILL=AGENT"),
        (["--robots", "9"], "--robots 9"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_bad_input_is_refused_in_one_line(flags: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["playground", *(["--port", "0"] if "--port" not in flags else []), *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert why in printed.err


def test_a_port_in_use_is_refused_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mwl.playground.session.Session", None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert main(["playground", "--port", str(other.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


class FakePage:
    """Lives until it is told to end."""

    def __init__(self, session: Any, viewer: Any) -> None:
        self.session, self.gone = session, threading.Event()
        viewer.page = self

    def welcome(self, client: Any) -> None:
        pass

    def run(self) -> None:
        assert self.gone.wait(30)


@pytest.fixture
def visitors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Visitors]:
    monkeypatch.setattr(serve, "Page", FakePage)
    there = Visitors(lambda: SimpleNamespace(reset=lambda: None), 2)  # type: ignore[arg-type, return-value]
    yield there
    for page in there._pages.values():
        page.gone.set()


def visitor(number: int) -> Any:
    said: list[str] = []
    gui = SimpleNamespace(add_markdown=said.append, reset=said.clear)
    return SimpleNamespace(client_id=number, gui=gui, said=said, page=None)


def test_each_visitor_gets_a_robot_while_there_are_some_and_the_next_one_waits(visitors: Visitors) -> None:
    first, second, third, fourth = map(visitor, range(4))
    for client in (first, second, third, fourth):
        visitors.come(client)
    assert first.page.session is not second.page.session
    assert third.page is fourth.page is None
    assert third.said == fourth.said == [serve.FULL]
    visitors.go(third)  # who waited has gone
    visitors.go(first)
    for _ in range(500):
        if fourth.page is not None:
            break
        threading.Event().wait(0.02)
    assert fourth.page.session is first.page.session, "the robot that became free"
    assert fourth.said == []
    assert third.page is None


def test_who_goes_before_the_page_is_there_leaves_the_robot_to_others(visitors: Visitors) -> None:
    hasty = visitor(0)
    visitors.go(hasty)
    visitors.come(hasty)
    visitors.close()
    assert len(visitors._free) == 2


class Browser:
    """A browser as far as the page's wire goes: it says where its camera is, and collects what it is told.

    Args:
        address: with the token.
    """

    def __init__(self, address: str) -> None:
        class Kept(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                return None

        with pytest.raises(urllib.error.HTTPError) as answer:  # a redirection, with a cookie
            urllib.request.build_opener(Kept).open(address)
        cookie = answer.value.headers["Set-Cookie"].split(";")[0]
        base = address.split("?")[0].removeprefix("http://")
        self.socket = connect(
            f"ws://{base}",
            subprotocols=[f"viser-v{viser.__version__}"],  # type: ignore[list-item]
            additional_headers={"Cookie": cookie},
            max_size=None,
        )
        at = {"wxyz": (1, 0, 0, 0), "position": (3, 3, 3), "look_at": (0, 0, 0), "up_direction": (0, 0, 1)}
        size = {"fov": 1.0, "near": 0.1, "far": 100.0, "image_height": 300, "image_width": 300}
        self.socket.send(msgspec.msgpack.encode({"type": "ViewerCameraMessage", **at, **size}))

    def until(self, said: str) -> None:
        """Read until the page has said something."""
        heard = b""
        while said.encode() not in heard:
            message = self.socket.recv(timeout=60)
            size = int.from_bytes(message[8:16], "little")
            heard = zstandard.ZstdDecompressor().decompress(message[16 : 16 + size])


def test_a_visitor_with_the_token_gets_a_robot_and_the_next_one_waits_for_it() -> None:
    with served(lambda: Session("h1-walk"), "127.0.0.1", 0, token=True, robots=1) as (address, _):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address.split("?")[0])
        first, second = Browser(address), Browser(address)
        first.until("Begin anew")
        second.until("All robots of this playground are taken")
        first.until("control steps per second")
        first.socket.close()
        second.until("Begin anew")
        second.socket.close()
