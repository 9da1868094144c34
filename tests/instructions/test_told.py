"""What goes before a step so that its skill can begin, and observations seen in a mirror or from another heading."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from mwl.instructions.arranged import Arranged, heaviest, shipped_agents, task_of
from mwl.instructions.steering import RAMP, Steering
from mwl.instructions.told import Told, shipped_manifests
from mwl.instructions.views import mirrored, turned
from mwl.semantics import Clause
from mwl.semantics.language.parameters import Parameters
from mwl.semantics.plan.odometer import Odometer
from mwl.simulation import get_task, make_env

NAMES = ("stand", "walk", "run", "reach", "approach")


class Planner:
    """Makes a step of every word."""

    def plan(self, text: str, frame: Any = None, before: Sequence[Clause] = ()) -> list[Clause]:
        return [Clause(word, {name: float(name == word) for name in NAMES}) for word in text.split()]


def _arranged(text: str) -> list[tuple[str, bool, float | None]]:
    plan = Arranged(Planner(), NAMES, ["walk"]).plan(text)
    return [(heaviest(clause), clause.inserted, clause.parameters.speed) for clause in plan]


def test_a_walk_comes_to_rest_before_another_skill() -> None:
    asked = False, None
    assert _arranged("stand walk run") == [("stand", *asked), ("walk", *asked), ("run", *asked)]
    assert _arranged("walk stand walk") == [("walk", *asked), ("walk", False, 0.0), ("walk", *asked)]
    assert _arranged("walk approach") == [("walk", *asked), ("walk", True, 0.0), ("approach", *asked)]


def test_a_target_is_walked_up_to_first() -> None:
    assert _arranged("reach") == [("approach", True, None), ("reach", False, None)]
    assert [skill for skill, *_ in _arranged("approach reach")] == ["approach", "reach"]


def test_words_choose_agents_and_a_world() -> None:
    reach = Planner().plan("stand reach")
    assert set(shipped_agents(reach)) == {"stand", "walk", "reach", "approach"}
    assert {"run", "slow_down", "speed_up"} <= set(shipped_agents(Planner().plan("run")))
    assert task_of(reach, shipped_manifests()) == "h1-reach"
    assert task_of(Planner().plan("walk"), shipped_manifests()) == "h1-walk"


def test_a_mirror_and_a_turn_undo_themselves() -> None:
    env = make_env("h1-reach", 2, seed=3)
    observation, layout = env.reset()["observation"], env.task.layout
    left = layout.slices["left_hand"]
    twice = mirrored(mirrored(observation, layout), layout)
    rest = [i for i in range(layout.size) if not left.start <= i < left.stop]
    torch.testing.assert_close(twice[:, rest], observation[:, rest], atol=1e-5, rtol=0)
    torch.testing.assert_close(twice[:, left], observation[:, left], atol=0.02, rtol=0)  # m, by a later sensor
    angle = torch.tensor([0.7, -2.0])
    back = turned(turned(observation, layout, angle), layout, -angle)
    torch.testing.assert_close(back, observation, atol=1e-5, rtol=0)
    around = turned(observation, layout, torch.full((2,), math.pi))
    torch.testing.assert_close(around[:, :2], -observation[:, :2], atol=1e-5, rtol=0)


def test_steering_keeps_its_line_and_slows_down_before_its_end() -> None:
    layout = get_task("h1-walk").layout
    root = torch.zeros(1, layout.size)[:, :26]
    root[0, 3] = 1.0
    measured, told, steering = Odometer(root), Told(1.0, (1.0, 0.0), 0.6), Steering()
    first = steering.command(told, Parameters(distance=2.0), measured)
    torch.testing.assert_close(first, torch.tensor([[RAMP[0], 0.0, 0.0]]), msg="no jerk at the start")
    for _ in range(100):
        command = steering.command(told, Parameters(distance=2.0), measured)
    torch.testing.assert_close(command, torch.tensor([[1.0, 0.0, 0.0]]))
    root[0, 0], root[0, 1] = 1.9, 0.1  # 0.1 m before its end and 0.1 m to the left of its line
    measured.update(root)
    for _ in range(100):
        command = steering.command(told, Parameters(distance=2.0), measured)
    assert 0.25 < float(command[0, 0]) < 0.35
    assert float(command[0, 1]) < -0.05, "back to the line"
