"""A small training in the toy world, with experts or without."""

from functools import cache
from typing import Any

import lightning.pytorch as pl
import quiet_trainer
import torch
from lightning.pytorch import Callback
from point_mass import ToyData, ToyModule

from mwl.training.callbacks import RandomState
from mwl.world_model import GuidanceConfig, LearningConfig, NetworkConfig, PlannerConfig

ENVS = 8


def make_module(
    guided: bool, seed_steps: int = 240, rate: float = 0.25, starts: int = 160, **guidance: Any
) -> ToyModule:
    return ToyModule(
        NetworkConfig("0.2M", num_q=2, dropout=0.0, activation="silu"),
        LearningConfig(
            batch_size=32, updates_per_step=rate, seed_steps=seed_steps, learning_starts=starts, discount=0.95
        ),
        PlannerConfig(samples=32, iterations=2, elites=8, policy_samples=4),
        GuidanceConfig(enabled=guided, **guidance),
    )


def fit(
    module: ToyModule,
    steps: int,
    callbacks: list[Callback] | None = None,
    checkpoint: str | None = None,
) -> ToyData:
    data = ToyData(env_steps=steps, num_envs=ENVS, steps_per_round=2, seed=3)
    quiet_trainer.fit(module, data, callbacks=[RandomState(), *(callbacks or [])], checkpoint=checkpoint)
    return data


def final_weights(module: ToyModule) -> torch.Tensor:
    assert module.model is not None
    return torch.cat([p.detach().flatten() for p in module.model.parameters()])


@cache
def uninterrupted(steps: int, guided: bool = True, **size: Any) -> ToyModule:
    """A training that several tests compare with: of seed 1, never stopped."""
    pl.seed_everything(1)
    module = make_module(guided, **size)
    assert fit(module, steps).rounds == steps // (2 * ENVS)
    return module
