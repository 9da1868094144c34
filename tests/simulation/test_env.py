"""The TorchRL environment: specs, resets, ends, bad input, determinism, going on."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.collectors import Collector
from torchrl.envs.utils import check_env_specs

from mwl.core import keys
from mwl.core.errors import BadInput, MissingDependency, PhysicsError, UnknownTask
from mwl.robot.h1 import QPOS0, ctrl_to_action
from mwl.simulation import TASKS, HumanoidEnv, get_task, make_env

HOLD = torch.from_numpy(ctrl_to_action(QPOS0[7:]))


def act(env: HumanoidEnv, action: torch.Tensor) -> TensorDict:
    """One step; returns what follows."""
    return env.step(TensorDict({keys.ACTION: action}, env.batch_size))[keys.NEXT]


def random_steps(env: HumanoidEnv, count: int) -> torch.Tensor:
    """Observations `[count, N, O]` under actions that depend on step and index alone."""
    state, seen = env.reset(), []
    for step in range(count):
        rows = [np.random.default_rng([step, i]).uniform(-1, 1, 19) for i in range(env.num_envs)]
        state[keys.ACTION] = torch.tensor(np.stack(rows), dtype=torch.float32)
        _, state = env.step_and_maybe_reset(state)
        seen.append(state[keys.OBSERVATION])
    return torch.stack(seen)


@pytest.mark.parametrize("task", TASKS)
def test_specs(task: str) -> None:
    env = make_env(task, num_envs=2)
    check_env_specs(env)
    assert env.reset()[keys.OBSERVATION].shape == (2, get_task(task).layout.size)


@pytest.mark.parametrize(
    ("task", "size"),
    [
        *[("h1-stand", 51), ("h1-walk", 51), ("h1-run", 51), ("h1-reach", 57), ("h1-door", 55), ("h1-push", 63)],
        *[("h1-sit_hard", 64), ("h1-balance_simple", 64), ("h1-balance_hard", 77)],
    ],
)
def test_observation_sizes_are_the_benchmark_s(task: str, size: int) -> None:
    assert get_task(task).layout.size == size


def test_the_layout_names_the_parts() -> None:
    env = make_env("h1-door", num_envs=1)
    qpos, qvel = (part[0] for part in env.state)
    observation = env.reset()[keys.OBSERVATION][0].double()
    qpos, qvel = (part[0] for part in env.state)
    for name, part in (("robot_qpos", qpos[:26]), ("door_qpos", qpos[26:]), ("robot_qvel", qvel[:25])):
        torch.testing.assert_close(observation[env.task.layout.slices[name]], part, rtol=0, atol=1e-6)


def test_reset_noise_is_uniform_within_a_hundredth() -> None:
    env = make_env("h1-walk", num_envs=200, seed=3)
    env.reset()
    noise = env.state[0].numpy() - QPOS0

    assert np.abs(noise).max() <= 0.01
    # 5200 draws of a uniform variable of this width have a mean within 6 sd of 0 and a sd of 0.01 / sqrt(3)
    assert abs(noise.mean()) < 6 * 0.01 / np.sqrt(3 * noise.size)
    assert noise.std() == pytest.approx(0.01 / np.sqrt(3), rel=0.05)
    assert not env.state[1].any()


def test_the_chair_may_stand_anywhere_near() -> None:
    """The robot begins 0.2 to 0.4 m before the origin, within 0.15 m aside, turned by up to 1.8 rad."""
    env = make_env("h1-sit_hard", num_envs=200, seed=3)
    env.reset()
    qpos = env.state[0].numpy()
    turn = 2 * np.arctan2(qpos[:, 6], qpos[:, 3])
    for values, low, high in ((qpos[:, 0], 0.2, 0.4), (qpos[:, 1], -0.15, 0.15), (turn, -1.8, 1.8)):
        # of 200 uniform draws the outermost lie within 5 % of the bounds, but for 0.95^200 = 4e-5
        margin = 0.05 * (high - low)
        assert low <= values.min() < low + margin
        assert high - margin < values.max() <= high
    assert np.abs(qpos[:, 26:] - np.array([-0.25, 0, 0, 1, 0, 0, 0])).max() <= 0.01


@pytest.mark.parametrize("task", ["h1-balance_simple", "h1-balance_hard"])
def test_the_robot_begins_on_its_board(task: str) -> None:
    """Held in its pose for 0.2 s it stands on the board, which touches nothing but the ball."""
    env = make_env(task, num_envs=4)
    env.reset()
    for _ in range(10):
        after = env.step(TensorDict({keys.ACTION: HOLD.expand(4, -1)}, [4]))[keys.NEXT]
        assert not after[keys.TERMINATED].any()
        assert (after[keys.REWARD] > 0.5).all()
    assert env.state[0][:, 2].min() > 1.25
    down = env.state[0].clone()
    down[:, 26 + 2] = 0.02  # the board on the floor
    env.set_state(down, env.state[1])
    assert env.step(TensorDict({keys.ACTION: HOLD.expand(4, -1)}, [4]))[keys.NEXT, keys.TERMINATED].all()


def test_goals_fill_their_box_and_are_observed() -> None:
    env = make_env("h1-reach", num_envs=200, seed=5)
    goals = env.reset()[keys.OBSERVATION][:, env.task.layout.slices["goal"]].numpy()

    assert (goals >= [-2, -2, 0.2]).all()
    assert (goals <= [2, 2, 2]).all()
    assert (goals.max(0) - goals.min(0) > [3.8, 3.8, 1.7]).all()


def test_a_seed_decides_all_whatever_n_and_threads() -> None:
    few = random_steps(make_env("h1-reach", num_envs=2, seed=7, num_threads=1), 70)
    many = random_steps(make_env("h1-reach", num_envs=5, seed=7, num_threads=2), 70)

    torch.testing.assert_close(few, many[:, :2], rtol=0, atol=0)
    assert not torch.equal(few, random_steps(make_env("h1-reach", num_envs=2, seed=8, num_threads=1), 70))


def test_set_seed_begins_the_same_episodes_again() -> None:
    env = make_env("h1-walk", num_envs=2)
    env.set_seed(11)
    first = env.reset()[keys.OBSERVATION]
    second = env.reset()[keys.OBSERVATION]
    env.set_seed(11)

    torch.testing.assert_close(env.reset()[keys.OBSERVATION], first, rtol=0, atol=0)
    assert not torch.equal(first, second)


def test_environments_that_draw_alike_begin_the_same_episodes() -> None:
    env = make_env("h1-reach", num_envs=3, seed=4)
    env.draw_like([0, 0, 2])
    for _ in range(2):
        observation = env.reset()[keys.OBSERVATION]
        assert torch.equal(observation[0], observation[1])
        assert not torch.equal(observation[0], observation[2])
    env.draw_like([0, 1, 1])  # told anew, 1 no longer draws like 0
    observation = env.reset()[keys.OBSERVATION]
    assert not torch.equal(observation[0], observation[1])
    assert torch.equal(observation[1], observation[2])
    env.draw_apart()
    observation = env.reset()[keys.OBSERVATION]
    assert not torch.equal(observation[1], observation[2])
    with pytest.raises(BadInput, match="3 indices"):
        env.draw_like([0, 3, 1])


def test_only_the_ended_episode_begins_anew() -> None:
    env = make_env("h1-walk", num_envs=3)
    state = env.reset()
    qpos, qvel = env.state
    qpos[1, 2:7] = torch.tensor([0.12, 0.7071, 0.7071, 0.0, 0.0])  # lying on its side, below the 0.2 m of a fall
    env.set_state(qpos, qvel)
    full, state = env.step_and_maybe_reset(state.set(keys.ACTION, HOLD.expand(3, -1)))

    assert full[keys.NEXT, keys.TERMINATED].flatten().tolist() == [False, True, False]
    assert state[keys.STEP_COUNT].flatten().tolist() == [1, 0, 1]
    assert state[keys.OBSERVATION][1, 2] == pytest.approx(0.98, abs=0.011)
    torch.testing.assert_close(state[keys.OBSERVATION][0], full[keys.NEXT, keys.OBSERVATION][0])


def test_the_time_limit_truncates() -> None:
    env = make_env("h1-reach", num_envs=2)  # never terminates
    state = env.reset()
    for step in range(1, 1001):
        full, state = env.step_and_maybe_reset(state.set(keys.ACTION, HOLD.expand(2, -1)))
        after = full[keys.NEXT]
        assert after[keys.TRUNCATED].all() == (step == 1000)
        assert not after[keys.TERMINATED].any()
    assert state[keys.STEP_COUNT].max() == 0


def test_actions_beyond_the_bounds_act_like_the_bounds() -> None:
    env = make_env("h1-walk", num_envs=2)
    env.reset()
    qpos, qvel = env.state
    qpos[1], qvel[1] = qpos[0], qvel[0]
    env.set_state(qpos, qvel)
    wild = torch.linspace(-4, 4, 19)
    act(env, torch.stack([wild, wild.clamp(-1, 1)]))

    # float32 bounds of the action map differ from the servos' float64 ones in the eighth digit
    torch.testing.assert_close(env.state[0][0], env.state[0][1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_action_that_is_not_finite_is_refused(value: float) -> None:
    env = make_env("h1-walk", num_envs=3)
    env.reset()
    before = env.state[0]
    action = HOLD.expand(3, -1).clone()
    action[2, 4] = value
    with pytest.raises(PhysicsError, match=r"not finite in environments \[2\]"):
        act(env, action)
    torch.testing.assert_close(env.state[0], before, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(3, 18), (3, 20), (3, 1)])
def test_an_action_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    env = make_env("h1-walk", num_envs=3)
    env.reset()
    with pytest.raises(BadInput, match=r"expected \[3, 19\]"):
        act(env, torch.zeros(shape))


def test_states_of_another_shape_are_refused() -> None:
    env = make_env("h1-walk", num_envs=2)
    with pytest.raises(BadInput, match=r"qpos has shape \[2, 25\], expected \[2, 26\]"):
        env.set_state(np.zeros((2, 25)), np.zeros((2, 25)))
    with pytest.raises(BadInput, match="not finite"):
        env.set_state(np.full((2, 26), np.nan), np.zeros((2, 25)))


def test_broken_physics_ends_that_episode_alone_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    env = make_env("h1-walk", num_envs=3)
    env.reset()
    env.simulation.qvel[1] = np.nan
    after = act(env, HOLD.expand(3, -1))

    assert after[keys.TERMINATED].flatten().tolist() == [False, True, False]
    assert after[keys.REWARD].isfinite().all()
    assert after[keys.OBSERVATION].isfinite().all()
    assert env.unstable_episodes == 1
    assert "physics broke in environments [1]" in caplog.text


def test_a_snapshot_goes_on_exactly() -> None:
    env = make_env("h1-maze", num_envs=2, seed=1)
    state = env.reset()
    for _ in range(5):
        _, state = env.step_and_maybe_reset(state.set(keys.ACTION, HOLD.expand(2, -1)))
    kept = env.snapshot()
    expected = [act(env, HOLD.expand(2, -1)) for _ in range(3)]

    other = make_env("h1-maze", num_envs=2, seed=99)
    other.restore(kept)
    assert other.reset()[keys.STEP_COUNT].flatten().tolist() == [5, 5]
    for after in expected:
        assert (act(other, HOLD.expand(2, -1)) == after).all()


def test_a_snapshot_of_another_task_is_refused() -> None:
    with pytest.raises(BadInput, match="snapshot"):
        make_env("h1-walk", num_envs=2).restore(make_env("h1-door", num_envs=2).snapshot())


def test_a_collector_runs_on_it() -> None:
    env = make_env("h1-walk", num_envs=4)
    collector = Collector(env, env.rand_action, frames_per_batch=4 * 80, total_frames=4 * 80)
    batch = next(iter(collector))
    collector.shutdown()

    assert batch.shape == (4, 80)
    begun = batch[keys.STEP_COUNT][:, 1:, 0] == 0  # an episode begins exactly where the one before ended
    torch.testing.assert_close(begun, batch[keys.NEXT, keys.DONE][:, :-1, 0])
    assert begun.any()


def test_unknown_names() -> None:
    with pytest.raises(UnknownTask, match="did you mean 'h1-walk'"):
        make_env("h1-wlak")
    with pytest.raises(BadInput, match="unknown suite"):
        make_env("h1-walk", suite="other")  # type: ignore[arg-type]


@pytest.mark.parametrize("num_envs", [0, -1, 2.5, "3", True, None])
def test_a_number_of_environments_that_is_none(num_envs: object) -> None:
    with pytest.raises(BadInput, match="num_envs"):
        make_env("h1-walk", num_envs=num_envs)  # type: ignore[arg-type]
    if num_envs is not None:
        with pytest.raises(BadInput, match="num_threads"):
            make_env("h1-walk", num_threads=num_envs)  # type: ignore[arg-type]


def test_more_environments_than_fit_into_memory() -> None:
    with pytest.raises(BadInput, match="GiB of memory"):
        make_env("h1-walk", num_envs=10**10)


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30, 1.5, "1", True])
def test_a_seed_that_is_none(seed: object) -> None:
    with pytest.raises(BadInput, match="seed"):
        make_env("h1-walk", seed=seed)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="seed"):
        make_env("h1-walk").set_seed(seed)  # type: ignore[arg-type]


def test_the_largest_seed_is_one() -> None:
    starts = [make_env("h1-walk", seed=seed).reset()[keys.OBSERVATION] for seed in (2**63 - 1, 2**63 - 1, 2**63 - 2)]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_without_a_seed_every_environment_is_another() -> None:
    assert not torch.equal(*(make_env("h1-walk", seed=None).reset()[keys.OBSERVATION] for _ in range(2)))


def test_a_task_may_be_given_itself() -> None:
    longer = replace(get_task("h1-walk"), name="stroll", max_episode_steps=3)
    env = make_env(longer, num_envs=2)
    state = env.reset()
    for _ in range(3):
        full, state = env.step_and_maybe_reset(state.set(keys.ACTION, HOLD.expand(2, -1)))
    assert full[keys.NEXT, keys.TRUNCATED].all(), "its own limit holds"
    for task in (None, 3, {"name": "h1-walk"}):
        with pytest.raises(BadInput, match="task is"):
            make_env(task)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["h1-maze", "h1-reach", "one's own"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_steps_and_begins_anew_as_the_original(task: str, copied: Callable[[HumanoidEnv], HumanoidEnv]) -> None:
    own = replace(get_task("h1-walk"), max_episode_steps=20)
    env = make_env(own if task == "one's own" else task, num_envs=2, seed=3)
    random_steps(env, 5)
    # random actions make robots fall within 60 steps, so that new episodes are drawn, too
    other = copied(env)
    assert other is not env
    torch.testing.assert_close(random_steps(other, 60), random_steps(env, 60), rtol=0, atol=0)


def test_pictures_that_are_none() -> None:
    env = make_env("h1-walk")
    env.reset()
    for wrong in ({"width": 0}, {"height": -5}, {"width": 10**6}, {"width": 1.5}, {"index": 1}, {"backend": "vulkan"}):
        with pytest.raises(BadInput):
            env.render(**wrong)  # type: ignore[arg-type]


def test_the_official_suite_tells_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "humanoid_bench" else find(name))
    with pytest.raises(MissingDependency, match="pip install --no-deps"):
        make_env("h1-walk", suite="humanoid_bench")
