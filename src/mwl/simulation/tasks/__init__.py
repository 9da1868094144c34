"""The tasks of the embedded suite, by name."""

import re

from mwl import _gymnasium
from mwl._gymnasium import unknown_task
from mwl.core.errors import BadInput
from mwl.core.files import shown
from mwl.simulation.task import Task
from mwl.simulation.tasks.balance import BALANCE_HARD, BALANCE_SIMPLE
from mwl.simulation.tasks.climbing import SLIDE, STAIR
from mwl.simulation.tasks.crawl import CRAWL
from mwl.simulation.tasks.door import DOOR
from mwl.simulation.tasks.hurdle import HURDLE
from mwl.simulation.tasks.locomotion import RUN, STAND, WALK
from mwl.simulation.tasks.maze import MAZE
from mwl.simulation.tasks.pole import POLE
from mwl.simulation.tasks.push import PUSH
from mwl.simulation.tasks.reach import REACH
from mwl.simulation.tasks.sit import SIT_HARD, SIT_SIMPLE

SHIPPED = (
    *(STAND, WALK, RUN, REACH, DOOR, SIT_SIMPLE, SIT_HARD, CRAWL, HURDLE, STAIR, SLIDE, POLE, MAZE, PUSH),
    *(BALANCE_SIMPLE, BALANCE_HARD),
)
TASKS: dict[str, Task] = {task.name: task for task in SHIPPED}


def register_task(task: Task) -> Task:
    """Let a task of one's own be found by its name: by `make_env`, commands, configurations, gymnasium (`mwl/NAME-v0`).

    Returns:
        the task itself.

    Raises:
        BadInput: no task, a name that no id can have, or the name of another task.
    """
    if not isinstance(task, Task):
        raise BadInput(f"{shown(task)} is no mwl.simulation.Task")
    if not re.fullmatch(r"\w[\w.-]*", task.name, flags=re.ASCII):
        raise BadInput(f"the task name {shown(task.name)} may hold letters, digits, '_', '-' and '.' only")
    if TASKS.setdefault(task.name, task) != task:
        raise BadInput(f"there is another task named {shown(task.name)}; choose another name")
    _gymnasium.add(task.name)
    return task


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UnknownTask: there is none; the message names close matches.
    """
    if name in TASKS:
        return TASKS[name]
    raise unknown_task(name)
