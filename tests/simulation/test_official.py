"""The official HumanoidBench beside the embedded suite; skipped where the package is not installed."""

import importlib.util

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from mwl.core import keys
from mwl.core.errors import UnknownTask
from mwl.robot.h1 import QPOS0, ctrl_to_action
from mwl.simulation import TASKS, make_env

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("humanoid_bench", "dm_control", "imageio")),
    reason="the official humanoid_bench package is not installed",
)
HOLD = torch.from_numpy(ctrl_to_action(QPOS0[7:]))
STEPS, NUM_ENVS = 40, 4


@pytest.mark.parametrize("task", ["h1-walk", "h1-reach", "h1-door", "h1hand-walk"])
def test_specs(task: str) -> None:
    check_env_specs(make_env(task, num_envs=2, suite="humanoid_bench"))


def test_goals_are_reproducible_and_the_global_generator_is_left_alone() -> None:
    np.random.seed(123)  # noqa: NPY002
    expected = np.random.RandomState(123).uniform()
    first, again = (make_env("h1-reach", num_envs=2, suite="humanoid_bench", seed=3).reset() for _ in range(2))

    torch.testing.assert_close(first[keys.OBSERVATION], again[keys.OBSERVATION], rtol=0, atol=0)
    assert np.random.uniform() == expected  # noqa: NPY002


def test_scenes_that_do_not_exist() -> None:
    for name in ("h1-foo", "h1-kitchen", "walk"):
        with pytest.raises(UnknownTask):
            make_env(name, suite="humanoid_bench")


def test_without_contact_a_step_is_the_same() -> None:
    official, own = make_env("h1-walk", 8, suite="humanoid_bench"), make_env("h1-walk", 8)
    generator = np.random.default_rng(0)
    qpos = QPOS0 + generator.uniform(-0.01, 0.01, (8, 26))
    qpos[:, 2] += 3.0
    qvel = generator.normal(0, 0.5, (8, 25))
    action = HOLD + torch.from_numpy(generator.uniform(-0.05, 0.05, (8, 19)).astype(np.float32))
    for env in (official, own):
        env.set_state(qpos, qvel)
        env.step(TensorDict({keys.ACTION: action}, [8]))
    for here, there in zip(own.state, official.state, strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_one_step_from_the_official_states_agrees(task: str) -> None:
    """Every task: from each state of four official episodes with growing noise, the same action, one step."""
    try:
        official = make_env(task, NUM_ENVS, suite="humanoid_bench", seed=1)
    except ValueError as error:  # textures that a clone may lack
        pytest.skip(str(error))
    official.reset()
    generator = np.random.default_rng(0)
    noise = np.array([0.1, 0.3, 1.0, 0.3])[:, None]
    rows: dict[str, list[np.ndarray]] = {}
    for _ in range(STEPS):
        drawn = HOLD.numpy() + noise * generator.uniform(-1, 1, (NUM_ENVS, 19))
        action = torch.tensor(np.clip(drawn, -1, 1), dtype=torch.float32)
        before = official.snapshot()
        after = official.step(TensorDict({keys.ACTION: action}, [NUM_ENVS]))[keys.NEXT]
        step = {**{name: before[name] for name in ("qpos", "qvel", "warmstart", "goal")}, "action": action}
        step |= {"reached": official.state[0], "reward": after[keys.REWARD], "terminated": after[keys.TERMINATED]}
        for name, value in step.items():
            rows.setdefault(name, []).append(np.asarray(value))
    record = {name: np.concatenate(values) for name, values in rows.items()}

    own = make_env(task, STEPS * NUM_ENVS)
    goal = record["goal"] if TASKS[task].goal_size else None
    own.set_state(record["qpos"], record["qvel"], record["warmstart"], goal)
    after = own.step(TensorDict({keys.ACTION: torch.from_numpy(record["action"])}, own.batch_size))[keys.NEXT]

    assert np.median(np.abs(own.state[0].numpy() - record["reached"]).max(axis=1)) <= 0.002
    assert np.median(np.abs(after[keys.REWARD].numpy() - record["reward"])[NUM_ENVS:]) <= (
        101 if task == "h1-maze" else 0.005
    )
    apart = (after[keys.TERMINATED].numpy() != record["terminated"]).mean()
    # on the ball an episode ends by a touch, which fitted shapes may have a step sooner or later
    assert apart <= (0.02 if task.startswith("h1-balance") else 0.0)
