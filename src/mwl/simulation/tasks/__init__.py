"""The tasks of the embedded suite, by name."""

import difflib

from mwl.errors import UnknownTask
from mwl.simulation.task import Task
from mwl.simulation.tasks.locomotion import RUN, WALK
from mwl.simulation.tasks.reach import REACH
from mwl.simulation.tasks.stand import STAND

TASKS: dict[str, Task] = {task.name: task for task in (STAND, WALK, RUN, REACH)}


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UnknownTask: there is none; the message names close matches.
    """
    if name in TASKS:
        return TASKS[name]
    close = difflib.get_close_matches(name, TASKS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"tasks: {', '.join(TASKS)}"
    raise UnknownTask(f"no task {name!r} in the embedded suite; {hint}")
