"""The tasks of the embedded suite, by name."""

import difflib

from mwl.core.errors import UnknownTask
from mwl.core.files import shown
from mwl.simulation.task import Task
from mwl.simulation.tasks.climbing import SLIDE, STAIR
from mwl.simulation.tasks.crawl import CRAWL
from mwl.simulation.tasks.door import DOOR
from mwl.simulation.tasks.hurdle import HURDLE
from mwl.simulation.tasks.locomotion import RUN, WALK
from mwl.simulation.tasks.maze import MAZE
from mwl.simulation.tasks.pole import POLE
from mwl.simulation.tasks.push import PUSH
from mwl.simulation.tasks.reach import REACH
from mwl.simulation.tasks.sit import SIT_SIMPLE
from mwl.simulation.tasks.stand import STAND

_ALL = (STAND, WALK, RUN, REACH, DOOR, SIT_SIMPLE, CRAWL, HURDLE, STAIR, SLIDE, POLE, MAZE, PUSH)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UnknownTask: there is none; the message names close matches.
    """
    if name in TASKS:
        return TASKS[name]
    close = difflib.get_close_matches(name, TASKS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"tasks: {', '.join(TASKS)}"
    raise UnknownTask(f"no task {shown(name)} in the embedded suite; {hint}")
