"""Following an instruction: who acts when, what ends a step, what is filmed and told."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mwl.core.errors import BadInput
from mwl.core.manifest import Manifest
from mwl.evaluation.agents import NamedAgent
from mwl.instructions import follow as room
from mwl.instructions.acting import InstructedAgent
from mwl.instructions.follow import assign, follow
from mwl.pipeline.config import FollowStage
from mwl.semantics import Card, Clause, Director, SequencerConfig
from mwl.simulation import get_task

LAYOUT = get_task("h1-walk").layout


class Constant:
    """Commands one value on every joint, and counts its resets."""

    last = None

    def __init__(self, value: float) -> None:
        self.value, self.resets = value, 0

    def reset(self, done: torch.Tensor | None = None) -> None:
        self.resets += 1

    def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
        return torch.full((len(observation), 19), self.value)


class Head:
    """Understands a list of skills as a plan of them, and `a+b` as either."""

    notice = ""
    commanded = ()

    def __init__(self) -> None:
        self.cards = [Card("stand", "stand still"), Card("walk", "walk")]

    @classmethod
    def load(cls, path: str, encoder: str | None = None, pretrained: str | None = None) -> "Head":
        return cls()

    def set_cards(self, cards: list[Card], commanded: Sequence[str] = ()) -> None:
        self.cards = cards

    def look(self, frame: Any) -> torch.Tensor:
        return torch.ones(1)

    def is_deictic(self, text: str) -> bool:
        return False

    def plan(self, text: str, frame: Any = None, before: Sequence[Clause] = ()) -> list[Clause]:
        names = [card.name for card in self.cards]
        steps = [step.split("+") for step in text.split(", ")]
        return [Clause(" ".join(s), {n: (n in s) / (1 + s.index(n)) if n in s else 0.0 for n in names}) for s in steps]


def instructed(text: str, agents: dict[str, Constant], timeout: int = 3) -> InstructedAgent:
    config = SequencerConfig(timeout=timeout, recover="")
    return InstructedAgent(Director(Head(), text, lambda: None, sequencer=config), agents, LAYOUT)  # type: ignore[arg-type]


def test_steps_take_turns_and_the_last_one_stays() -> None:
    agents = {"stand": Constant(0.1), "walk": Constant(0.2)}
    agent = instructed("stand, walk", agents)
    agent.reset()
    observation = torch.zeros(1, LAYOUT.size)
    acted = [round(float(agent.act(observation, step)[0, 0]), 1) for step in range(10)]
    assert acted == [0.1] * 3 + [0.2] * 7
    assert [one.resets for one in agents.values()] == [1, 1], "each starts once, without a past"
    assert [d.reason for d in agent.director.decisions] == ["time is up", "time is up"]
    agent.reset()
    assert float(agent.act(observation)[0, 0]) == pytest.approx(0.1), "a new episode begins with the first step"


def test_in_doubt_the_heavier_skill_acts_alone() -> None:
    agent = instructed("walk+stand", {"stand": Constant(0.1), "walk": Constant(0.3)})
    assert float(agent.act(torch.zeros(1, LAYOUT.size))[0, 0]) == pytest.approx(0.3), "the mean of both would fall"


def test_an_agent_over_skills_tells_nothing_of_its_actions_and_is_told_its_rewards() -> None:
    class Silent:
        """As who decides between skills: it keeps the rewards, and has no `last`."""

        def __init__(self) -> None:
            self.rewards: list[float] = []

        def reset(self, done: torch.Tensor | None = None) -> None:
            pass

        def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
            return torch.zeros(len(observation), 19)

        def remember(self, reward: torch.Tensor) -> None:
            self.rewards += reward.tolist()

    silent = Silent()
    agent = instructed("stand, walk", {"stand": silent, "walk": Constant(0.2)})  # type: ignore[dict-item]
    for step in range(5):
        agent.act(torch.zeros(1, LAYOUT.size), step)
        agent.remember(torch.tensor([float(step)]))
    assert silent.rewards == [0.0, 1.0, 2.0], "those of its own three steps"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A head and agents that need no files; the addresses that were loaded."""
    loaded: list[str] = []

    def resolve(address: str) -> Any:
        loaded.append(address)
        return SimpleNamespace(agent=Constant(0.0), manifest=Manifest(), expert_names=[], address=address)

    monkeypatch.setattr(room, "SemanticHead", Head)
    monkeypatch.setattr(room, "resolve", resolve)
    return loaded


