"""Work in a fork of this process, which may be killed at any of the moments at which files change."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import in_child

MOMENTS = ("replace", "rename", "fsync")  # calls of `os` between which files stay as they are


def at_moment(number: int, act: Callable[[], None]) -> list[int]:
    """Act just before the moment of that number in this process; returns a list that grows by each moment."""
    passed: list[int] = []

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            passed.append(len(passed))
            if len(passed) - 1 == number:
                act()
            return original(*arguments, **options)

        return call

    for name in MOMENTS:
        setattr(os, name, watched(getattr(os, name)))
    return passed


def killed(number: int, work: Callable[[], Any], signum: int = signal.SIGKILL) -> Callable[[], Any]:
    """The work, ended by a signal at a moment."""

    def run() -> Any:
        at_moment(number, lambda: os.kill(os.getpid(), signum))
        return work()

    return run


def moments(work: Callable[[], Any], folder: Path) -> int:
    """How many moments the work has."""

    def run() -> int:
        passed = at_moment(-1, lambda: None)
        code = int(work() or 0)
        (folder / "moments").write_text(str(len(passed)))
        return code

    assert in_child(run, folder / "log") == 0, (folder / "log").read_text()
    return int((folder / "moments").read_text())
