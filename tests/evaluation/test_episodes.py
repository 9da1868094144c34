"""Episodes: one per environment, the same for the same seed, measured as defined."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from mwl import make_env
from mwl.evaluation.episodes import Motion, run_episodes
from mwl.simulation.robot import CONTROL_DT


class Limp:
    """Commands mid-range on all joints, with a little noise of its own; falls within two seconds."""

    last: TensorDict | None = None

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.resets: list[torch.Tensor | None] = []

    def reset(self, done: torch.Tensor | None = None) -> None:
        self.resets.append(done)

    def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
        return (self.noise * torch.randn(len(observation), 19)).clamp(-1, 1)


def test_every_environment_gives_exactly_one_episode() -> None:
    agent = Limp()
    episodes = run_episodes(make_env("h1-walk", 4, seed=3), agent, seed=3)
    assert episodes.returns.shape == (4,)
    assert episodes.fell.all(), "a limp robot falls"
    assert (episodes.lengths < 200).all()
    # at most 1 per step, and an episode that ended must not collect the reward of the next one
    assert (episodes.returns <= episodes.lengths).all()
    assert agent.resets[0] is None
    assert all(done is not None and done.any() for done in agent.resets[1:])


def test_same_seed_same_numbers_and_other_seed_others() -> None:
    first, second = (run_episodes(make_env("h1-walk", 3, seed=5), Limp(0.2), seed=5) for _ in range(2))
    assert np.array_equal(first.returns, second.returns)
    assert np.array_equal(first.jerk, second.jerk)
    other = run_episodes(make_env("h1-walk", 3, seed=6), Limp(0.2), seed=6)
    assert not np.array_equal(first.returns, other.returns)


def test_an_episode_does_not_depend_on_its_neighbours() -> None:
    alone = run_episodes(make_env("h1-walk", 1, seed=8), Limp(), seed=8)
    together = run_episodes(make_env("h1-walk", 4, seed=8), Limp(), seed=8)
    assert alone.returns[0] == pytest.approx(together.returns[0], rel=1e-6)
    assert alone.lengths[0] == together.lengths[0]


def test_evaluation_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run_episodes(make_env("h1-stand", 1), Limp(0.3), seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_motion_measures_by_hand() -> None:
    motion = Motion(2)
    running = np.array([True, True])
    # joint velocity 0, 1, 4 rad/s: second difference 2, so jerk 2 / dt^2; power |torque x velocity| = 0, 3, 12 W
    for step, velocity in enumerate((0.0, 1.0, 4.0)):
        action = np.full((2, 19), 0.1 * step)
        speeds, torque = np.zeros((2, 19)), np.zeros((2, 19))
        speeds[0], torque[0, 0] = velocity, 3.0
        motion.add(action, speeds, torque, running)
    means = motion.means()
    assert means["action_rate"] == pytest.approx([0.1, 0.1])
    assert means["jerk"] == pytest.approx([2 / CONTROL_DT**2, 0.0])
    assert means["energy"] == pytest.approx([(0 + 3 + 12) / 3, 0.0])


def test_motion_ignores_what_comes_after_an_episode() -> None:
    motion = Motion(1)
    for step in range(6):
        running = np.array([step < 3])
        value = 1.0 if step < 3 else 100.0
        motion.add(np.full((1, 19), value), np.full((1, 19), value), np.ones((1, 19)), running)
    assert motion.means()["energy"] == pytest.approx([19.0])
    assert motion.means()["action_rate"] == pytest.approx([0.0])
