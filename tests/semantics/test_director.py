"""An instruction through an episode: a look decides, a changed scene is planned anew, unless nobody can do it."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from mwl.core.errors import NoSkillFits
from mwl.semantics import Clause, Director, DirectorConfig
from mwl.simulation import get_task

LAYOUT = get_task("h1-walk").layout
NAMES = ("stand", "walk", "open_door")
SCENES = {"open": ("walk", 0), "door": ("open_door", 1), "chair": ("", 2)}


def _clause(skill: str, **more: Any) -> Clause:
    return Clause(skill, {name: float(name == skill) for name in NAMES}, **more)


class Head:
    """Sees the scene that is named; "go on" is what the scene calls for."""

    def look(self, frame: str) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(SCENES[frame][1]), 3).float()

    def plan(self, text: str, frame: str = "open", before: Sequence[Clause] = ()) -> list[Clause]:
        if text != "go on":
            return [_clause(word) for word in text.split(", ") if word != "go on"] + self.plan("go on", frame)
        skill, _ = SCENES[frame]
        if not skill:
            raise NoSkillFits("nothing is for that")
        return [_clause(skill, seen="go on")]


def _run(scenes: Sequence[str], text: str = "go on", skills: Sequence[str] = NAMES) -> tuple[Director, list[str]]:
    """Follow `text` through scenes, looked at every second step; the skill of every step."""
    now = {"step": 0}
    director = Director(
        Head(),  # type: ignore[arg-type]
        text,
        lambda: scenes[min(now["step"], len(scenes) - 1)],
        config=DirectorConfig(look_every=2),
        skills=skills,
    )
    chosen = []
    observation = torch.zeros(LAYOUT.size)
    observation[2], observation[3] = 0.98, 1.0  # upright
    for step in range(len(scenes)):
        now["step"] = step
        chosen.append(NAMES[int(director.update(observation, LAYOUT, step).argmax())])
    return director, chosen


def test_a_changed_scene_is_planned_anew_and_said_so() -> None:
    director, chosen = _run(["open"] * 3 + ["door"] * 4)
    assert chosen == ["walk"] * 4 + ["open_door"] * 3, "the next look after the change is at step 4"
    assert [(d.step, d.before, d.after) for d in director.decisions] == [(4, 0, 0)]
    assert director.decisions[0].reason.startswith("the scene changed (distance 1.00): planned anew")


def test_a_scene_that_stays_changes_nothing() -> None:
    director, chosen = _run(["door"] * 7)
    assert set(chosen) == {"open_door"}
    assert not director.decisions


def test_steps_that_the_words_decided_stay_as_they_are() -> None:
    director, chosen = _run(["open", "open", "door", "door", "door"], "stand, go on")
    assert set(chosen) == {"stand"}
    assert [max(clause.weights, key=clause.weights.__getitem__) for clause in director.plan] == ["stand", "open_door"]


@pytest.mark.parametrize(
    ("scene", "skills", "reason"),
    [("door", ("stand", "walk"), "nobody can open_door"), ("chair", NAMES, "no skill fits")],
)
def test_what_cannot_be_done_leaves_the_plan(scene: str, skills: Sequence[str], reason: str) -> None:
    director, chosen = _run(["open"] * 2 + [scene] * 5, skills=skills)
    assert set(chosen) == {"walk"}
    assert [reason in decision.reason for decision in director.decisions] == [True], "said once, not at every look"
