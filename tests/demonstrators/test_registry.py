"""The demonstrators: they stay on their feet, do what they claim, and what they record can be trusted."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from mwl import make_env
from mwl.core import keys
from mwl.core.errors import ConfigError, CorruptFile, MissingFile
from mwl.datasets.demonstrations import Demonstrations
from mwl.datasets.recording import RecordingConfig, record_demonstrations
from mwl.demonstrators.lqr import LQRStand
from mwl.demonstrators.reach import SHOULDER, Reach, reachable_targets
from mwl.demonstrators.registry import load_demonstration_config, parse_demonstration_config, record
from mwl.robot.h1 import FRAME_SKIP, QPOS0
from mwl.rollouts.pushes import push
from mwl.teachers.door.teacher import HandlePull
from mwl.teachers.teacher import TrackingPolicy


def play(env, demonstrator, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed reward `[N]` and last observation `[N, O]`."""
    state = env.reset()
    demonstrator.reset(state[keys.OBSERVATION])
    total = torch.zeros(env.num_envs)
    for _ in range(steps):
        state = env.step(state.set(keys.ACTION, demonstrator.act(state[keys.OBSERVATION])))[keys.NEXT]
        total += state[keys.REWARD].squeeze(-1)
        assert not state[keys.TERMINATED].any()
        state = state.exclude(keys.REWARD)
    return total, state[keys.OBSERVATION]


def test_balance_controller_stands():
    env = make_env("h1-stand", num_envs=4, seed=1)
    total, _ = play(env, LQRStand(env.model, FRAME_SKIP), 300)
    # 0.93 a step in the rise of the first 75 steps, 0.945 afterwards: 0.93 * 300 = 279
    assert (total > 276).all()


def test_walking_teacher_walks(data_folder):
    env = make_env("h1-walk", num_envs=4, seed=1)
    teacher = TrackingPolicy.load(data_folder / "teachers/walk", torch.tensor([1.1, 0.0, 0.0]))
    total, observation = play(env, teacher, 300)
    # 0.92 a step once it walks; the start from rest costs about 15: 0.92 * 300 - 15 = 261
    assert (total > 250).all()
    # 6 s at 1.1 m/s less the ramp from 0.3 m/s at 1.5 m/s^2 (0.2 m), and a veer of less than 15 degrees
    assert ((observation[:, 0] > 5.5) & (observation[:, 0] < 7.5)).all()
    assert (observation[:, 1].abs() < 1.8).all()


@pytest.mark.parametrize(("kind", "task"), [("run_start", "h1-run"), ("handle_pull", "h1-door")])
def test_a_teacher_told_its_own_answers_acts_as_one_told_nothing(data_folder, kind, task):
    # Both command joints beyond their range at once; what a recording says back to them must not change them. Both are
    # shown the same robots, so that no contact makes something of the rounding between their answers.
    folder = data_folder / "teachers" / kind
    load = HandlePull.load if kind == "handle_pull" else TrackingPolicy.load
    env, untold, told = make_env(task, num_envs=2, seed=1), load(folder), load(folder)
    state = env.reset()
    for teacher in (untold, told):
        teacher.reset(state[keys.OBSERVATION])
    for _ in range(12):
        action, same = untold.act(state[keys.OBSERVATION]), told.act(state[keys.OBSERVATION])
        torch.testing.assert_close(same, action, atol=1e-4, rtol=0)  # rounding is 3e-7; as it was once, 0.2
        told.executed(same)
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)


def test_reaching_ends_at_the_target():
    env = make_env("h1-stand", num_envs=8, seed=1)
    targets = reachable_targets(env.model, 8, torch.Generator().manual_seed(3))
    targets += torch.tensor(QPOS0[:3], dtype=torch.float32)
    play(env, Reach(env.model, FRAME_SKIP, targets=targets), 150)
    hand = torch.from_numpy(env.measurement["left_hand_position"]).float()
    assert (hand - targets).norm(dim=-1).median() < 0.01


def test_reaching_ends_at_the_farthest_targets_too():
    env = make_env("h1-stand", num_envs=4, seed=1)
    targets = reachable_targets(env.model, 100, torch.Generator().manual_seed(3))
    farthest = (targets - SHOULDER).norm(dim=-1).topk(4).indices
    targets = targets[farthest] + torch.tensor(QPOS0[:3], dtype=torch.float32)
    play(env, Reach(env.model, FRAME_SKIP, targets=targets), 250)
    hand = torch.from_numpy(env.measurement["left_hand_position"]).float()
    # a balance that turns the pelvis against the waist and leans back from the arm ends up to 13 cm away
    assert (hand - targets).norm(dim=-1).max() < 0.03


def test_labels_are_clean_and_the_executed_action_is_noisy():
    env = make_env("h1-stand", num_envs=2, seed=0)
    demonstrator = LQRStand(env.model, FRAME_SKIP)
    config = RecordingConfig(episodes=2, steps=20, noise_levels=(0.0, 0.4), keep_executed=True)
    data = record_demonstrations(demonstrator, env, config)
    demonstrator.reset(data.observation[:2])
    noise = data.executed_action - data.action
    quiet, noisy = noise[data.episode == 0], noise[data.episode == 1]
    assert quiet.abs().max() < 1e-6
    # the noise is N(0, 0.4 noise_scale), and 20 steps of 19 joints estimate its spread to about 4 %
    torch.testing.assert_close((noisy / demonstrator.noise_scale).std(), torch.tensor(0.4), atol=0.06, rtol=0)
    # a clean label is the demonstrator's answer to the recorded observation, whatever was executed before
    fresh = LQRStand(env.model, FRAME_SKIP)
    first = data.observation[data.episode == 1]
    fresh.reset(first[:1])
    for step in range(20):
        torch.testing.assert_close(fresh.act(first[step : step + 1])[0], data.action[data.episode == 1][step])


