"""The stepping demonstrator walks, catches itself, and keeps its robots apart; the pendulum behind it is one."""

import math

import numpy as np
import pytest
import torch

from mwl import make_env
from mwl.core import keys
from mwl.core.errors import ConfigError
from mwl.demonstrators.capture_steps import Stepping, SteppingConfig, swing_through, time_to
from mwl.demonstrators.registry import load_demonstration_config, record
from mwl.demonstrators.whole_body import WholeBody
from mwl.robot.h1 import QPOS0, ROBOT_NV


def play(robots: int, steps: int, push: tuple[float, float] | None = None) -> tuple[torch.Tensor, ...]:
    """Summed reward `[N]`, observations `[T, N, O]` and actions `[T, N, 19]`; a push in m/s comes midway."""
    env = make_env("h1-walk", num_envs=robots, seed=1)
    walker = Stepping(env.model)
    state, total, seen, done = env.reset(), torch.zeros(robots), [], []
    walker.reset(state[keys.OBSERVATION])
    for step in range(steps):
        if push is not None and step == steps // 2:
            qpos, qvel = env.state
            qvel[:, :2] += torch.tensor(push, dtype=qvel.dtype)
            state = env.set_state(qpos.numpy(), qvel.numpy(), env.simulation.warmstart)
        seen.append(state[keys.OBSERVATION])
        done.append(walker.act(state[keys.OBSERVATION]))
        state = env.step(state.set(keys.ACTION, done[-1]))[keys.NEXT]
        total += state[keys.REWARD].squeeze(-1)
        assert not state[keys.TERMINATED].any()
        state = state.exclude(keys.REWARD)
    return total, torch.stack(seen), torch.stack(done)


def test_it_walks():
    total, seen, actions = play(4, 300)
    # 0.93 a step once it walks; the start from rest costs 24: 0.93 * 300 - 24 = 255
    assert (total > 245).all()
    # 1.2 m/s at the end of a step, and a fifth less midway: about 1.02 m/s from the second second on
    distance = seen[-1, :, 0] - seen[100, :, 0]
    assert (distance / (199 * 0.02) > 0.9).all()
    assert (seen[-1, :, 1].abs() < 0.5).all()  # straight ahead: less than the width of a body aside in 5 m
    assert (seen[:, :, 2] > 0.9).all()  # the pelvis is to be at 0.94 m
    assert actions.abs().max() <= 1


@pytest.mark.slow
def test_it_walks_for_a_whole_episode():
    assert (play(4, 1000)[0] > 850).all()


@pytest.mark.parametrize("push", [(0.3, 0.0), (-0.3, 0.0), (0.0, 0.25), (0.0, -0.25)])
def test_it_catches_itself(push):
    # a quarter of its speed at once; a robot that does not step to where it falls lies after 1 s
    _, seen, _ = play(2, 300, push)
    assert (seen[-1, :, 2] > 0.9).all()
    assert (seen[-50:, :, 26].mean(dim=0) > 0.9).all()


def test_robots_do_not_depend_on_their_neighbours():
    _, together, actions = play(3, 60)
    _, alone, action = play(1, 60)
    torch.testing.assert_close(together[:, 0], alone[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(actions[:, 0], action[:, 0], rtol=0, atol=0)


def test_reset_is_for_the_marked_robots():
    env = make_env("h1-walk", num_envs=2, seed=1)
    rest = env.reset()[keys.OBSERVATION]
    walker, fresh, other = (Stepping(env.model) for _ in range(3))
    for demonstrator in (walker, fresh, other):
        demonstrator.reset(rest)
    first = fresh.act(rest)
    for _ in range(10):
        walker.act(rest)
        other.act(rest)
    walker.reset(rest, torch.tensor([True, False]))
    answer, unbroken = walker.act(rest), other.act(rest)
    torch.testing.assert_close(answer[0], first[0], rtol=0, atol=0)
    torch.testing.assert_close(answer[1], unbroken[1], rtol=0, atol=0)
    assert (answer[1] - first[1]).abs().max() > 1e-3  # ten steps on, the foot is to be in the air


def test_the_pendulum_goes_on_where_it_is_cut():
    offset, velocity, rate = np.array([-0.1, 0.05]), np.array([1.0, -0.3]), 3.2
    whole = swing_through(offset, velocity, rate, 0.3)
    halves = swing_through(*swing_through(offset, velocity, rate, 0.1), rate, 0.2)
    np.testing.assert_allclose(whole, halves)
    # energy of the pendulum: velocity^2 - (rate * offset)^2
    np.testing.assert_allclose(whole[1] ** 2 - (rate * whole[0]) ** 2, velocity**2 - (rate * offset) ** 2)


@pytest.mark.parametrize(("offset", "velocity"), [(-0.1, 1.0), (0.1, 0.5), (0.1, -0.2), (0.0, 0.3)])
def test_time_to_a_place_is_when_the_pendulum_is_there(offset, velocity):
    time = time_to(offset, velocity, 3.2, 0.25)
    there, speed = swing_through(np.array(offset), np.array(velocity), 3.2, time)
    assert there == pytest.approx(0.25)
    assert speed > 0


def test_a_pendulum_that_falls_back_never_gets_there():
    assert time_to(-0.2, 0.3, 3.2, 0.25) == math.inf
    assert time_to(0.3, 0.0, 3.2, 0.25) == 0.0


def test_momentum_about_the_foot_is_that_of_the_whole_body():
    body, qvel = WholeBody(make_env("h1-walk", num_envs=1).model), np.zeros(ROBOT_NV)
    qvel[:2] = 1.2, -0.4  # the robot glides: nothing turns about its centre of mass
    body.update(QPOS0, qvel)
    momentum = body.angular_momentum(body.soles[0])
    height = body.com[2] - body.soles[0, 2]
    np.testing.assert_allclose(momentum[:2], body.mass * height * np.array([0.4, 1.2]))
    assert body.mass == pytest.approx(51.65, abs=0.01)  # kg, of the robot's data sheet in the model file


def test_it_is_recorded_like_any_other(tmp_path):
    (tmp_path / "walk.yaml").write_text(
        "kind: stepping\ntask: h1-walk\nrecording: {episodes: 8, steps: 150, noise_levels: [0.05, 0.1]}\n"
    )
    data = record(load_demonstration_config(tmp_path / "walk.yaml"))
    # noise of 0.1 is 0.03 rad on every joint and step; 32 of 32 robots took it for 300 steps
    assert data.manifest["falls"] == 0
    assert len(data) == 8 * 150
    assert data.manifest["demonstrator"] == "stepping"
    assert data.manifest["training_env_steps"] == 0


def test_a_step_cannot_be_cut_longer():
    with pytest.raises(ConfigError, match="step_time"):
        SteppingConfig(step_time=0.2, shortest_step_time=0.3)
