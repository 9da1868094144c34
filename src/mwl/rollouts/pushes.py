"""Pushes: sudden changes of the root's velocity, to train against and to measure by."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mwl.robot.h1 import CONTROL_DT
from mwl.simulation import Simulation


def push(simulation: Simulation, mask: Tensor, std: float, generator: torch.Generator, turn_std: float = 0.0) -> None:
    """Push the roots of the copies where `mask` `[N]` holds; nothing else of them, and nobody else, changes.

    By N(0, std) m/s in the world's x and y, and by N(0, turn_std) rad/s about the body's z axis.
    """
    count, qvel = len(mask), simulation.qvel.copy()
    qvel[:, :2] += std * torch.randn(count, 2, generator=generator, dtype=torch.float64).numpy()
    if turn_std > 0:
        qvel[:, 5] += turn_std * torch.randn(count, generator=generator, dtype=torch.float64).numpy()
    simulation.reset(mask.numpy(), simulation.qpos.copy(), qvel, simulation.warmstart.copy())


def at_random(count: int, interval: float, generator: torch.Generator) -> Tensor:
    """Who is pushed in this control step `[N]` bool, each once in `interval` seconds on average."""
    return torch.rand(count, generator=generator) < CONTROL_DT / interval


def push_at_random(simulation: Simulation, std: float, interval: float, generator: torch.Generator) -> None:
    """Push roots with a sudden velocity of N(0, std) m/s, each once in `interval` seconds on average."""
    pushed = at_random(simulation.num_envs, interval, generator)
    if std > 0 and pushed.any():
        push(simulation, pushed, std, generator)


@dataclass(frozen=True)
class Pushes:
    """Everybody is pushed at once, at a fixed rate: how a policy's steadiness is measured.

    Args:
        std: of the change of velocity in x and y, m/s.
        interval: s.
        seed: of the changes.
    """

    std: float = 0.4
    interval: float = 2.0
    seed: int = 0
    _generator: torch.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_generator", torch.Generator().manual_seed(self.seed))

    def __call__(self, simulation: Simulation, step: int) -> bool:
        """Push if one is due after control step `step` of the episodes; tells whether it did."""
        due = (step + 1) % round(self.interval / CONTROL_DT) == 0
        if due:
            push(simulation, torch.ones(simulation.num_envs, dtype=torch.bool), self.std, self._generator)
        return due