def test_recording_repeats_for_a_seed():
    def recorded(seed: int) -> Demonstrations:
        env = make_env("h1-stand", num_envs=2, seed=seed)
        config = RecordingConfig(episodes=2, steps=10, seed=seed, push_std=0.1)
        return record_demonstrations(LQRStand(env.model, FRAME_SKIP), env, config)

    torch.testing.assert_close(recorded(1).observation, recorded(1).observation, rtol=0, atol=0)
    assert not torch.equal(recorded(1).observation, recorded(2).observation)


def test_a_push_meets_and_turns_only_whom_it_is_for():
    env = make_env("h1-stand", num_envs=3, seed=0)
    env.reset()
    _, before = env.state
    before = before.clone()
    push(env.simulation, torch.tensor([True, False, True]), 0.5, torch.Generator().manual_seed(0), turn_std=1.0)
    change = (env.state[1] - before).abs()
    pushed_or_turned = torch.zeros(len(before[0]), dtype=torch.bool)
    pushed_or_turned[[0, 1, 5]] = True
    assert (change[[0, 2]][:, pushed_or_turned] > 1e-3).all()
    assert change[1].max() == 0
    assert change[:, ~pushed_or_turned].max() == 0


@pytest.fixture
def small() -> Demonstrations:
    return Demonstrations(
        observation=torch.randn(6, 51), action=torch.rand(6, 19), episode=torch.tensor([0, 0, 0, 1, 1, 1]),
        manifest={"task": "h1-stand", "demonstrator": "test", "recording_env_steps": 6}, command=torch.randn(6, 3),
    )  # fmt: skip


def test_a_file_gives_back_what_was_written(small, tmp_path):
    loaded = Demonstrations.load(small.save(tmp_path / "demo.npz", half=False))
    torch.testing.assert_close(loaded.observation, small.observation)
    torch.testing.assert_close(loaded.command, small.command)
    assert loaded.manifest["task"] == "h1-stand"
    assert loaded.executed_action is None
    half = Demonstrations.load(small.save(tmp_path / "half.npz"))
    torch.testing.assert_close(half.action, small.action, atol=5e-4, rtol=0)  # half precision: 2^-11 below 1


def test_damaged_files_are_refused(small, tmp_path):
    path = small.save(tmp_path / "demo.npz")
    with pytest.raises(MissingFile, match="motion demonstrate"):
        Demonstrations.load(tmp_path / "other.npz")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptFile, match="sha256"):
        Demonstrations.load(path)
    path.with_suffix(".json").write_text("[]")
    with pytest.raises(CorruptFile, match=r"demo\.json: input should be an object"):
        Demonstrations.load(path)


def test_shipped_demonstrations_agree_with_their_manifests(data_folder):
    for name in ("stand", "walk", "run", "handle_pull"):
        data = Demonstrations.load(data_folder / f"demonstrations/{name}.npz")
        assert data.action.abs().max() <= 1
        assert {"licence", "source", "seed", "training_env_steps"} <= data.manifest.keys()
        assert np.isfinite(data.observation.numpy()).all()


def test_a_misspelt_entry_is_one_clear_error(tmp_path):
    (tmp_path / "bad.yaml").write_text("kind: stand\nrecording: {epissodes: 3}\n")
    with pytest.raises(ConfigError, match="epissodes"):
        load_demonstration_config(tmp_path / "bad.yaml")
    (tmp_path / "teacher.yaml").write_text("kind: tracking\ntask: h1-walk\nrecording: {episodes: 1, steps: 1}\n")
    with pytest.raises(ConfigError, match="teacher"):
        record(load_demonstration_config(tmp_path / "teacher.yaml"))


def test_manifest_counts_what_was_spent(tmp_path):
    (tmp_path / "c.yaml").write_text("kind: stand\nrecording: {episodes: 2, steps: 5}\n")
    path = record(load_demonstration_config(tmp_path / "c.yaml")).save(tmp_path / "d.npz")
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert manifest["recording_env_steps"] == 10
    assert manifest["training_env_steps"] == 0


@pytest.mark.parametrize("part", ["taught.yaml", "taught.yaml#balance", "reach.yaml", "reach.yaml#touch", "walk.yaml"])
def test_shipped_configurations_are_read(part, data_folder):
    config = load_demonstration_config(data_folder.parent / f"conf/demonstrators/{part}")
    assert config.recording.episodes >= 8


def test_a_recording_under_shifts_meets_them_and_says_so():
    """What is late shows again what was there: senses that are 40 ms late begin with the same frame thrice."""
    config = parse_demonstration_config(
        {"task": "h1-stand", "recording": {"episodes": 30, "steps": 4, "shifts": {"delay": [0.04, 0.04]}}}, "here"
    )
    recorded = record(config)
    assert recorded.manifest["shifts"] == {"delay": [0.04, 0.04]}
    frames = recorded.observation.view(30, 4, -1)
    late = (frames[:, 0] == frames[:, 2]).all(dim=-1)
    # 30 x 0.3 = 9 with a standard deviation of 2.5; four of them, and with the seed of the recording always the same
    assert 0 < late.sum() < 19
    assert "shifts" not in record(dataclasses.replace(config, recording=RecordingConfig(episodes=2, steps=2))).manifest
