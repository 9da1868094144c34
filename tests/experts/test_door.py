"""The skill at the door: what it reads of robot and door, and that the shipped teacher and expert do it."""

import pytest
import torch

from mwl import make_env
from mwl.core import keys
from mwl.experts import features
from mwl.experts.library import Expert
from mwl.experts.measure import Alone
from mwl.experts.measure_door import measure_opening
from mwl.experts.spec import ExpertSpec
from mwl.simulation import get_task
from mwl.teachers.door.geometry import grip_point
from mwl.teachers.door.teacher import HandlePull

BEFORE_SHUT_DOOR = (-0.8, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def spec():
    return ExpertSpec(name="handle_pull", task="h1-door", command="door", default_command=BEFORE_SHUT_DOOR)


def test_the_door_is_read_where_a_task_shows_one(spec):
    env = make_env("h1-door", num_envs=3, seed=0)
    observation = env.reset()[keys.OBSERVATION]
    command = features.door_state(observation, env.task.layout)
    qpos, qvel = (part.float() for part in env.state)
    torch.testing.assert_close(command[:, 0], qpos[:, 0] - 0.8)
    torch.testing.assert_close(command[:, 1:4], torch.cat([qpos[:, 1:2], qpos[:, 26:]], dim=-1))
    torch.testing.assert_close(command[:, 4:], qvel[:, 25:])
    told = spec.featurise(observation, env.task.layout, command)
    assert told.shape == (3, spec.input_size)
    torch.testing.assert_close(spec.featurise(observation, env.task.layout), told)
    # the last three features lead the right hand, the second of the two before them, to the grip
    right_hand, way = told[:, -6:-3], told[:, -3:]
    torch.testing.assert_close(right_hand + way, grip_point(qpos[:, 27]))


def test_without_a_door_the_declared_one_is_taken(spec):
    layout = get_task("h1-walk").layout
    command = spec.resolve_command(torch.zeros(2, layout.size), layout)
    torch.testing.assert_close(command, torch.tensor(BEFORE_SHUT_DOOR).expand(2, 6))


def test_the_measurement_counts_what_was_opened():
    env = make_env("h1-door", num_envs=2, seed=0)

    class Opened:
        """The door task, cut to one step from a state in which one leaf stands open with its hatch turned."""

        task, num_envs, step = type("Task", (), {"layout": env.task.layout, "max_episode_steps": 1})(), 2, env.step

        def reset(self):
            env.reset()
            qpos, qvel = env.state
            qpos[0, 0], qpos[:, 26:] = -0.6, torch.tensor([[0.6, 1.5], [0.0, 0.0]])
            return env.set_state(qpos.numpy(), qvel.numpy())

    class Still:
        last = None

        def reset(self, done=None): ...

        def act(self, observation, step=None):
            return torch.zeros(2, 19)

    result = measure_opening(Still(), Opened())
    assert result["pulled_rate"] == result["past_half_rad"] == 0.5
    assert result["past_one_rad"] == result["passed_through"] == 0.0
    assert result["hinge_mean_rad"] == pytest.approx(0.3, abs=0.01)  # of 0.6 and 0


def test_shipped_teacher_turns_the_hatch(data_folder):
    env = make_env("h1-door", num_envs=4, seed=3)
    teacher, state = HandlePull.load(data_folder / "teachers/handle_pull"), env.reset()
    teacher.reset(state[keys.OBSERVATION])
    turned = torch.zeros(4)
    for _ in range(200):
        action = teacher.act(state[keys.OBSERVATION])
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
        assert not state[keys.TERMINATED].any()
        turned = turned.maximum(state[keys.OBSERVATION][:, 27])
    assert (turned > 1.0).all()


def test_shipped_expert_pulls_the_door_past_its_ratchet(data_folder):
    expert = Expert.load(data_folder / "experts/handle_pull")
    env = make_env("h1-door", num_envs=6, seed=3)
    result = measure_opening(Alone(expert), env)
    # nine in ten episodes do: four of six or more with a probability of 0.98, however a machine rounds
    assert result["pulled_rate"] >= 4 / 6 - 1e-6
