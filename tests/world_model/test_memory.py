"""Stateful experts in the rounds of acting and learning: what they remember travels with the data and resumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch
from lightning.pytorch import Callback
from point_mass import EPISODE_STEPS, PacingGuidance, PacingLibrary, StopAfter, ToyData, ToyModule

from mwl.core import keys
from mwl.training.callbacks import RandomState
from mwl.world_model import GuidanceConfig, LearningConfig, NetworkConfig, PlannerConfig

ENVS, ROUNDS, PER_ROUND = 6, 14, 5


class PacingModule(ToyModule):
    def make_guidance(self) -> Any:
        return PacingGuidance(PacingLibrary(), semantic_weights={"pace": 1.0})  # type: ignore[arg-type]


def make_module() -> PacingModule:
    return PacingModule(
        NetworkConfig("0.2M", num_q=2, dropout=0.0, activation="silu"),
        LearningConfig(batch_size=16, updates_per_step=0.1, seed_steps=150, learning_starts=60, discount=0.95),
        PlannerConfig(samples=16, iterations=2, elites=4, policy_samples=4),
        GuidanceConfig(),
    )


def fit(module: PacingModule, callbacks: Sequence[Callback] = (), checkpoint: Path | None = None) -> ToyData:
    data = ToyData(env_steps=ROUNDS * ENVS * PER_ROUND, num_envs=ENVS, steps_per_round=PER_ROUND, seed=3)
    quiet_trainer.fit(module, data, callbacks=[RandomState(), *callbacks], checkpoint=checkpoint)
    return data


def test_experts_count_the_steps_of_each_episode() -> None:
    pl.seed_everything(0)
    data = fit(make_module())
    assert data.replay is not None
    rows = data.replay.buffer[: ROUNDS * PER_ROUND]  # [time, environment], 70 steps: every episode is over once
    assert ROUNDS * PER_ROUND > EPISODE_STEPS
    same = rows[keys.EPISODE][1:] == rows[keys.EPISODE][:-1]
    assert not same.all()
    age = torch.zeros(rows.batch_size)
    for t in range(1, len(age)):
        age[t] = torch.where(same[t - 1], age[t - 1] + 1, 0.0)
    assert torch.equal(rows[keys.MEMORY].squeeze(-1), age)
    # the reference after a step is that before the next, to planner and losses alike
    after, before = rows[keys.NEXT, keys.REFERENCE_ACTION][:-1], rows[keys.REFERENCE_ACTION][1:]
    assert torch.equal(after[same], before[same])


def test_resumed_training_remembers(tmp_path: Path) -> None:
    pl.seed_everything(1)
    whole = make_module()
    fit(whole)
    pl.seed_everything(1)
    with pytest.raises(InterruptedError):
        fit(make_module(), [StopAfter(9, tmp_path / "last.ckpt")])  # 45 of an episode's 50 steps
    pl.seed_everything(77)
    resumed = make_module()
    fit(resumed, checkpoint=tmp_path / "last.ckpt")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
