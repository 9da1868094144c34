"""The physical world: the robot, its tasks, and environments to act in. Knows nothing of learning."""

from typing import Literal

from mwl.errors import BadInput
from mwl.simulation.embedded import EmbeddedWorld
from mwl.simulation.engine import Simulation
from mwl.simulation.env import HumanoidEnv
from mwl.simulation.robot import ROBOT, build_model
from mwl.simulation.task import ObservationLayout, Task
from mwl.simulation.tasks import TASKS, get_task

__all__ = [
    "ROBOT",
    "TASKS",
    "HumanoidEnv",
    "ObservationLayout",
    "Simulation",
    "Task",
    "build_model",
    "get_task",
    "make_env",
]

Suite = Literal["embedded", "humanoid_bench"]


def make_env(
    task: str, num_envs: int = 1, suite: Suite = "embedded", seed: int = 0, num_threads: int | None = None
) -> HumanoidEnv:
    """A TorchRL environment of batch size `[num_envs]`.

    Args:
        task: name, for example `h1-walk`.
        num_envs: parallel episodes N.
        suite: `embedded` (this package's own model).
        seed: seed of resets and goals.
        num_threads: threads of the physics; None takes one per core.

    Raises:
        UnknownTask: the suite has no such task.
        BadInput: unknown suite, or fewer than one environment.
    """
    if num_envs < 1:
        raise BadInput(f"num_envs is {num_envs}; at least one environment is needed")
    if suite != "embedded":
        raise BadInput(f"unknown suite {suite!r}; there is: embedded")
    return HumanoidEnv(EmbeddedWorld(get_task(task), num_envs, seed, num_threads))
