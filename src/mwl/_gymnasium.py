"""Gymnasium ids of the embedded tasks, `mwl/<task>-v0`: registered by name, so that nothing is imported before use.

Registering takes gymnasium, whose import takes longer than all of `import mwl`; so it waits until something else
imports gymnasium, and happens at once where it already has been.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from mwl.core.errors import UnknownTask, did_you_mean

TASK_NAMES = [
    "h1-stand",
    "h1-walk",
    "h1-run",
    "h1-reach",
    "h1-door",
    "h1-sit_simple",
    "h1-sit_hard",
    "h1-crawl",
    "h1-hurdle",
    "h1-stair",
    "h1-slide",
    "h1-pole",
    "h1-maze",
    "h1-push",
    "h1-balance_simple",
    "h1-balance_hard",
]
"""Of the shipped tasks, and of those that were added since."""


def register() -> None:
    """Make the ids known to `gymnasium.make` and `gymnasium.make_vec`."""
    import gymnasium

    for task in TASK_NAMES:
        if f"mwl/{task}-v0" not in gymnasium.registry:
            gymnasium.register(
                id=f"mwl/{task}-v0",
                entry_point="mwl.simulation.gym:HumanoidGymEnv",
                vector_entry_point="mwl.simulation.gym:HumanoidVectorEnv",
                kwargs={"task": task},
            )


def unknown_task(name: str) -> UnknownTask:
    """What to say of a task that there is not."""
    hint = did_you_mean(name, TASK_NAMES) or f"; tasks: {', '.join(TASK_NAMES)}"
    return UnknownTask(f"no task {name!r:.80} in the embedded suite{hint} (--import FILE.py for your own)")


def add(task: str) -> None:
    """Give a further task an id, now or once gymnasium is imported."""
    if task not in TASK_NAMES:
        TASK_NAMES.append(task)
    if "gymnasium" in sys.modules:
        register()


class RegisteringFinder(MetaPathFinder):
    """Finds gymnasium as usual, and registers the ids once it has been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of `gymnasium` with a loader that registers; None for every other module."""
        spec = PathFinder.find_spec(fullname, path) if fullname == "gymnasium" else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


if "gymnasium" in sys.modules:
    register()
elif not any(isinstance(finder, RegisteringFinder) for finder in sys.meta_path):
    sys.meta_path.insert(0, RegisteringFinder())
