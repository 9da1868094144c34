"""The physical world: the robot, its tasks, and environments to act in. Knows nothing of learning."""

from typing import TYPE_CHECKING

from mwl._lazy import lazy
from mwl.robot.h1 import ROBOT, build_model
from mwl.simulation.engine import Simulation
from mwl.simulation.shift import Shift, Shifts
from mwl.simulation.task import ObservationLayout, Task, TaskSpec
from mwl.simulation.tasks import TASKS, get_task, register_task

if TYPE_CHECKING:
    from mwl.simulation.env import HumanoidEnv
    from mwl.simulation.suites import Suite

__all__ = [
    "ROBOT",
    "TASKS",
    "HumanoidEnv",
    "ObservationLayout",
    "Shift",
    "Simulation",
    "Suite",
    "Task",
    "TaskSpec",
    "build_model",
    "get_task",
    "make_env",
    "register_task",
]

__getattr__, __dir__ = lazy(__name__, {"HumanoidEnv": "mwl.simulation.env", "Suite": "mwl.simulation.suites"})


def make_env(
    task: str | TaskSpec,
    num_envs: int = 1,
    suite: "Suite" = "embedded",
    seed: int | None = 0,
    num_threads: int | None = None,
    shift: Shifts | None = None,
) -> "HumanoidEnv":
    """A TorchRL environment of batch size `[num_envs]`.

    Args:
        task: name, for example `h1-walk`, or the task itself, as of one's own.
        num_envs: parallel episodes N.
        suite: `embedded` (this package's own model) or `humanoid_bench` (the official package, if installed).
        seed: seed of resets and goals; None takes one from the system.
        num_threads: threads of the physics; None takes `OMP_NUM_THREADS`, else one per core that this process may use.
            The official package runs on one.
        shift: what is changed in the world, in all environments or in each: a load, weak motors, a slope, late senses.

    Raises:
        UnknownTask: the suite has no such task.
        BadInput: unknown suite, no task, a seed or number of threads out of bounds, fewer than one environment or more
            than fit into memory; shifts that are not one for each environment, or of the official suite.
        MissingDependency: the official package isn't installed; the message names the command.
    """
    from mwl.simulation.env import HumanoidEnv
    from mwl.simulation.suites import make_world

    return HumanoidEnv(make_world(task, num_envs, suite, seed, num_threads, shift))
