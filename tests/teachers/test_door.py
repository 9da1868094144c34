"""The door teacher: where it measures its hands, what it is paid for, what it remembers, and that training goes on."""

import dataclasses
import math

import pytest
import torch

from mwl import make_env
from mwl.core import keys
from mwl.core.errors import ConfigError
from mwl.rollouts.reset_states import LEVELS
from mwl.simulation import Simulation, build_model, get_task
from mwl.teachers.door.controller import ACTION_SIZE, DoorActionScale, DoorController
from mwl.teachers.door.env import DoorConfig, DoorEnv, progress
from mwl.teachers.door.geometry import DOOR_X, DoorGeometry, grip_point, to_leaf
from mwl.teachers.door.rewards import DoorRewardConfig, DoorStates, door_reward
from mwl.teachers.door.teacher import DoorTeacherConfig, HandlePull, train_door_teacher
from mwl.teachers.teacher import FAST_FRAME_SKIP, FAST_TIMESTEP, TrackingPolicy
from mwl.teachers.train import read_teacher_config, train


@pytest.fixture(scope="module")
def walker(data_folder):
    return TrackingPolicy.load(data_folder / "teachers/walk")


@pytest.fixture
def door_env(walker):
    simulation = Simulation(build_model(get_task("h1-door"), "arms", FAST_TIMESTEP), 8, FAST_FRAME_SKIP, num_threads=1)
    return DoorEnv(simulation, walker, DoorConfig(episode_steps=5), seed=0)


def test_the_leaf_carries_its_frame_along():
    handle = torch.tensor([[DOOR_X - 0.141, 0.3, 1.2]])
    torch.testing.assert_close(to_leaf(handle, torch.zeros(1)), torch.tensor([[-0.141, 0.3, 1.2]]))
    # a quarter turn about the hinge at (0.75, -0.5) carries the handle, 0.091 m before it and 0.8 m beside it, there
    opened = torch.tensor([[-0.05, -0.591, 1.2]])
    torch.testing.assert_close(to_leaf(opened, torch.tensor([math.pi / 2])), torch.tensor([[-0.141, 0.3, 1.2]]))


def test_the_grip_stays_on_the_side_that_turns_the_hatch():
    # above the level bar, whose grip is 0.15 m from the axis at (0.4, 1.2); on the hinge's side of the hanging bar
    above, beside = grip_point(torch.tensor([0.0, math.pi / 2]))
    torch.testing.assert_close(above, torch.tensor([-0.105, 0.25, 1.255]))
    torch.testing.assert_close(beside, torch.tensor([-0.105, 0.345, 1.05]))


def test_hands_are_where_the_task_measures_them():
    env = make_env("h1-door", num_envs=3, seed=0)
    env.reset()
    qpos, qvel = env.state
    qpos[:, 26], qpos[:, 7 + 12] = torch.tensor([0.0, 0.5, 1.0]), 0.4
    env.set_state(qpos.numpy(), qvel.numpy())
    at_door = DoorGeometry(env.model).measure(qpos.float())
    for index, name in enumerate(("left_hand_position", "right_hand_position")):
        measured = torch.from_numpy(env.measurement[name]).float()
        torch.testing.assert_close(at_door.hands[:, index], to_leaf(measured, qpos[:, 26].float()), atol=1e-5, rtol=0)


def states(**values: float) -> DoorStates:
    plain = {field.name: torch.zeros(1) for field in dataclasses.fields(DoorStates)}
    plain |= {name: torch.tensor([value]) for name, value in values.items()}
    return DoorStates(**plain)


def test_standing_far_ahead_pays_only_once_the_leaf_is_open():
    config = DoorRewardConfig()
    assert door_reward(states(root_x=0.6), config) == door_reward(states(root_x=0.2), config)
    assert door_reward(states(root_x=0.6, hinge=0.9), config) > door_reward(states(root_x=0.2, hinge=0.9), config)


def test_a_hatch_kept_turned_pays_only_while_the_leaf_is_held_open():
    config = DoorRewardConfig(hatch_held=1.5, held=(0.8, 1.0), beyond=False)
    for hinge, share in ((0.8, 0.0), (0.9, 0.5), (1.1, 1.0)):  # of the leaf's angles that count as held
        released, turned, further = (float(door_reward(states(hinge=hinge, hatch=h), config)) for h in (0.0, 0.75, 2.0))
        assert turned - released == pytest.approx(1.5 * share, abs=1e-5)
        assert further == pytest.approx(turned, abs=1e-5)


