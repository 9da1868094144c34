"""A teacher that acts by itself, as an agent: for skills whose clone would add nothing."""

from pathlib import Path

import torch
from torch import Tensor

from mwl.core.artifact import read_manifest
from mwl.core.errors import SpecMismatch, UnknownAgent
from mwl.robot.h1 import ROBOT
from mwl.simulation import build_model, get_task
from mwl.teachers import task as of_task
from mwl.teachers.ground import Ground, GroundConfig
from mwl.teachers.task import TaskPolicy
from mwl.teachers.teacher import STAGE, TrackingPolicy

STAGES = (STAGE, of_task.STAGE)


class TaughtAgent:
    """Acts on the task that its teacher was made for.

    Args:
        task: its name.
        teacher: who says what to do.
    """

    last = None

    def __init__(self, task: str, teacher: TaskPolicy | TrackingPolicy) -> None:
        self.task, self._teacher = task, teacher
        self._size = get_task(task).layout.size
        self._begins = torch.zeros(0, dtype=torch.bool)

    @classmethod
    def load(cls, folder: Path | str) -> "TaughtAgent":
        """Load the artifact of a teacher.

        Raises:
            MissingFile, CorruptFile, SpecMismatch: see `mwl.core.artifact.read_manifest`.
            UnknownAgent: a teacher that is to be cloned, not to act.
        """
        manifest = read_manifest(folder, robot=ROBOT)
        task = manifest.get("task")
        if manifest.stage not in STAGES or task is None:
            raise UnknownAgent(f"{folder}: holds a {manifest.stage} without a task of its own, which can't act")
        if manifest.stage == of_task.STAGE:
            return cls(task, TaskPolicy.load(folder))
        return cls(task, TrackingPolicy.load(folder, ground=ground_of(task)))

    def reset(self, done: Tensor | None = None) -> None:
        """Begin new episodes where `done` `[N]` holds; None: everywhere."""
        self._begins = torch.zeros(0, dtype=torch.bool) if done is None else self._begins | done

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
        if self._begins.any():
            self._teacher.reset(observation, self._begins)
            self._begins = torch.zeros_like(self._begins)
        action = self._teacher.act(observation).clamp(-1, 1)
        self._teacher.executed(action)
        return action


def ground_of(task: str) -> Ground:
    """Where the hurdles of a task's scene are, along its x axis."""
    return Ground(build_model(get_task(task)), GroundConfig(strips=[0.0], sees=True))
