"""Demonstrations as transitions, and batches of which a share comes from them."""

from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

from mwl.core import keys
from mwl.core.errors import BadInput, SpecMismatch
from mwl.datasets.demonstrations import Demonstrations
from mwl.world_model.learning.demonstrations import transitions
from mwl.world_model.learning.replay import Replay


def recorded(folder: Path, reward: bool = True) -> Path:
    """Two episodes of 4 and 3 steps, whose observations count on."""
    return Demonstrations(
        observation=torch.arange(7.0).unsqueeze(-1),
        action=torch.zeros(7, 1),
        episode=torch.tensor([0, 0, 0, 0, 1, 1, 1]),
        manifest={"task": "h1-walk"},
        executed_action=torch.full((7, 1), 0.5),
        reward=torch.arange(7.0) if reward else None,
    ).save(folder / "some")


def test_transitions_stay_within_episodes(tmp_path: Path) -> None:
    rows = transitions([recorded(tmp_path)] * 2, "h1-walk", 1)
    first = rows[:5]
    assert first[keys.OBSERVATION].flatten().tolist() == [0, 1, 2, 4, 5]
    assert first[keys.NEXT, keys.OBSERVATION].flatten().tolist() == [1, 2, 3, 5, 6]
    assert first[keys.NEXT, keys.REWARD].flatten().tolist() == [0, 1, 2, 4, 5]
    assert first[keys.ACTION].flatten().tolist() == [0.5] * 5  # what moved the robot, not the label
    assert rows[keys.EPISODE].tolist() == [-1, -1, -1, -2, -2, -3, -3, -3, -4, -4]
    assert first[keys.STEP_COUNT].flatten().tolist() == [0, 1, 2, 0, 1]


def test_other_tasks_and_recordings_without_reward_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecMismatch, match="recorded on h1-walk; the world model learns h1-run"):
        transitions([recorded(tmp_path)], "h1-run", 1)
    with pytest.raises(BadInput, match="without rewards"):
        transitions([recorded(tmp_path, reward=False)], "h1-walk", 1)


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_batches_hold_the_share_exactly_and_whole_slices(share: float, tmp_path: Path) -> None:
    replay = Replay(capacity=20, num_envs=1, horizon=2, batch_size=8)
    own = transitions([recorded(tmp_path)], "h1-walk", 1)[:3].clone()
    own[keys.EPISODE] = torch.zeros(3, dtype=torch.int64)
    own[keys.OBSERVATION] += 100
    replay.extend(own.unsqueeze(0))
    replay.add_demonstrations(transitions([recorded(tmp_path)], "h1-walk", 1))
    replay.share = share
    batch: TensorDict = replay.sample()
    assert batch.shape == (2, 8)
    taught = batch[keys.EPISODE] < 0
    assert taught.sum() == 2 * 8 * share
    assert torch.equal(taught[0], taught[1])
    assert torch.equal(batch[keys.EPISODE][0], batch[keys.EPISODE][1])
    step = batch[keys.OBSERVATION][1] - batch[keys.OBSERVATION][0]
    assert torch.equal(step, torch.ones(8, 1))
