"""Following an instruction: who acts when, hand-over without a past, and what is filmed and told."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mwl.errors import BadInput
from mwl.pipeline import follow as room
from mwl.pipeline.config import FollowStage
from mwl.pipeline.follow import InstructedAgent, Part, assign, follow


class Constant:
    """Commands one value on every joint, and counts its resets."""

    last = None

    def __init__(self, value: float) -> None:
        self.value, self.resets = value, 0

    def reset(self, done: torch.Tensor | None = None) -> None:
        self.resets += 1

    def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
        return torch.full((len(observation), 19), self.value)


def parts() -> list[Part]:
    return [
        Part("stand", "stand", {"stand": 0.9, "walk": 0.1}, Constant(0.1)),
        Part("walk forward", "walk", {"stand": 0.2, "walk": 0.8}, Constant(0.2)),
    ]


def test_clauses_take_turns_and_the_last_one_stays() -> None:
    agent = InstructedAgent(parts(), steps_per_clause=3)
    agent.reset()
    observation = torch.zeros(1, 51)
    acted = [round(float(agent.act(observation, step)[0, 0]), 1) for step in range(8)]
    assert acted == [0.1] * 3 + [0.2] * 5
    assert [part.agent.resets for part in agent.parts] == [1, 1], "each starts once, without a past"  # type: ignore[attr-defined]
    agent.reset()
    assert float(agent.act(observation)[0, 0]) == pytest.approx(0.1), "a new episode begins with the first clause"


def test_episode_is_filmed_and_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "assign", lambda stage: parts())
    stage = FollowStage("stand, then walk forward", "embedded", {}, task="h1-stand", steps_per_clause=10)
    summary = follow(stage, tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").stat().st_size > 1000
    assert summary["steps"] <= 20
    assert 0 <= summary["return"] <= summary["steps"], "a step's reward is at most 1"
    assert [part["skill"] for part in summary["parts"]] == ["stand", "walk"]


class Clause:
    def __init__(self, text: str, **weights: float) -> None:
        self.text, self.weights = text, weights


class Head:
    """Understands one instruction."""

    @classmethod
    def load(cls, path: str) -> "Head":
        return cls()

    def plan(self, text: str) -> list[Clause]:
        return [Clause("stand", stand=0.9, walk=0.1), Clause("walk", stand=0.3, walk=0.7), Clause("stop", stand=1.0)]


def test_every_clause_goes_to_the_agent_of_its_heaviest_skill(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def resolve(address: str) -> Any:
        loaded.append(address)
        return type("Named", (), {"agent": Constant(0.0)})()

    monkeypatch.setattr("mwl.semantics.SemanticHead", Head)
    monkeypatch.setattr(room, "resolve", resolve)
    found = assign(FollowStage("...", "embedded", {"stand": "a", "walk": "b"}))
    assert [part.skill for part in found] == ["stand", "walk", "stand"]
    assert found[0].agent is found[2].agent
    assert loaded == ["a", "b"], "an agent is loaded once"
    with pytest.raises(BadInput, match="'walk'"):
        assign(FollowStage("...", "embedded", {"stand": "a"}))
