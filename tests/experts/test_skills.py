"""The shipped experts do what their cards say, from the benchmark's own resets."""

import shutil
from pathlib import Path

import pytest
import torch

from mwl import make_env
from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.experts.library import Expert
from mwl.experts.measure import Alone, measure_reaching
from mwl.experts.remeasure import measure
from mwl.mocap.clips import MotionClip, check_clip
from mwl.rollouts import run_episodes

WALKING_CLIP = Path(__file__).parents[2].parent / "shared/motion/h1_walk_cmu_mink.npz"


def play(expert: Expert, task: str, steps: int) -> torch.Tensor:
    """Reward summed over `steps`, `[4]`; nobody may fall."""
    env = make_env(task, num_envs=4, seed=123)
    state, total = env.reset(), torch.zeros(4)
    for _ in range(steps):
        action = expert.act(state[keys.OBSERVATION], env.task.layout)
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT]
        total += state[keys.REWARD].squeeze(-1)
        assert not state[keys.TERMINATED].any()
        state = state.exclude(keys.REWARD)
    return total


def test_stand_expert_stands(data_folder):
    # 0.94 a step: 282; the bound leaves 2 %, and a fall would cost far more
    assert (play(Expert.load(data_folder / "experts/stand"), "h1-stand", 300) > 276).all()


def test_walk_expert_walks(data_folder):
    # 0.918 a step once it walks, some 15 lost at the start: 0.918 * 300 - 15 = 260
    assert (play(Expert.load(data_folder / "experts/walk"), "h1-walk", 300) > 252).all()


def test_reach_expert_reaches(data_folder):
    expert = Expert.load(data_folder / "experts/reach")
    env = make_env("h1-reach", num_envs=20)
    result = measure_reaching(Alone(expert), env)
    assert result["within_5_cm"] >= 0.9  # nearly all of many targets; of 20, two may be unlucky
    assert result["distance_median_m"] < 0.01


@pytest.mark.skipif(not WALKING_CLIP.is_file(), reason="no retargeted clip beside the repository (shared/motion)")
def test_walk_expert_moves_as_naturally_as_a_person(data_folder):
    expert = Expert.load(data_folder / "experts/walk")
    env = make_env("h1-walk", num_envs=2, seed=123)
    walked = run_episodes(env, Alone(expert)).figures(env.task.success_bar)
    clip = check_clip(MotionClip.load(WALKING_CLIP))
    # the bar is twice the clip: 30000 rad/s^3, 1.84 m/s and 0.059 a step
    assert walked["jerk"] < 2 * clip["joint_jerk_rad_s3"]
    assert walked["foot_skate"] < 2 * clip["foot_skate_m_s"]
    assert walked["action_rate"] < 2 * clip["action_rate"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "minimum"), [("stand", 930.0), ("walk", 894.0)])
def test_whole_episodes(name, minimum, data_folder):
    # the bars of a good expert; the manifests say what 20 episodes gave
    total = play(Expert.load(data_folder / f"experts/{name}"), f"h1-{name}", 1000)
    assert total.mean() > minimum


def test_one_episode_is_no_measurement(data_folder, tmp_path):
    shutil.copytree(data_folder / "experts/stand", tmp_path / "stand")
    with pytest.raises(BadInput, match="at least 2"):
        measure(tmp_path / "stand", episodes=1)
