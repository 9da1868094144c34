"""Gymnasium ids: single and vector environments, and that registering them costs nothing."""

import copy
import math
import pickle
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mwl._gymnasium import TASK_NAMES
from mwl.core.errors import BadInput, PhysicsError
from mwl.robot.h1 import QPOS0, ctrl_to_action
from mwl.simulation import TASKS, get_task
from mwl.simulation.gym import HumanoidGymEnv

HOLD = ctrl_to_action(QPOS0[7:])


def test_every_task_has_an_id() -> None:
    assert set(TASK_NAMES) == set(TASKS)


@pytest.mark.filterwarnings("ignore:.*Box observation space.*infinity")
@pytest.mark.parametrize("task", ["h1-walk", "h1-reach", "h1-push"])
def test_gymnasium_s_own_check(task: str) -> None:
    check_env(gymnasium.make(f"mwl/{task}-v0", render_mode="rgb_array", width=48, height=32).unwrapped)


@pytest.mark.parametrize("order", ["import mwl, gymnasium", "import gymnasium, mwl"])
def test_ids_are_known_in_either_order_of_import(order: str) -> None:
    code = f"{order}\nassert 'mwl/h1-walk-v0' in gymnasium.registry"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_imports_neither_gymnasium_nor_torch() -> None:
    code = "import mwl, sys\nassert not {'gymnasium', 'torch', 'mujoco'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_vector_environment_plays_the_same_episodes_as_single_ones() -> None:
    """Environment 0 of a vector environment draws like a single environment of that seed."""
    single, vector = gymnasium.make("mwl/h1-walk-v0"), gymnasium.make_vec("mwl/h1-walk-v0", num_envs=3)
    one, many = single.reset(seed=4)[0], vector.reset(seed=4)[0]
    np.testing.assert_array_equal(one, many[0])
    for _ in range(20):
        one, reward, *_ = single.step(HOLD)
        many, rewards, *_ = vector.step(np.tile(HOLD, (3, 1)))
        np.testing.assert_array_equal(one, many[0])
        assert reward == rewards[0]


def test_a_vector_environment_begins_anew_in_the_step_after_an_end() -> None:
    vector = gymnasium.make_vec("mwl/h1-walk-v0", num_envs=2)
    vector.reset(seed=0)
    world = vector.unwrapped.world  # type: ignore[attr-defined]
    world.simulation.qpos[1, 2:7] = 0.12, 0.7071, 0.7071, 0.0, 0.0  # lying on its side
    actions = np.tile(HOLD, (2, 1))
    _, _, terminated, _, _ = vector.step(actions)
    assert terminated.tolist() == [False, True]
    observation, reward, terminated, truncated, _ = vector.step(actions)
    assert not terminated.any()
    assert not truncated.any()
    assert reward[1] == 0.0
    assert observation[1, 2] == pytest.approx(0.98, abs=0.011)
    assert world.steps.tolist() == [2, 0]


def starts(env: Any, count: int = 3) -> np.ndarray:
    """First observations of so many episodes."""
    return np.stack([env.reset()[0] for _ in range(count)])


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_without_a_seed_episodes_are_random_and_with_one_they_are_the_same(make: Any) -> None:
    first, second = make("mwl/h1-reach-v0"), make("mwl/h1-reach-v0")
    assert not np.array_equal(starts(first), starts(second))
    first.reset(seed=5)
    second.reset(seed=5)
    np.testing.assert_array_equal(starts(first), starts(second))


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
@pytest.mark.parametrize("seed", [-1, 2**63, 10**30, "1"])
def test_seeds_that_are_none(make: Any, seed: Any) -> None:
    with pytest.raises(BadInput, match="seed"):
        make("mwl/h1-walk-v0").reset(seed=seed)


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_steps_as_the_original(make: Any, copied: Any) -> None:
    env = make("mwl/h1-walk-v0")
    env.reset()
    action = np.broadcast_to(HOLD, env.action_space.shape)
    env.step(action)
    other = copied(env)
    for _ in range(10):
        ours, theirs = env.step(action), other.step(action)
        for mine, its in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(mine, its)
    np.testing.assert_array_equal(starts(env), starts(other))


