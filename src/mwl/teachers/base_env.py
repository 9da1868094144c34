"""What the environments share in which teachers train: N robots whose episodes begin anew one by one, for PPO alone."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mwl.simulation import Simulation


class BaseTrainingEnv(ABC):
    """N robots of a batched simulation.

    Args:
        simulation: advances one control step of 20 ms per call.
        episode_steps: control steps after which an episode is cut.
        seed: of all that is drawn.
    """

    preferred_speed = 0.0  # there is no speed curriculum

    def __init__(self, simulation: Simulation, episode_steps: int, seed: int) -> None:
        self.num_envs, self._simulation, self._episode_steps = simulation.num_envs, simulation, episode_steps
        self._generator = torch.Generator().manual_seed(seed)
        self._age = torch.zeros(self.num_envs, dtype=torch.int64)

    def reset(self) -> Tensor:
        """Begin every episode at a random age, lest they all end at once; returns the observation `[N, O]`."""
        self._begin(torch.ones(self.num_envs, dtype=torch.bool))
        self._age = torch.randint(0, self._episode_steps, (self.num_envs,), generator=self._generator)
        return self.observe()

    @abstractmethod
    def observe(self) -> Tensor:
        """Observation `[N, O]` of the present state."""

    @abstractmethod
    def _begin(self, mask: Tensor) -> None:
        """Start new episodes where `mask` `[N]` holds."""

    def _truncated(self, terminated: Tensor) -> Tensor:
        """Where `[N]` an episode that was not `terminated` `[N]` has lasted as long as it may."""
        return ~terminated & (self._age >= self._episode_steps)

    def _state(self) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self._simulation.qpos).float(), torch.from_numpy(self._simulation.qvel).float()

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self._generator)
