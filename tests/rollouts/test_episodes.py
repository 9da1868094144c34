"""Episodes: one per environment, the same for the same seed, measured as defined."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from mwl import make_env
from mwl.core import keys
from mwl.robot.h1 import CONTROL_DT, QPOS0, ctrl_to_action
from mwl.rollouts import rollout, run_episodes
from mwl.rollouts.metrics import Motion, foot_skate, joint_jerk, sole_positions
from mwl.rollouts.pushes import Pushes


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


def test_motion_agrees_with_the_figures_of_clips() -> None:
    """An episode measured step by step has the jerk and the skating that a clip of its states has."""
    env = make_env("h1-walk", 2, seed=1)
    motion, states = Motion(2), []
    for step in rollout(env, Limp(0.3), 15):  # 0.3 s, in which nothing falls from 0.98 to 0.2 m: both go on
        qpos, qvel = (part.numpy() for part in env.state)
        motion.add(step.action.numpy(), qvel[:, 6:], np.ones((2, 19)), step.running, qpos)
        states.append((qpos, qvel))
    means = motion.means()
    for i in range(2):
        qpos, qvel = (np.stack([state[part][i] for state in states]) for part in (0, 1))
        assert means["jerk"][i] == pytest.approx(joint_jerk(qvel, 50.0))
        assert means["foot_skate"][i] == pytest.approx(foot_skate(sole_positions(qpos), 50.0))


def test_the_step_that_ends_an_episode_belongs_to_it() -> None:
    env = make_env("h1-walk", 2, seed=3)
    steps = list(rollout(env, Limp()))
    ends = np.stack([step.after[keys.TERMINATED].squeeze(-1).numpy() & step.running for step in steps])
    assert ends.sum(axis=0).tolist() == [1, 1]
    running = np.stack([step.running for step in steps])
    assert (running.sum(axis=0) == ends.argmax(axis=0) + 1).all()
    assert (steps[-1].after[keys.OBSERVATION][ends[-1], 2] < 0.2).all(), "what is reached is shown, not a new beginning"


def test_who_does_nothing_does_better_without_pushes() -> None:
    class Held(Limp):
        def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
            return torch.from_numpy(ctrl_to_action(QPOS0[7:])).expand(len(observation), -1)

    def pushed(seed: int) -> np.ndarray:
        return run_episodes(env, Held(), pushes=Pushes(std=1.0, interval=0.2, seed=seed)).lengths

    env = make_env("h1-walk", 8)
    calm = run_episodes(env, Held()).lengths
    env.set_seed(0)
    once = pushed(1)
    env.set_seed(0)
    again = pushed(1)
    assert (once == again).all()
    assert once.mean() < 0.8 * calm.mean()


def test_a_task_that_is_done_is_no_fall() -> None:
    """h1-push ends with a reward of 1000 where the box is at the goal."""
    env = make_env("h1-push", 2)
    begin = env.world.reset

    def with_one_box_at_its_goal(mask: np.ndarray) -> None:
        begin(mask)
        qpos, qvel = (part.numpy() for part in env.state)
        qpos[0, 26:29] = env.measurement.goal[0]
        env.simulation.reset(np.array([True, False]), qpos, qvel)

    env.world.reset = with_one_box_at_its_goal  # type: ignore[method-assign]
    episodes = run_episodes(env, Limp())
    assert episodes.lengths[0] == 1
    assert episodes.returns[0] > 900
    assert not episodes.fell.any()
    assert episodes.ended_well.tolist() == [True, False]
    assert episodes.succeeded(2000.0).tolist() == [True, False], "done is a success, whatever the bar"


def test_a_robot_on_the_floor_is_down_even_where_that_ends_nothing() -> None:
    episodes = run_episodes(make_env("h1-reach", 1), Limp())
    assert (episodes.lengths, episodes.fell, episodes.down) == ([1000], [False], [True])
