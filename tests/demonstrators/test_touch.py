"""Walking up to a target and touching it: whose turn it is, and that the hand gets there."""

from dataclasses import replace

import pytest
import torch

from mwl.core import keys
from mwl.datasets.demonstrations import Demonstrations
from mwl.datasets.recording import RecordingConfig
from mwl.demonstrators.approach import GOAL
from mwl.demonstrators.registry import DemonstrationConfig, record
from mwl.demonstrators.touch import APPROACH, REACH, SKILLS, Touch
from mwl.robot.h1 import FRAME_SKIP
from mwl.simulation import make_env
from mwl.teachers.teacher import TrackingPolicy

NEAR, LOW, AHEAD = (0.35, 0.25, 1.1), (0.4, 0.2, 0.4), (1.2, 0.3, 0.5)  # m, world frame; the robot looks along x


@pytest.fixture
def walker(data_folder) -> TrackingPolicy:
    return TrackingPolicy.load(data_folder / "teachers/walk")


def test_it_walks_where_it_must_and_then_reaches(walker):
    env = make_env("h1-reach", num_envs=3, num_threads=1, seed=0)
    env.reset()
    qpos, qvel = env.state
    state = env.set_state(qpos, qvel, goal=torch.tensor([NEAR, LOW, AHEAD]))
    touch = Touch(env.model, FRAME_SKIP, walker)
    touch.reset(state[keys.OBSERVATION])
    assert touch.skill.tolist() == [REACH, REACH, APPROACH]
    for _ in range(450):
        action = touch.act(state[keys.OBSERVATION])
        touch.executed(action)
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
    observation = state[keys.OBSERVATION]
    assert touch.skill.tolist() == [REACH, REACH, REACH]
    assert ((observation[:, 51:54] - observation[:, GOAL]).norm(dim=-1) < 0.03).all()


def test_a_robot_that_is_pushed_walks_again(walker):
    env = make_env("h1-reach", num_envs=2, num_threads=1, seed=0)
    env.reset()
    qpos, qvel = env.state
    state = env.set_state(qpos, qvel, goal=torch.tensor([NEAR, NEAR]))
    touch = Touch(env.model, FRAME_SKIP, walker)
    touch.reset(state[keys.OBSERVATION])
    observation = state[keys.OBSERVATION].clone()
    observation[1, 26] = 0.5  # m/s forward
    touch.act(observation)
    assert touch.skill.tolist() == [REACH, APPROACH]


def test_a_robot_that_somebody_else_walked_has_to_arrive_anew(walker):
    env = make_env("h1-reach", num_envs=2, num_threads=1, seed=0)
    env.reset()
    qpos, qvel = env.state
    observation = env.set_state(qpos, qvel, goal=torch.tensor([NEAR, NEAR]))[keys.OBSERVATION]
    touch = Touch(env.model, FRAME_SKIP, walker)
    touch.reset(observation)
    touch.acted(torch.tensor([REACH, APPROACH]))
    assert touch.skill.tolist() == [REACH, APPROACH]
    observation[:, 26] = 0.15  # m/s: slow enough to go on reaching, too fast to stop for it
    touch.act(observation)
    assert touch.skill.tolist() == [REACH, APPROACH]


def test_a_recording_tells_the_skills_apart(data_folder, tmp_path):
    config = DemonstrationConfig(
        kind="touch",
        task="h1-reach",
        teacher=str(data_folder / "teachers/walk"),
        recording=RecordingConfig(episodes=12, steps=60, noise_levels=(0.0,), drop_before_fall=0),
    )
    both = record(config)
    assert both.manifest["skills"] == list(SKILLS)
    again = Demonstrations.load(both.save(tmp_path / "touch.npz", half=False))
    assert torch.equal(again.skill, both.skill)
    parts = [again.of(name) for name in SKILLS]
    assert sum(len(part) for part in parts) == len(again)
    assert (parts[APPROACH].skill == APPROACH).all()
    assert len(parts[APPROACH]) > 0
    assert again.of("somersault") is again  # it does not tell such a skill apart
    single = record(replace(config, kind="reach", task="h1-stand", teacher=None))
    assert single.skill is None
    assert single.of("reach") is single