def said(info: dict[str, Any]) -> dict[str, Any]:
    """What is told of success."""
    return {name: value for name, value in info.items() if "success" in name}


def test_success_is_told_from_the_step_in_which_the_bar_is_reached() -> None:
    env = gymnasium.make("mwl/h1-stand-v0")
    _, info = env.reset(seed=0)
    assert said(info) == {"success": False, "is_success": False}
    total, task = 0.0, env.unwrapped.task  # type: ignore[attr-defined]
    env.unwrapped._score._returns[:] = task.success_bar - 2.0  # type: ignore[attr-defined]
    for _ in range(5):  # standing at its reset pose earns about 0.9 a step, so the bar is reached within these
        _, reward, _, _, info = env.step(HOLD)
        total += float(reward)
        assert said(info) == {"success": total >= 2.0, "is_success": total >= 2.0}
        terms = info["terms"]  # of standing still: the reward is their product
        assert terms["standing"] * terms["stillness"] * terms["small_control"] == pytest.approx(reward)
        assert terms.keys() == {"small_control", "standing", "stillness"}
    assert total >= 2.0
    assert said(env.reset()[1]) == {"success": False, "is_success": False}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_names_the_terms_that_make_its_reward(name: str) -> None:
    vector = gymnasium.make_vec(f"mwl/{name}-v0", num_envs=2)
    combine = get_task(name).reward.combine  # type: ignore[attr-defined]
    assert vector.reset(seed=0)[1]["terms"] == {}, "nothing has been earned yet"
    vector.action_space.seed(0)
    for _ in range(60):  # long enough for random robots to fall and to begin anew, where an episode may end
        _, reward, _, _, info = vector.step(vector.action_space.sample())
        terms = info["terms"]
        assert len(terms) > 1
        np.testing.assert_allclose(combine(terms.values()), reward, rtol=1e-12, atol=1e-12)
        if combine is math.prod:  # factors are shares
            assert all(((value >= 0) & (value <= 1)).all() for value in terms.values())


def test_a_vector_environment_tells_success_of_each() -> None:
    vector = gymnasium.make_vec("mwl/h1-stand-v0", num_envs=2)
    vector.reset(seed=0)
    score = vector.unwrapped._score  # type: ignore[attr-defined]
    score._returns[1] = 1000.0
    info = vector.step(np.tile(HOLD, (2, 1)))[4]
    assert info["success"].tolist() == info["is_success"].tolist() == [False, True]
    assert {name: value.shape for name, value in info["terms"].items()} == dict.fromkeys(
        ("small_control", "standing", "stillness"), (2,)
    )


def test_bad_actions_and_modes() -> None:
    env = gymnasium.make("mwl/h1-walk-v0").unwrapped
    env.reset(seed=0)
    with pytest.raises(PhysicsError, match="not finite"):
        env.step(np.full(19, np.nan, dtype=np.float32))
    with pytest.raises(BadInput, match="shape"):
        env.step(np.zeros(7, dtype=np.float32))
    with pytest.raises(BadInput, match="render_mode"):
        HumanoidGymEnv("h1-walk", render_mode="depth_array")


@pytest.mark.slow
def test_stable_baselines_learns_on_it_unmodified() -> None:
    """PPO runs 20 000 steps on the id as it is; and its policy acts within the bounds afterwards."""
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    env = gymnasium.make("mwl/h1-walk-v0")
    model = stable_baselines3.PPO("MlpPolicy", env, n_steps=2048, seed=0, device="cpu")
    model.learn(20_000)

    assert model.num_timesteps >= 20_000
    action, _ = model.predict(env.reset(seed=1)[0], deterministic=True)
    assert env.action_space.contains(action)
