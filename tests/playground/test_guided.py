"""A guided agent in the playground: told by words, weighed by its gate, asked what it expects."""

import numpy as np
import pytest
import torch

from mwl.core.errors import SpecMismatch
from mwl.evaluation.agents import NamedAgent
from mwl.playground.guided import Imagination
from mwl.playground.session import Session, Status
from mwl.world_model.agent import WorldModelAgent


def live(session: Session, steps: int) -> Status:
    status = session.status()
    for _ in range(steps):
        status = session.step()
    return status


@pytest.fixture(scope="module")
def walker() -> Session:
    return Session(agent="agent:walk")


def test_it_acts_by_itself_until_it_is_told_and_says_what_it_weighs_and_expects(walker: Session) -> None:
    walker.reset()
    assert walker.status().task == "h1-walk"
    assert walker.alone, "of walking and slowing down it can't stand"
    status = live(walker, 260)
    assert status.place[0] > 1.0, "it walks at 1 m/s or more, from a start"
    assert set(status.weights) == set(status.gate) == set(status.fused) == {"walk", "slow_down"}
    assert sum(status.fused.values()) == pytest.approx(1)
    assert set(status.expected) == {"all together", "walk", "slow_down"}
    # Half a second ahead at some 1.1 m/s. The model's own error there is a few cm; 0.2 m is several times that.
    assert len(status.way) == 26
    ahead = live(walker, 35 - 260 % 25)  # the way was asked for at step 250
    assert np.linalg.norm(np.array(ahead.place) - status.way[0]) > 0.4
    assert np.hypot(*(status.way[-1] - status.way[0])) == pytest.approx(0.5, abs=0.25)


def test_words_weigh_its_own_skills_alone(walker: Session) -> None:
    walker.reset()
    live(walker, 20)
    assert walker.tell("walk one metre") == ""
    status = live(walker, 5)
    assert status.weights == pytest.approx({"walk": 1.0, "slow_down": 0.0}, abs=1e-3)
    assert status.plan[0].progress.endswith("of 1 m")
    assert "no agent was given (given: slow_down, walk)" in walker.tell("open the door")
    status = live(walker, 200)
    assert status.verdict == "done"
    assert [step.state for step in status.plan] == ["done"]


def test_it_goes_only_where_its_observation_is_shown() -> None:
    session = Session(agent="agent:door")
    assert session.tasks == ["h1-door"]
    with pytest.raises(SpecMismatch, match="made for h1-door"):
        session.enter("h1-walk")
    assert session.status().task == "h1-door"
    assert session.alone == "", "it has a skill to stand"
    with pytest.raises(SpecMismatch):
        Session("h1-walk", agent="agent:door")


def test_an_agent_without_skills_refuses_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Still:
        last = None

        def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
            return torch.zeros(len(observation), 19)

        def reset(self, done: torch.Tensor | None = None) -> None:
            pass

    monkeypatch.setattr("mwl.playground.session.resolve", lambda address: NamedAgent(Still(), "still", address))
    session = Session(agent="class:my.Still")
    assert "acts by itself" in session.tell("walk forward")
    status = live(session, 2)
    assert status.weights == status.gate == status.expected == {}
    assert status.instruction == ""


def test_the_way_is_read_off_from_what_was_seen(walker: Session) -> None:
    """Latents that say how fast it goes are read as such: a circle of what was seen goes on as a circle."""
    agent = walker._own.agent  # type: ignore[union-attr]
    assert isinstance(agent, WorldModelAgent)
    imagination, turned = Imagination(), 0.02

    def pose(step: int) -> torch.Tensor:  # 1 m/s around a circle, 1 rad/s
        yaw = turned * step
        qpos = torch.zeros(1, 26)
        qpos[0, 0], qpos[0, 1] = np.sin(yaw), 1 - np.cos(yaw)
        qpos[0, 3], qpos[0, 6] = np.cos(yaw / 2), np.sin(yaw / 2)
        return qpos

    walker.reset()
    live(walker, 1)
    observation = walker._state["observation"]
    assert len(imagination.expects(agent, observation, pose(0))[1]) == 0, "nothing was seen"
    for step in range(220):
        imagination.see(agent, observation, pose(step))
    _, way = imagination.expects(agent, observation, pose(220))
    # The first imagined step starts from the latent that was seen; it goes 0.02 m along the heading.
    yaw = turned * 220
    assert way[1] - way[0] == pytest.approx([0.02 * np.cos(yaw + 0.01), 0.02 * np.sin(yaw + 0.01)], abs=1e-3)
