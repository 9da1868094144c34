"""Coming down from a run to a walk: the running teacher brakes, and the walking one goes on in the same stride."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mwl.core.errors import BadInput
from mwl.robot.h1 import CONTROL_DT
from mwl.teachers.teacher import TrackingPolicy

SKILLS = ("run", "slow_down")


@dataclass(frozen=True)
class SlowDownConfig:
    """When and how a running robot slows down."""

    after: tuple[float, float] = (1.6, 4.5)
    """Seconds of running, drawn evenly from between."""
    rate: ClassVar[float] = 2.0
    """Change of the commanded speed, m/s^2."""
    speed: ClassVar[float] = 0.8
    """Speed in m/s that the runner is told, though the walker takes over before."""
    walk_below: ClassVar[float] = 1.6
    """Commanded speed in m/s from which on the walker acts."""
    walk: ClassVar[float] = 1.1
    """Speed in m/s at which it goes on."""

    def __post_init__(self) -> None:
        low, high = self.after
        if not 0 <= low <= high:
            raise BadInput(f"slow_down: after is {list(self.after)}; needed are seconds in order")


class SlowDown:
    """Demonstrator that runs, and after a while slows down to a walk; `skill` says which of the two each robot shows.

    The walker begins at the phase of its gait whose pose is closest to the robot's: begun at a fixed phase it fell in
    18 of 64 cases, so in none.

    Args:
        runner: a running teacher, trained on commands down to a walk.
        walker: a walking teacher.
        config: when and how.
        seed: of the moments at which robots slow down.
    """

    name = "slow_down"
    command: Tensor | None = None
    skills = SKILLS

    def __init__(
        self, runner: TrackingPolicy, walker: TrackingPolicy, config: SlowDownConfig | None = None, seed: int = 0
    ) -> None:
        self.config, self._runner, self._walker = config or SlowDownConfig(), runner, walker
        self._generator = torch.Generator().manual_seed(seed)
        self.skill = torch.zeros(0, dtype=torch.int64)
        self._left = self._walks = torch.zeros(0)

    @property
    def noise_scale(self) -> Tensor:
        """`[N, A]`, that of the teacher that acts."""
        return torch.where(self._walks.unsqueeze(-1), self._walker.noise_scale, self._runner.noise_scale)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin to run from standing where `mask` `[N]` holds."""
        count = len(observation)
        if mask is None or len(self.skill) != count:
            mask, self.skill = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.int64)
            self._left, self._walks = self.skill.clone(), torch.zeros(count, dtype=torch.bool)
        self._runner.reset(observation, mask)
        self._walker.reset(observation, mask)
        low, high = (round(seconds / CONTROL_DT) for seconds in self.config.after)
        drawn = torch.randint(low, high + 1, (count,), generator=self._generator)
        self._left = torch.where(mask, drawn, self._left)  # steps until it slows down
        self._walks = self._walks & ~mask
        self.skill = self.skill.masked_fill(mask, 0)

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at observations `[N, O]` that begin with the robot's qpos and qvel."""
        begins = self._left == 0
        if begins.any():
            self._runner.change_speed(begins, self.config.speed, self.config.rate)
        self.skill = (self._left <= 0).long()
        arrives = (self._left <= 0) & ~self._walks & (self._runner.speed <= self.config.walk_below)
        if arrives.any():
            self._walker.start_at(observation, arrives)
        self._walks = self._walks | arrives
        self._left = self._left - 1
        running, walking = self._runner.act(observation), self._walker.act(observation)
        return torch.where(self._walks.unsqueeze(-1), walking, running)

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed."""
        self._runner.executed(action)
        self._walker.executed(action)

    def describe(self) -> dict[str, Any]:
        """Provenance of the runner, and what the walker cost besides."""
        told, walker = self._runner.describe(), self._walker.describe()
        trainings = {self._runner.name: told["training_env_steps"], self._walker.name: walker["training_env_steps"]}
        return {**told, "training_env_steps": sum(trainings.values()), "trainings": trainings}
