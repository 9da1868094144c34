"""Which suites there are, and how to make a world of each."""

import importlib
from typing import Literal, cast, get_args

import numpy as np

from mwl.core.errors import BadInput
from mwl.core.files import shown
from mwl.core.machine import free_memory
from mwl.simulation.embedded import EmbeddedWorld
from mwl.simulation.shift import Shift, Shifts, one_each
from mwl.simulation.task import Task, TaskSpec
from mwl.simulation.tasks import get_task
from mwl.simulation.world import World, valid_seed

Suite = Literal["embedded", "humanoid_bench"]
BYTES_PER_ENV = 16_384  # states of ten physics steps, controls, sensors, a generator, and what TorchRL copies of them


def make_world(
    task: str | TaskSpec,
    num_envs: int = 1,
    suite: Suite = "embedded",
    seed: int | None = 0,
    num_threads: int | None = None,
    shift: Shifts | None = None,
) -> World:
    """N parallel episodes of a task of a suite.

    Args:
        task: name, for example `h1-walk`, or the task itself, as of one's own.
        num_envs: N.
        suite: `embedded` or `humanoid_bench`.
        seed: of resets and goals; None takes one from the system.
        num_threads: threads of the physics; None takes one per core.
        shift: what is changed in the world, in all environments or in each; of the embedded suite alone.

    Raises:
        UnknownTask: the suite has no such task.
        BadInput: unknown suite, no task, a seed or number of threads out of bounds, fewer than one environment or more
            than fit into memory, shifts of another number or suite.
        MissingDependency: the suite is an optional package that isn't installed.
    """
    _check_count("num_envs", num_envs)
    if num_threads is not None:
        _check_count("num_threads", num_threads)
    if seed is not None:
        seed = valid_seed(seed)
    if not isinstance(task, str | TaskSpec):
        raise BadInput(f"task is {shown(task)}; it must be a name, for example h1-walk, or a Task")
    _check_memory(num_envs)
    if suite == "embedded":
        found = task if isinstance(task, Task) else get_task(task if isinstance(task, str) else task.name)
        return EmbeddedWorld(found, num_envs, seed, num_threads, shift)
    if suite == "humanoid_bench":
        if shift is not None and any(one != Shift() for one in one_each(shift, num_envs)):
            raise BadInput("a shift changes the embedded suite alone; the official one stays as it was published")
        official = importlib.import_module("mwl.simulation.official")  # only here, as it patches other packages
        return cast(World, official.OfficialWorld(task if isinstance(task, str) else task.name, num_envs, seed))
    raise BadInput(f"unknown suite {shown(suite)}; there are: {', '.join(get_args(Suite))}")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise BadInput(f"{name} is {shown(value)}; it must be a whole number, at least one")


def _check_memory(num_envs: int) -> None:
    """Refuse what the machine can't hold before it is asked for: it might be given, and the process killed later."""
    free, needed = free_memory(), num_envs * BYTES_PER_ENV
    if free is not None and needed > free:
        raise BadInput(
            f"{shown(num_envs)} environments at once take about {needed / 2**30:.3g} GiB of memory; "
            f"{free / 2**30:.3g} are free"
        )
