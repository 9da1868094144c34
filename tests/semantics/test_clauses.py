"""Splitting instructions into steps, in order of time."""

import pytest

from mwl.semantics.language.clauses import coordinate, split


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("walk forward", ["walk forward"]),
        ("stand, then walk forward", ["stand", "walk forward"]),
        ("Stand still. Then walk.", ["Stand still", "walk"]),
        ("first stand and then walk and finally reach for the ball", ["stand", "walk", "reach for the ball"]),
        ("after you have walked to the wall, stand still", ["you have walked to the wall", "stand still"]),
        ("before you reach for the ball, stand still", ["stand still", "you reach for the ball"]),
        ("walk -> turn left & stop", ["walk", "turn left and stop"]),
        ("walk to the wall after standing for a while", ["standing for a while", "walk to the wall"]),
        ("stand still before walking off", ["stand still", "walking off"]),
        ("walk; stand; walk", ["walk", "stand", "walk"]),
        ("walk for 2.5 seconds. Then stop", ["walk for 2.5 seconds", "stop"]),
        ("1. stand 2. walk 3. run", ["stand", "walk", "run"]),
        ("wait before the table", ["wait before the table"]),
    ],
)
def test_steps_come_in_order_of_time(instruction: str, expected: list[str]) -> None:
    assert split(instruction) == expected


def test_nothing_is_lost_from_a_text_without_joints() -> None:
    assert split("the heather on the hill") == ["the heather on the hill"]  # "the" and "heather" hold no "then"


def test_coordination_splits_at_and() -> None:
    assert coordinate("walk to the ball and touch it") == ["walk to the ball", "touch it"]


@pytest.mark.parametrize(
    "clause", ["walk two and a half metres", "wait a minute and ten seconds", "run a hundred and ten metres"]
)
def test_a_number_is_not_split(clause: str) -> None:
    assert coordinate(clause) == [clause]
