"""The robot of the playground: it lives on from one instruction to the next."""

import numpy as np
import pytest

from mwl.core.errors import BadInput, UnknownTask
from mwl.playground.session import Session, Status
from mwl.simulation import Shift


@pytest.fixture(scope="module")
def session() -> Session:
    return Session("h1-walk")


@pytest.fixture(autouse=True)
def _anew(session: Session) -> None:
    session.change(Shift())
    session.enter("h1-walk")


def live(session: Session, seconds: float) -> Status:
    status = session.status()
    for _ in range(round(50 * seconds)):
        status = session.step()
    return status


def test_it_stands_until_it_is_told_something(session: Session) -> None:
    status = live(session, 1)
    assert not status.fallen
    assert (status.instruction, status.plan, status.verdict) == ("", (), "")
    assert np.hypot(*status.place) < 0.1, "the reset moves the root by less, and standing does not walk"


def test_words_are_carried_out_and_the_verdict_stays(session: Session) -> None:
    assert session.tell("walk one metre, then stop") == ""
    status = live(session, 9)
    assert status.verdict == "done"
    assert [step.state for step in status.plan] == ["done", "done"]
    assert status.place[0] == pytest.approx(1.0, abs=0.35), "0.3 m is asked of a distance, and it starts within 0.05 m"
    assert not live(session, 1).fallen, "it stands afterwards"


def test_new_words_take_over_at_once_and_refused_ones_change_nothing(session: Session) -> None:
    session.tell("walk forward")
    assert live(session, 2).speed > 0.5
    before = session.status()
    assert "no skill fits" in session.tell("bake a cake")
    assert "characters" in session.tell("walk " * 1000)
    after = session.status()
    assert (after.instruction, after.plan) == (before.instruction, before.plan)
    assert after.refused
    session.tell("bake a cake")
    assert len(session.status().nearest) == 3
    assert session.tell("stop") == ""
    status = live(session, 4)
    assert status.speed < 0.3, "slower than a walk"
    assert not status.fallen
    assert status.refused == ""


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("crawl through the tunnel", "h1-crawl"),
        ("jump over the hurdles", "h1-hurdle"),
        ("walk through the maze", "h1-maze"),
        ("walk between the poles", "h1-pole"),
        ("balance on the board", "h1-balance_simple"),
        ("sit down", "h1-sit_hard"),
    ],
)
def test_what_it_has_no_agent_for_is_refused_with_the_command_that_does_it(
    session: Session, text: str, task: str
) -> None:
    does = f'`mwl play "{text}"`'
    assert session.tell(text).endswith(f"in h1-walk; {does} carries it out in {task}")
    assert session.status().refused
    if task in session.tasks:  # and in the scene that has what it needs
        session.enter(task)
        assert does in session.tell(text)
        assert not session.status().instruction


def test_a_push_moves_it_and_a_load_changes_the_body_where_it_is(session: Session) -> None:
    live(session, 0.5)
    before = session.env.state[1][0, :2].numpy()
    session.push(0.4, towards=90)
    assert session.env.state[1][0, :2].numpy() == pytest.approx([before[0], before[1] + 0.4])
    place = session.status().place
    session.change(Shift(payload=7.0))
    assert session.env.world.shifts == [Shift(payload=7.0)]  # type: ignore[attr-defined]
    assert session.status().place == pytest.approx(place)
    assert not live(session, 1).fallen


def test_a_fall_is_said_and_it_begins_anew(session: Session) -> None:
    session.tell("walk forward")
    session.push(4.0, towards=90)
    status = live(session, 2)
    assert status.fallen
    assert status.verdict == "not achieved: fell"
    assert not live(session, 4).fallen


def test_worlds_and_their_targets(session: Session) -> None:
    with pytest.raises(BadInput, match="no target"):
        session.place_goal(1, 1, 1)
    session.enter("h1-reach")
    session.place_goal(1.0, 0.5, 0.9)
    assert session.goal == pytest.approx([1.0, 0.5, 0.9])
    assert session.drawn().mocap_pos[0] == pytest.approx([1.0, 0.5, 0.9])
    session.place_goal(100.0, 0.5, 0.9)
    assert session.goal == pytest.approx([2.0, 0.5, 0.9]), "h1-reach draws its targets within 2 m"
    with pytest.raises(UnknownTask):
        session.enter("h1-nowhere")
    assert session.status().task == "h1-reach"
