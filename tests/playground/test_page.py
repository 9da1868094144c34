"""The page: what it says, and that it works without a browser."""

import socket
from collections.abc import Iterator

import pytest

pytest.importorskip("viser", reason="the playground needs the extra `viewer`")
pytest.importorskip("mjviser", reason="the playground needs the extra `viewer`")

import viser

from mwl.core.errors import BadInput
from mwl.playground.page import Page, bars, said, serve
from mwl.playground.session import Session, Status, StepShown


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    yield Page(Session("h1-walk"), server)
    server.stop()


def test_it_shows_the_robot_and_takes_words(page: Page) -> None:
    page.tell("walk forward")
    page.run(seconds=1.0)
    status = page.session.status()
    assert status.seconds > 0
    assert "walk forward" in page.said.content
    assert "walk" in page.weights.content
    assert page.history.options[1] == "walk forward"
    page.tell("  ")
    assert page.history.options[1] == "walk forward", "nothing was said"


def test_time_stands_while_paused_but_for_single_steps(page: Page) -> None:
    page.paused.value = True
    before = page.session.status().seconds
    page.run(seconds=0.1)
    assert page.session.status().seconds == before
    page.step_once()
    page.run(seconds=0.2)
    assert page.session.status().seconds == pytest.approx(before + 0.02)
    page.paused.value = False


def test_another_world_is_drawn(page: Page) -> None:
    page.enter("h1-reach")
    page.run(seconds=0.2)
    assert page.session.status().task == "h1-reach"
    assert page.scene.mj_model.nmocap == 1, "the target"


def test_what_was_typed_is_shown_as_text() -> None:
    status = Status("h1-walk", 0.0, (0, 0), 0, 0, "walk <b>*fast*</b>", (StepShown("a_b", "walk", "at work"),), "done")
    shown = said(status)
    assert "<b>" not in shown
    assert r"\<b\>\*fast\*" in shown
    assert r"a\_b (walk): at work" in shown


def test_weights_are_bars_the_heaviest_first() -> None:
    assert [line.split("`")[2].split()[0] for line in bars({"a": 0.2, "b": 0.8}).split("\n\n")] == ["b", "a"]


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(BadInput, match="--host"):
        serve(None, "192.0.2.1", 8080)  # type: ignore[arg-type]  # of no machine (RFC 5737)
