"""New words in the middle of an episode, by physics: who was walking does at once what was said last, and stays up."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.instructions.acting import InstructedAgent
from mwl.instructions.config import FollowStage
from mwl.instructions.follow import begin, cast, follow

ALL = {name: f"expert:{name}" for name in ("stand", "walk", "run", "slow_down", "speed_up")}


def _told(*words: tuple[float, str]) -> tuple[np.ndarray, InstructedAgent]:
    """Speeds and heights `[T, 2]` of an episode in which words are told at times in s; the last is its end."""
    (_, first), *more, (last, _) = words
    rows = []
    with torch.no_grad():
        env, state, agent = begin(cast(FollowStage(first, agents=ALL, seed=3)))
        for step in range(round(50 * last)):
            for at, text in more:
                if step == round(50 * at):
                    agent.director.tell(text)
            action = agent.act(state[keys.OBSERVATION], step)
            state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
            qpos, qvel = env.state
            rows.append([float(qvel[0, :2].norm()), float(qpos[0, 2])])
    return np.array(rows), agent


def _speed(rows: np.ndarray, begins: float, ends: float) -> float:
    return float(rows[round(50 * begins) : round(50 * ends), 0].mean())


def test_who_walks_and_is_told_to_stop_stands() -> None:
    rows, agent = _told((0, "walk forward"), (2, "stop"), (5, ""))
    assert _speed(rows, 1.5, 2) > 0.8, "1.1 m/s are usual"
    assert _speed(rows, 4, 5) < 0.2, "sways"
    assert rows[:, 1].min() > 0.8
    assert agent.director.sequencer.states()[0] == ("replaced", "told 'stop'")


def test_faster_is_faster_than_now_and_a_refusal_changes_nothing() -> None:
    rows, agent = _told((0, "walk slowly"), (2, "faster"), (5, ""))
    assert _speed(rows, 4, 5) == pytest.approx(1.33 * 0.55, abs=0.15), "a third more than half of 1.1 m/s"
    before = list(agent.director.plan)
    for words in ("bake a cake", "walk at 3 m/s", "come back with your left hand"):
        with pytest.raises(BadInput):
            agent.director.tell(words)
    assert agent.director.plan == before
    assert ["refused" in decision.reason for decision in agent.director.decisions[-3:]] == [True] * 3


@pytest.mark.parametrize("words", [["walk two metres", "come back"]])
def test_the_way_back_is_measured_from_where_the_episode_began(words: Sequence[str]) -> None:
    rows, agent = _told((0, words[0]), (3, words[1]), (15, ""))
    assert agent.director.finished
    assert float(agent.director.sequencer.odometer.from_home) < 0.35
    assert _speed(rows, 14, 15) < 0.2, "who is done comes to rest"


@pytest.mark.parametrize(("words", "metres"), [("take three steps backwards", -0.5), ("take four steps slowly", 1.0)])
def test_footsteps_are_counted_though_the_feet_are_hardly_lifted(words: str, metres: float) -> None:
    """A step is 0.2 m of one foot or more, 0.7 at most; it goes on until the last has stood."""
    (step,) = follow(FollowStage(words), None)["plan"]
    assert step["state"] == "done"
    assert step["measured"]["ahead_m"] == pytest.approx(metres, abs=0.4)


def test_of_several_robots_each_follows_the_plan_as_it_would_alone() -> None:
    """Robot 0 begins alike in both; networks round otherwise in larger batches, and contacts make 1e-6 of it 1e-4."""
    words = "stand for half a second, then walk for half a second, then wave your left hand"
    ways = []
    with torch.no_grad():
        for count in (1, 3):
            env, state, agent = begin(cast(FollowStage(words, seed=3)), count)
            if count > 1:  # who is later does not hold up the first
                agent.director.sequencer.longer = torch.tensor([0, 10, 20])
            for step in range(60):
                action = agent.act(state[keys.OBSERVATION], step)
                state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
            ways.append(env.state[0][0])
            assert agent.skills == ["walk"] * count
    assert agent.director.sequencer.place == [2, 1, 1]
    assert torch.allclose(ways[0], ways[1], atol=1e-3)
