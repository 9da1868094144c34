"""By which definitions something was measured, so that it is measured again when they change."""

import hashlib
from functools import cache

from mwl.robot.h1 import ASSETS
from mwl.simulation import TASKS

_VERSION = 1  # counts up when a figure is defined anew
_ROBOT = ("floor.xml", "h1.xml", "h1_hulls.xml")  # what every scene includes


@cache
def definitions(task: str) -> str:
    """Version of the figures' definitions, and the first digits of the sha256 of the robot and the task's scene."""
    scene = hashlib.sha256()
    for name in (*_ROBOT, *([TASKS[task].scene] if task in TASKS else [])):
        scene.update(name.encode() + (ASSETS / name).read_bytes())
    return f"{_VERSION}-{scene.hexdigest()[:12]}"
