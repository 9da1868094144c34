"""Sampling model-predictive control stands, plans the same for a seed, and its plans go on where they were."""

import numpy as np
import pytest
import torch

from mwl import keys, make_env
from mwl.errors import ConfigError
from mwl.motion.demonstrators import load_demonstration_config, record
from mwl.motion.sampling import SamplingConfig, SamplingMPC
from mwl.simulation.robot import QPOS0


def play(task: str, steps: int, config: SamplingConfig | None = None) -> tuple[float, torch.Tensor]:
    """Summed reward and the actions `[T, 19]` of one robot."""
    env = make_env(task, num_envs=1, seed=1)
    planner = SamplingMPC(task, config)
    state, total, actions = env.reset(), 0.0, []
    planner.reset(state[keys.OBSERVATION])
    for _ in range(steps):
        action = planner.act(state[keys.OBSERVATION])
        actions.append(action[0])
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT]
        total += float(state[keys.REWARD])
        assert not state[keys.TERMINATED].any()
        state = state.exclude(keys.REWARD)
    return total, torch.stack(actions)


def test_it_stands_where_holding_the_pose_falls():
    # the reset pose alone falls at step 77; 0.8 a step is what a robot that balances, stepping now and then, is paid
    total, _ = play("h1-stand", 100)
    assert total > 75


@pytest.mark.slow
def test_it_stands_for_a_whole_episode():
    assert play("h1-stand", 1000)[0] > 800


def test_plans_repeat_for_a_seed():
    few = SamplingConfig(samples=6, elites=2, horizon=0.2, knots=3)
    first, second = play("h1-stand", 5, few)[1], play("h1-stand", 5, few)[1]
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_plan_starts_from_the_one_before():
    config = SamplingConfig(horizon=0.4, knots=4, replan_every=2)
    planner = SamplingMPC("h1-stand", config)
    planner.reset(torch.zeros(2, 51))
    # targets that rise by 1 rad over the horizon of 20 steps: two steps on, they are 2/19 further, and end at the end
    planner._mean[:] = QPOS0[7:]
    planner._mean[0] += np.linspace(0, 1, 4)[:, None]
    planner._advance(np.array([True, False]))
    expected = np.minimum(np.array([2, 8, 15, 21]) / 19, 1)  # knots lie at steps 0, 6, 13 and 19
    np.testing.assert_allclose(planner._mean[0, :, 0] - QPOS0[7], expected, atol=1e-9)
    np.testing.assert_allclose(planner._mean[1], np.tile(QPOS0[7:], (4, 1)))


def test_it_is_recorded_like_any_other(tmp_path):
    (tmp_path / "mpc.yaml").write_text(
        "kind: sampling_mpc\nsampling: {samples: 6, elites: 2, horizon: 0.2, knots: 3}\n"
        "recording: {episodes: 2, steps: 4, drop_before_fall: 0}\n"
    )
    data = record(load_demonstration_config(tmp_path / "mpc.yaml"))
    assert len(data) == 8
    assert data.manifest["demonstrator"] == "sampling_mpc"


def test_what_it_cannot_plan_is_refused():
    with pytest.raises(ConfigError, match="objects"):
        SamplingMPC("h1-door")
    with pytest.raises(ConfigError, match="elites"):
        SamplingConfig(samples=2, elites=3)
    with pytest.raises(ConfigError, match="horizon"):
        SamplingConfig(horizon=0.05)
