"""Which suites there are, and how to make a world of each."""

import importlib
from typing import Literal, cast, get_args

from mwl.errors import BadInput
from mwl.simulation.embedded import EmbeddedWorld
from mwl.simulation.tasks import get_task
from mwl.simulation.world import World

Suite = Literal["embedded", "humanoid_bench"]


def make_world(
    task: str, num_envs: int = 1, suite: Suite = "embedded", seed: int = 0, num_threads: int | None = None
) -> World:
    """N parallel episodes of a task of a suite.

    Raises:
        UnknownTask: the suite has no such task.
        BadInput: unknown suite, or fewer than one environment.
        MissingDependency: the suite is an optional package that isn't installed.
    """
    if num_envs < 1:
        raise BadInput(f"num_envs is {num_envs}; at least one environment is needed")
    if suite == "embedded":
        return EmbeddedWorld(get_task(task), num_envs, seed, num_threads)
    if suite == "humanoid_bench":
        official = importlib.import_module("mwl.simulation.official")  # only here, as it patches other packages
        return cast(World, official.OfficialWorld(task, num_envs, seed))
    raise BadInput(f"unknown suite {suite!r}; there are: {', '.join(get_args(Suite))}")