def test_episode_is_filmed_and_every_decision_told(tmp_path: Path, shown: list[str]) -> None:
    agents = {"stand": "a", "walk": "b"}
    stage = FollowStage("stand, walk", "embedded", agents, task="h1-stand", steps_per_clause=8)
    summary = follow(stage, tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").stat().st_size > 1000
    assert summary["steps"] <= 20
    assert 0 <= summary["return"] <= summary["steps"], "a step's reward is at most 1"
    assert [step["skill"] for step in summary["plan"]] == ["stand", "walk"]
    first = summary["decisions"][0]
    assert (first["after"], first["reason"]) == (1, "time is up")
    assert summary["finished"] or summary["fell"]
    assert shown == ["a", "b"], "an agent is loaded once"


def test_bars_of_a_film_are_of_the_skills_in_use(
    tmp_path: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven skills are known; the plan has two, which come last by name, and one goes between them."""

    class Many(Head):
        def __init__(self) -> None:
            self.cards = [Card(name, name) for name in ("a", "b", "c", "d", "slow_down", "run", "stand")]

    bars: list[dict[str, float]] = []

    def annotate(picture: Any, lines: Any, weights: dict[str, float]) -> Any:
        bars.append(dict(weights))
        return picture

    monkeypatch.setattr(room, "SemanticHead", Many)
    monkeypatch.setattr("mwl.evaluation.video.annotate", annotate)
    agents = dict.fromkeys(("run", "stand", "slow_down"), "a")
    follow(FollowStage("run, stand", "embedded", agents, task="h1-stand", steps_per_clause=8), tmp_path / "film.mp4")
    assert {tuple(bar) for bar in bars} == {("run", "slow_down", "stand")}, "no bar comes or goes"
    assert bars[0] == {"run": 1.0, "slow_down": 0.0, "stand": 0.0}


class Guided(Constant):
    """Has experts of its own, and keeps what it was told to weigh them by."""

    told: dict[str, float] | None = None

    def set_weights(self, weights: dict[str, float]) -> None:
        self.told = weights


def test_a_guided_agent_of_several_skills_is_told_which() -> None:
    stand, walk, single = Guided(0.1), Guided(0.1), Guided(0.1)
    both = ["stand", "walk"]
    assign(
        {
            "stand": NamedAgent(stand, "guided", "runs/both", expert_names=both),
            "walk": NamedAgent(walk, "guided", "runs/both", expert_names=both),
            "reach": NamedAgent(single, "guided", "runs/one", expert_names=["approach"]),
        }
    )
    assert (stand.told, walk.told, single.told) == ({"stand": 1.0}, {"walk": 1.0}, None)


def test_a_skill_without_agent_is_named_before_anything_starts(tmp_path: Path, shown: list[str]) -> None:
    with pytest.raises(BadInput, match="'walk'"):
        follow(FollowStage("stand, walk", "embedded", {"stand": "a"}), tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())


def test_an_unknown_planner_and_a_chat_without_endpoint_are_refused(
    tmp_path: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MWL_CHAT_URL", raising=False)
    for planner, named in (("oracle", "oracle"), ("chat", "MWL_CHAT_URL")):
        stage = FollowStage("stand", "embedded", {"stand": "a"}, planner=planner)
        with pytest.raises(BadInput, match=named):
            follow(stage, tmp_path / "film.mp4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "metres", "degrees"),
    [
        ("walk two metres, turn left, walk three metres, then stop", (2.0, 0.0, 3.0, 0.0), (0.0, 90.0, 0.0, 0.0)),
        (  # 23 s, longer than an episode of the task
            "walk three metres, turn left, walk three metres, turn left, walk three metres, then stop",
            None,
            (0.0, 90.0, 0.0, 90.0, 0.0, 0.0),
        ),
        ("go backwards slowly for 2.5 seconds", (0.4,), (0.0,)),  # half of 0.4 m/s, and it has to get up to that
        ("touch the target with your right hand", (0.0,), None),
        ("open the door", None, None),
    ],
)
def test_what_was_typed_is_done(text: str, metres: tuple[float, ...] | None, degrees: tuple[float, ...] | None) -> None:
    summary = follow(FollowStage(text), None)
    assert summary["achieved"], [step["reason"] for step in summary["plan"]]
    asked = [step["measured"] for step in summary["plan"] if not step["inserted"]]
    for found, wanted in zip(asked, metres or (), strict=False):  # 0: a turn takes small steps, a halt some way
        assert found["metres"] == pytest.approx(wanted, abs=0.3 if wanted else 0.8)
    if degrees:
        assert [found["degrees_left"] for found in asked] == pytest.approx(degrees, abs=10.0)
