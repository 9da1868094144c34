"""A teacher that learns from a task's own reward: what it is made of, that it goes on, and the one that ships."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mwl import make_env
from mwl.core import keys
from mwl.core.errors import ConfigError, SpecMismatch, UnknownAgent
from mwl.robot.h1 import JOINT_NAMES
from mwl.rollouts import rollout
from mwl.simulation import build_model, get_task
from mwl.teachers.acting.agent import TaughtAgent, ground_of
from mwl.teachers.ground_heights import SEEN
from mwl.teachers.ppo import ActorCritic, PPOConfig
from mwl.teachers.task import TaskPolicy, TaskTeacherConfig, TaskTrainingConfig, train_task_teacher
from mwl.teachers.teacher import widened
from mwl.teachers.train import read_teacher_config

ROOT = Path(__file__).parents[2]
SMALL = PPOConfig(num_envs=4, rollout_steps=4, hidden=(8, 8))


def config(iterations: int) -> TaskTeacherConfig:
    read = read_teacher_config(ROOT / "conf/teachers/walk.yaml#crawl")
    assert isinstance(read, TaskTeacherConfig)
    return replace(read, iterations=iterations, ppo=SMALL)


def test_it_learns_goes_on_and_acts_again(tmp_path: Path) -> None:
    told: list[dict[str, float]] = []

    def stop_at_20(metrics: dict[str, float]) -> None:
        told.append(metrics)
        if len(told) == 21:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_task_teacher(config(22), tmp_path / "crawl", stop_at_20)
    assert not (tmp_path / "crawl").exists()
    first = list(told)
    told.clear()
    train_task_teacher(config(22), tmp_path / "crawl", told.append)
    assert [metrics["iteration"] for metrics in told] == [21, 22]  # the checkpoint is of every twentieth
    assert told[-1]["env_steps"] == 22 * 4 * 4
    assert all(0 <= metrics["task_reward"] <= 1 for metrics in first + told)
    observation = make_env("h1-crawl", num_envs=3, seed=1).reset()[keys.OBSERVATION]
    agent, policy = TaughtAgent.load(tmp_path / "crawl"), TaskPolicy.load(tmp_path / "crawl")
    policy.reset(observation)
    torch.testing.assert_close(agent.act(observation), policy.act(observation).clamp(-1, 1))
    assert policy.describe()["env_steps"] == 22 * 4 * 4
    assert build_model(get_task("h1-crawl")).opt.timestep == 0.002, "its longer steps are those of all who simulate"


def test_the_pose_is_the_same_on_both_sides() -> None:
    joints = TaskTrainingConfig(pose={"knee": 1.0, "hip_roll": 0.2}).joints()
    of = dict(zip(JOINT_NAMES, joints.tolist(), strict=True))
    assert of["left_knee"] == of["right_knee"] == 1.0
    assert of["left_hip_roll"] == -of["right_hip_roll"] == pytest.approx(0.2)
    assert joints.count_nonzero() == 4
    with pytest.raises(ConfigError, match="no joints are called 'tail'"):
        TaskTrainingConfig(pose={"tail": 1.0})


@pytest.mark.parametrize("task", ["h1-reach", "h1-balance_simple", "h1-push"])
def test_a_task_of_which_it_would_not_see_all_is_refused(task: str) -> None:
    with pytest.raises(ConfigError, match=f"{task} has an object, a goal or starts of its own"):
        TaskTeacherConfig(task=task)


def test_agent_crawl_crawls() -> None:
    env = make_env("h1-crawl", num_envs=3, seed=2)
    for _ in rollout(env, TaughtAgent.load(ROOT / "data/agents/crawl"), 200):
        assert len(env.measurement.qpos) == 3
    seen = env.measurement.qpos
    # At 1 m/s or more it would be 4 m on; getting down takes part of that. It lies flat below 0.42 m and stands at 0.9.
    assert (seen[:, 0] > 2.0).all()
    assert (abs(seen[:, 1]) < 0.5).all()
    assert ((seen[:, 2] > 0.42) & (seen[:, 2] < 0.8)).all()


def test_what_can_not_act_is_refused() -> None:
    with pytest.raises(UnknownAgent, match="without a task of its own"):
        TaughtAgent.load(ROOT / "data/teachers/walk")
    with pytest.raises(SpecMismatch, match="h1-crawl shows 51"):
        TaughtAgent.load(ROOT / "data/agents/crawl").act(torch.zeros(2, 57))


def test_hurdles_are_told_from_2_m_on_until_they_are_behind() -> None:
    ground = ground_of("h1-hurdle")  # 0.375 m high and 6 cm thick at x = 7, 14, ...; a wall 2 m high behind the start
    x = torch.tensor([0.0, 4.9, 5.5, 7.0, 7.5, 7.9, 12.5])
    way, height = ground.ahead(torch.zeros(7, dtype=torch.int64), x).T
    torch.testing.assert_close(way, torch.tensor([SEEN, SEEN, 1.5, 0.0, -0.5, SEEN, 1.5]), atol=0.03, rtol=0.0)
    torch.testing.assert_close(height, torch.tensor([0.0, 0.0, 0.375, 0.375, 0.375, 0.0, 0.375]))


def test_a_teacher_that_sees_more_begins_as_the_one_before() -> None:
    before, after = ActorCritic(5, 3, SMALL), ActorCritic(7, 3, SMALL)
    before.learn_scale(torch.randn(50, 5))
    after.load_state_dict(widened(before.state_dict(), after))
    observation = torch.randn(6, 7)
    torch.testing.assert_close(after.act(observation), before.act(observation[:, :5]))


def test_agent_hurdle_steps_over_the_first_hurdle() -> None:
    env = make_env("h1-hurdle", num_envs=4, seed=2)
    passed = torch.zeros(4, dtype=torch.bool)
    for _ in rollout(env, TaughtAgent.load(ROOT / "data/agents/hurdle"), 230):
        passed |= torch.from_numpy((env.measurement.qpos[:, 0] > 7.8) & (env.measurement.qpos[:, 2] > 0.6))
    assert passed.sum() >= 2  # all 20 of the recorded episodes pass five; nobody else passes one
