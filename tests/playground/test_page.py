"""The page: what it says, and that it works without a browser."""

import socket
from collections.abc import Iterator

import pytest

pytest.importorskip("viser", reason="the playground needs the extra `viewer`")
pytest.importorskip("mjviser", reason="the playground needs the extra `viewer`")

import numpy as np
import viser

from mwl.core.errors import BadInput
from mwl.playground.page import Page
from mwl.playground.panels import expected, said, weighed
from mwl.playground.serve import MOST_ROBOTS, serve
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
    assert page.history.options == ("choose one", "walk forward"), "nothing was said"
    assert page.history.value == "choose one"


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


def test_a_push_goes_where_the_button_says_seen_from_the_robot(page: Page) -> None:
    page.enter("h1-walk")
    page.session.reset()
    page.strength.value = 0.4
    before = page.session.env.state[1][0, :2].numpy()
    page.push(90.0)  # it faces +x within the noise of its start, so its left is +y
    assert page.session.env.state[1][0, :2].numpy() - before == pytest.approx([0.0, 0.4], abs=0.02)
    assert "pushed by 0.4 m/s" in page.session.status().event


def test_a_click_moves_the_target_or_pushes(page: Page) -> None:
    page.enter("h1-reach")
    page.follows.value = False
    page.run(seconds=0.2)
    height = float(page.session.goal[2])  # type: ignore[index]

    class Click:
        ray_origin, ray_direction = (1.0, 0.5, height + 1.0), (0.0, 0.0, -1.0)  # straight down

    page._clicked(Click())
    assert page.session.goal == pytest.approx([1.0, 0.5, height])
    page.aim.value = "pushes the robot there"
    before = page.session.env.state[1][0, :2].numpy()
    page._clicked(Click())
    assert page.session.goal == pytest.approx([1.0, 0.5, height])
    change = page.session.env.state[1][0, :2].numpy() - before
    towards = np.array([1.0, 0.5]) - page.session.status().place
    assert change == pytest.approx(page.strength.value * towards / np.linalg.norm(towards), abs=1e-6)
    page.follows.value = True


def test_the_ghost_is_drawn_when_asked_for(page: Page) -> None:
    assert not page._ghost
    page.ghosted.value = True
    page.run(seconds=0.2)
    assert len(page._ghost) == 20, "as many links as the robot has"
    page.ghosted.value = False
    assert not any(handle.visible for handle in page._ghost.values())


def test_the_chart_begins_anew_with_the_robot(page: Page) -> None:
    page.session.reset()
    for _ in range(3):
        page._say(page.session.step())
    assert len(page.chart.data) == 1 + len(page.session.status().weights)
    seconds = page.chart.data[0]
    assert (np.diff(seconds) > 0).all()
    for _ in range(2):  # also where it was shown no further than it is now
        page.session.reset()
        page._say(page.session.step())
        assert page.chart.data[0].tolist() == [0.02]


def test_what_was_typed_is_shown_as_text() -> None:
    step = StepShown("a_b", "<i>walk", "at work", "1 of 2 m")
    status = Status("h1-walk", 0.0, (0, 0), 0, 0, "walk <b>*fast*</b>", (step,), "done", refused="<script>")
    shown = said(status)
    assert "<b>*fast*" not in shown
    assert "<script>" not in shown
    assert "walk &lt;b&gt;*fast*&lt;/b&gt;" in shown
    assert "a_b (&lt;i&gt;walk): at work, 1 of 2 m" in shown


def test_what_it_refused_is_said_with_the_nearest_skills() -> None:
    status = Status("h1-walk", 0.0, (0, 0), 0, 0, refused="no skill fits 'fly'", nearest=("run", "walk"))
    assert "refused: no skill fits &#x27;fly&#x27;. Nearest: run, walk<" in said(status)
    status = Status("h1-walk", 0.0, (0, 0), 0, 0, refused="the nearest are run, walk", nearest=("run", "walk"))
    assert "Nearest" not in said(status), "they are named already"


def test_an_agent_that_acts_by_itself_says_so() -> None:
    assert "acts by itself: walk" in said(Status("h1-walk", 0.0, (0, 0), 0, 0), alone="walk")


def test_weights_of_words_gate_and_both_stand_beside_each_other() -> None:
    status = Status(
        "h1-walk", 0.0, (0, 0), 0, 0, weights={"a": 0.2, "<b>": 0.8}, gate={"a": 1.0}, fused={"a": 0.6, "<b>": 0.4}
    )
    shown = weighed(status)
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert [part.split("<")[0] for part in shown.split('color:#868e96">')[1:]] == ["words", "gate", "acts"]
    assert [part.split("<")[0] for part in shown.split('text-align:right">')[1:]] == [
        *("0.20", "1.00", "0.60"),
        *("0.80", "0.00", "0.40"),
    ]


def test_expected_returns_stand_in_order() -> None:
    shown = expected({"worse": 1.0, "better": 3.0})
    assert shown.index("better") < shown.index("worse")
    assert "No world model" in expected({})


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(BadInput, match="--host"):
        serve(None, "192.0.2.1", 8080)  # type: ignore[arg-type]  # of no machine (RFC 5737)


def test_robots_are_bounded() -> None:
    with pytest.raises(BadInput, match="--robots"):
        serve(None, "127.0.0.1", 0, robots=MOST_ROBOTS + 1)  # type: ignore[arg-type]
