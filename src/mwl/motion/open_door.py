"""Opening the door in two parts: pulling the leaf ajar by its handle, then opening it wide and holding it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mwl.errors import BadInput
from mwl.motion.door_teacher import HandlePull
from mwl.simulation import get_task

SKILLS = ("handle_pull", "hold_door")


@dataclass(frozen=True)
class OpenDoorConfig:
    """When the handle is no longer needed."""

    ajar: float = 0.3
    """Angle of the leaf in rad past which `hold_door` takes over: the bolt keeps the leaf from shutting."""
    lost: float = 0.15
    """Angle of the leaf in rad below which it has to be pulled by its handle again."""

    def __post_init__(self) -> None:
        if not 0 <= self.lost < self.ajar:
            raise BadInput(f"open_door: lost is {self.lost}, ajar {self.ajar}; needed is 0 <= lost < ajar, in rad")


class OpenDoor:
    """Demonstrator of h1-door that shows two skills in turn; `skill` says which one each robot shows.

    One teacher shows both. As it takes over an open leaf it begins anew, as from rest: so it goes on alike from
    whatever another one, an expert that only pulls, has left behind.

    Args:
        teacher: pulls the leaf ajar, opens it wide and holds it.
        config: when it needs the handle no longer.
    """

    name = "open_door"
    command: Tensor | None = None
    skills = SKILLS

    def __init__(self, teacher: HandlePull, config: OpenDoorConfig | None = None) -> None:
        self.config, self._teacher = config or OpenDoorConfig(), teacher
        self.noise_scale = teacher.noise_scale
        self.skill = torch.zeros(0, dtype=torch.int64)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew where `mask` `[N]` holds."""
        count = len(observation)
        if mask is None or len(self.skill) != count:
            mask, self.skill = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.int64)
        self._teacher.reset(observation, mask)
        self.skill = torch.where(mask, 0, self.skill)

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at observations `[N, 55]` of h1-door."""
        hinge = observation[:, get_task("h1-door").layout.slices["door_qpos"]][:, 0]
        opened = (self.skill == 0) & (hinge > self.config.ajar)
        if opened.any():
            self._teacher.take_over(observation, opened)
        shut = (self.skill == 1) & (hinge < self.config.lost)
        self.skill = torch.where(opened, 1, torch.where(shut, 0, self.skill))
        return self._teacher.act(observation)

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed."""
        self._teacher.executed(action)

    def acted(self, skill: Tensor) -> None:
        """Hear which skills `[N]` were shown instead of its own; whose turn it is, the leaf alone decides."""

    def describe(self) -> dict[str, Any]:
        """Provenance of the teacher."""
        return {**self._teacher.describe(), "teacher": self._teacher.name}
