"""The gait clock that is read off the body: in time with the teacher's own, and alike for left and right."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mwl.motion.body_clock import BodyClock, BodyClockConfig, _mirrored, _state, learn_body_clock
from mwl.motion.teacher import TrackingPolicy
from mwl.motion.tracking import CommandConfig
from mwl.simulation import HumanoidEnv, make_env

CONFIG = BodyClockConfig(lead=0.0, episodes=24, steps=100, noise_levels=(0.0, 0.1), kick_std=0.0, updates=300)
COMMAND = torch.tensor([0.5, 0.0, 0.0])


@pytest.fixture(scope="module")
def env() -> HumanoidEnv:
    return make_env("h1-walk", num_envs=CONFIG.episodes, seed=0)


@pytest.fixture(scope="module")
def clock(env: HumanoidEnv, data_folder: Path) -> BodyClock:
    return learn_body_clock(TrackingPolicy.load(data_folder / "teachers/walk", COMMAND), env, CONFIG)


def walked(env: HumanoidEnv, walker: TrackingPolicy, steps: int) -> Tensor:
    """Observation `[N, 51]` after so many steps."""
    state = env.reset()
    walker.reset(state["observation"])
    for _ in range(steps):
        state = env.step(state.set("action", walker.act(state["observation"])))["next"]
    return state["observation"]


def late(phase: Tensor, reference: Tensor) -> Tensor:
    """How far phases are from a reference, in strides, on the circle."""
    return (torch.remainder(phase - reference + 0.5, 1.0) - 0.5).abs()


def test_it_goes_with_the_clock_of_the_teacher(env: HumanoidEnv, clock: BodyClock, data_folder: Path) -> None:
    walker = TrackingPolicy.load(data_folder / "teachers/walk", COMMAND)
    observation = walked(env, walker, 90)
    told = COMMAND.expand(len(observation), 3)
    read = clock.read(observation[:, :26], observation[:, 26:51], told)
    assert late(read, walker.phase).median() < 0.05  # by chance 0.25
    assert clock.env_steps == 24 * 100


def test_the_mirrored_robot_is_half_a_stride_on(env: HumanoidEnv, clock: BodyClock, data_folder: Path) -> None:
    observation = walked(env, TrackingPolicy.load(data_folder / "teachers/walk", COMMAND), 90)
    states = _state(observation[:, :26], observation[:, 26:51], COMMAND.expand(len(observation), 3))
    with torch.no_grad():
        here, there = clock(states), clock(_mirrored(states))
    angle = torch.atan2(here[:, 0], here[:, 1]) - torch.atan2(there[:, 0], there[:, 1])
    assert late(angle / (2 * torch.pi), torch.tensor(0.5)).median() < 0.05


def test_a_teacher_that_reads_its_clock_needs_no_memory_of_it(clock: BodyClock, data_folder: Path) -> None:
    options = {"commands": CommandConfig(preferred_speed=0.5, preferred_share=1.0), "body_clock": clock}
    env = make_env("h1-walk", num_envs=2, seed=0)
    walker, other = (TrackingPolicy.load(data_folder / "teachers/walk", **options) for _ in range(2))
    observation = walked(env, walker, 60)
    other.reset(observation)
    walker.act(observation)
    other.act(observation)
    # from clocks half a stride apart; a step of 0.02 strides differs by the ramp of the speed, which is remembered
    torch.testing.assert_close(walker.phase, other.phase, atol=0.005, rtol=0)


def test_the_clock_leads_on_the_spot_alone(clock: BodyClock) -> None:
    leading = BodyClock(BodyClockConfig(lead=0.02))
    leading.load_state_dict(clock.state_dict())
    qpos, qvel = torch.zeros(4, 26), torch.zeros(4, 25)
    qpos[:, 3] = 1.0
    command = torch.tensor([[0.0, 0.0, 0.3], [0.5, 0.0, 0.0], [1.2, 0.0, 0.0], [-0.5, 0.0, 0.0]])
    ahead = torch.remainder(leading.read(qpos, qvel, command) - clock.read(qpos, qvel, command) + 0.5, 1.0) - 0.5
    torch.testing.assert_close(ahead, torch.tensor([0.02, 0.01, 0.0, -0.01]), atol=1e-5, rtol=0)