def test_every_stage_pays_more_than_the_one_before():
    config = DoorRewardConfig()
    stages = [
        states(grip_distance=0.9, edge_distance=1.0),
        states(grip_distance=0.05, edge_distance=1.0),
        states(grip_distance=0.05, edge_distance=1.0, hatch=2.0),
        states(grip_distance=0.05, edge_distance=1.0, hatch=2.0, hinge=0.3),
        states(grip_distance=0.9, edge_distance=1.0, hinge=1.0),
        states(grip_distance=0.9, edge_distance=1.0, hinge=1.0, root_x=1.2),
    ]
    rewards = [float(door_reward(stage, config)) for stage in stages]
    assert rewards == sorted(rewards)
    assert len(set(rewards)) == len(rewards)


def test_progress_is_the_hatch_while_the_leaf_is_shut_and_the_hinge_later():
    hinge, hatch = torch.tensor([0.0, 0.0, 0.04, 0.06, 0.6, 3.0]), torch.tensor([0.0, 1.1, 2.4, 0.0, 0.0, 0.0])
    levels = (progress(hinge, hatch) * LEVELS).long()
    # hatch by 0.5 rad: 0, 2, and 3 at most; from 0.05 rad on the hinge by 0.07 rad: 4, 4 + 7, and the last
    assert levels.tolist() == [0, 2, 3, 4, 11, 19]


def test_controller_recalls_what_it_remembered(walker):
    model = build_model(get_task("h1-door"), "arms", FAST_TIMESTEP)
    controller = DoorController(model, walker, DoorActionScale(), 2)
    controller.restart(torch.ones(2, dtype=torch.bool))
    qpos = torch.tensor(get_task_pose()).repeat(2, 1)
    for _ in range(3):
        controller.joint_targets(torch.ones(2, ACTION_SIZE), qpos, torch.zeros(2, 27))
    memory = controller.memory()
    controller.restart(torch.ones(2, dtype=torch.bool))
    assert not torch.equal(controller.memory(), memory)
    controller.recall(torch.tensor([True, False]), memory)
    assert torch.equal(controller.memory()[0], memory[0])
    assert not torch.equal(controller.memory()[1], memory[1])


def get_task_pose() -> list[float]:
    from mwl.robot.h1 import QPOS0

    return [*QPOS0.tolist(), 0.0, 0.0]


def test_episodes_end_and_begin_anew(door_env):
    observation = door_env.reset()
    ends = torch.zeros(8)
    for _ in range(12):
        reached, reward, terminated, truncated = door_env.step(torch.zeros(8, ACTION_SIZE))
        assert reached.shape == observation.shape
        assert torch.isfinite(reached).all()
        assert torch.isfinite(reward).all()
        ends += terminated | truncated
    assert (ends >= 2).all()  # episodes of at most five steps


def test_training_goes_on_and_demonstrates(data_folder, tmp_path):
    config = tmp_path / "door.yaml"
    settings = "ppo: {num_envs: 4, rollout_steps: 4, epochs: 1}"
    for iterations in (1, 2):
        config.write_text(
            f"door_teacher:\n  walker: {data_folder / 'teachers/walk'}\n  iterations: {iterations}\n  {settings}\n"
        )
        folder = train(str(config), str(tmp_path / "teacher"))
    env = make_env("h1-door", num_envs=2, seed=0)
    teacher = HandlePull.load(folder)
    observation = env.reset()[keys.OBSERVATION]
    teacher.reset(observation)
    action = teacher.act(observation)
    assert action.shape == (2, 19)
    described = teacher.describe()
    walked = TrackingPolicy.load(data_folder / "teachers/walk").describe()["env_steps"]
    assert described["training_env_steps"] == 32 + walked  # two iterations of 16 steps, the second after a resume


def test_a_teacher_begins_with_another_and_its_walker(data_folder, tmp_path):
    earlier = HandlePull.load(data_folder / "teachers/handle_pull")
    config = DoorTeacherConfig(start_from=str(data_folder / "teachers/handle_pull"), walker="nowhere", iterations=0)
    untouched = HandlePull.load(train_door_teacher(config, tmp_path / "teacher"))
    torch.testing.assert_close(untouched.agent.state_dict(), earlier.agent.state_dict())
    torch.testing.assert_close(untouched.walker.agent.state_dict(), earlier.walker.agent.state_dict())
    assert untouched.env_steps == earlier.env_steps


def test_a_misspelt_entry_is_one_clear_error(tmp_path):
    (tmp_path / "bad.yaml").write_text("door_teacher: {door: {kick_stdd: 0.1}}\n")
    with pytest.raises(ConfigError, match="kick_stdd"):
        read_teacher_config(str(tmp_path / "bad.yaml"))
