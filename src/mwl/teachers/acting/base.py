"""What teachers that act by themselves share: what they cost, one task, and where episodes begin."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mwl.core.errors import SpecMismatch
from mwl.simulation import get_task


@dataclass(frozen=True, kw_only=True)
class SearchedConfig:
    """Figures that searches found."""

    searches: dict[str, int] = field(default_factory=dict)
    """Environment steps of these searches, by name."""


class ActingTeacher(ABC):
    """Acts on one task, for N robots at once.

    Args:
        task: its name.
    """

    last = None

    def __init__(self, task: str) -> None:
        self.task, self._size = task, get_task(task).layout.size
        self._begins = torch.zeros(0, dtype=torch.bool)

    def reset(self, done: Tensor | None = None) -> None:
        """Begin new episodes where `done` `[N]` holds; None: everywhere."""
        if done is None or len(done) != len(self._begins):  # who has not acted yet begins everywhere
            self._begins = torch.zeros(0, dtype=torch.bool)
        else:
            self._begins = self._begins | done

    @torch.no_grad()
    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Action `[N, A]` in [-1, 1] at observations `[N, O]` of the task; without batch dimension likewise.

        Raises:
            SpecMismatch: observations of another size.
        """
        if observation.ndim == 1:
            return self.act(observation.unsqueeze(0), step).squeeze(0)
        if observation.shape[-1] != self._size:
            raise SpecMismatch(f"observation has {observation.shape[-1]} numbers; {self.task} shows {self._size}")
        if len(self._begins) != len(observation):
            self._begins = torch.ones(len(observation), dtype=torch.bool)
        begins, self._begins = self._begins, torch.zeros(len(observation), dtype=torch.bool)
        return self._act(observation, begins)

    @abstractmethod
    def _act(self, observation: Tensor, begins: Tensor) -> Tensor:
        """Action `[N, A]` in [-1, 1] at observations `[N, O]`; episodes begin where `begins` `[N]` holds."""
