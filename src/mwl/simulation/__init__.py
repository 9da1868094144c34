"""The physical world: the robot, its tasks, and environments to act in. Knows nothing of learning."""

from mwl.simulation.engine import Simulation
from mwl.simulation.env import HumanoidEnv
from mwl.simulation.robot import ROBOT, build_model
from mwl.simulation.suites import Suite, make_world
from mwl.simulation.task import ObservationLayout, Task, TaskSpec
from mwl.simulation.tasks import TASKS, get_task

__all__ = [
    "ROBOT",
    "TASKS",
    "HumanoidEnv",
    "ObservationLayout",
    "Simulation",
    "Suite",
    "Task",
    "TaskSpec",
    "build_model",
    "get_task",
    "make_env",
]


def make_env(
    task: str, num_envs: int = 1, suite: Suite = "embedded", seed: int = 0, num_threads: int | None = None
) -> HumanoidEnv:
    """A TorchRL environment of batch size `[num_envs]`.

    Args:
        task: name, for example `h1-walk`.
        num_envs: parallel episodes N.
        suite: `embedded` (this package's own model) or `humanoid_bench` (the official package, if installed).
        seed: seed of resets and goals.
        num_threads: threads of the physics; None takes one per core. The official package runs on one.

    Raises:
        UnknownTask: the suite has no such task.
        BadInput: unknown suite, or fewer than one environment.
        MissingDependency: the official package isn't installed; the message names the command.
    """
    return HumanoidEnv(make_world(task, num_envs, suite, seed, num_threads))
