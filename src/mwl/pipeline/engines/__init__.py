"""Engines: where the stages of a pipeline run. Each is an `Executor`, and needs a package only where it is chosen."""

import math
from importlib.util import find_spec

from mwl.core.errors import ConfigError, MissingDependency
from mwl.pipeline.config import Pipeline
from mwl.pipeline.engines.executor import Ended, Executor

__all__ = ["Ended", "Executor", "check", "start"]
_PACKAGES = {"ray": "ray", "slurm": "submitit"}


def check(pipeline: Pipeline) -> None:
    """Refuse an engine that can't be started, before anything is.

    Raises:
        ConfigError: settings of another engine than the one that is chosen.
        MissingDependency: its package is not installed.
    """
    for key, value, engine in (("address", pipeline.address, "ray"), ("slurm", pipeline.slurm, "slurm")):
        if value and pipeline.engine != engine:
            raise ConfigError(f"`{key}` is of `engine: {engine}`, and the engine here is {pipeline.engine!r}")
    package = _PACKAGES.get(pipeline.engine)
    if package and find_spec(package) is None:
        raise MissingDependency(f"engine {pipeline.engine!r} needs {package}: pip install 'mwl[cluster]'")


def start(pipeline: Pipeline) -> Executor:
    """Start the pipeline's engine, or connect to it.

    Raises:
        BadInput: it can't be reached, or refuses its settings.
    """
    slots = pipeline.max_parallel or math.inf
    if pipeline.engine == "ray":
        from mwl.pipeline.engines.ray import RayExecutor

        return RayExecutor(slots, pipeline.address)
    if pipeline.engine == "slurm":
        from mwl.pipeline.engines.slurm import SlurmExecutor

        return SlurmExecutor(slots, pipeline.slurm, pipeline.folder)
    from mwl.pipeline.engines.local import LocalExecutor

    return LocalExecutor(pipeline.max_parallel)
