"""A teacher that acts by itself, as an agent: for skills whose clone would add nothing."""

from pathlib import Path

from torch import Tensor

from mwl.core.artifact import read_manifest
from mwl.core.errors import UnknownAgent
from mwl.robot.h1 import ROBOT
from mwl.simulation import build_model, get_task
from mwl.teachers import task as of_task
from mwl.teachers.acting.base import ActingTeacher
from mwl.teachers.ground_heights import Ground, GroundConfig
from mwl.teachers.task import TaskPolicy
from mwl.teachers.teacher import STAGE, TrackingPolicy

STAGES = (STAGE, of_task.STAGE)


class TaughtAgent(ActingTeacher):
    """Acts on the task that its teacher was made for.

    Args:
        task: its name.
        teacher: who says what to do.
    """

    def __init__(self, task: str, teacher: TaskPolicy | TrackingPolicy) -> None:
        super().__init__(task)
        self._teacher = teacher

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

    def _act(self, observation: Tensor, begins: Tensor) -> Tensor:
        if begins.any():
            self._teacher.reset(observation, begins)
        action = self._teacher.act(observation).clamp(-1, 1)
        self._teacher.executed(action)
        return action


def ground_of(task: str) -> Ground:
    """Where the hurdles of a task's scene are, along its x axis."""
    return Ground(build_model(get_task(task)), GroundConfig(strips=[0.0], sees=True))
