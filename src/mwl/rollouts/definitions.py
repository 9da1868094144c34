"""By which definitions something was measured, so that it is measured again when they change."""

import hashlib
from functools import lru_cache

from mwl.robot.h1 import ASSETS

_VERSION = 1  # counts up when a figure is defined anew


@lru_cache(maxsize=1)
def definitions() -> str:
    """Version of the figures' definitions, and the first digits of the sha256 of the robot and its scenes."""
    scenes = hashlib.sha256()
    for path in sorted(ASSETS.rglob("*")):
        if path.is_file():
            scenes.update(path.name.encode() + path.read_bytes())
    return f"{_VERSION}-{scenes.hexdigest()[:12]}"
