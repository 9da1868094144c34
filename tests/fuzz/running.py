"""Runs a loader on many spoilt inputs in a process of its own, within bounds of memory and time."""

import json
import os
import resource
import shutil
import signal
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mwl.core.errors import MwlError

MEMORY = 2 * 2**30  # bytes on top of what the process has
SECONDS = 20  # CPU, for one input
LONGEST = 500  # characters of a message


@dataclass(frozen=True)
class Target:
    """A loader of files that somebody may hand in.

    Args:
        name: of the loader.
        make: writes sound files into an empty folder.
        spoil: changes them.
        load: reads them.
        sound: raises AssertionError for what should not have been read.
        share: of the inputs that are asked for, for loaders that are slow.
    """

    name: str
    make: Callable[[Path], None]
    spoil: Callable[[np.random.Generator, Path], None]
    load: Callable[[Path], Any]
    sound: Callable[[Any], None]
    share: float = 1.0


def fuzz(target: Target, folder: Path, first: int, count: int) -> dict[str, Any]:
    """Counts of `refused` and `read` inputs, and `faults`, each with the number of its input.

    The same number gives the same input, so `MWL_FUZZ_FIRST=number MWL_FUZZ_INPUTS=1` repeats one.
    """
    template = folder / "sound"
    template.mkdir()
    target.make(template)
    target.sound(target.load(template))
    report = folder / "report.json"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            report.write_text(json.dumps(_within_bounds(target, template, folder / "input", first, count)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status != 0:
        at = (folder / "input.number").read_text()
        return {"refused": 0, "read": 0, "faults": [f"{target.name} {at}: the process died ({status})"]}
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def _within_bounds(target: Target, template: Path, scratch: Path, first: int, count: int) -> dict[str, Any]:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGVTALRM, _too_long)
    result: dict[str, Any] = {"refused": 0, "read": 0, "faults": []}
    for number in range(first, first + count):
        scratch.with_suffix(".number").write_text(str(number))
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(template, scratch)
        target.spoil(np.random.default_rng([zlib.crc32(target.name.encode()), number]), scratch)
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            fault = _tried(target, scratch)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if fault in ("refused", "read"):
            result[fault] += 1
        else:
            result["faults"].append(f"{target.name} {number}: {fault}")
    return result


def _tried(target: Target, scratch: Path) -> str:
    """`refused`, `read`, or what is wrong with how the loader took it."""
    try:
        loaded = target.load(scratch)
    except MwlError as error:
        if error.exit_code != 2:
            return f"exit code {error.exit_code} for bad input: {str(error)[:200]}"
        if len(str(error)) > LONGEST:
            return f"a message of {len(str(error))} characters: {str(error)[:200]}"
        return "refused"
    except BaseException as error:
        where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({' '.join(where[-4:])})"
    try:
        target.sound(loaded)
    except Exception as error:
        return f"was read, though unsound: {type(error).__name__} {' '.join(str(error).split())[:200]}"
    return "read"


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s of CPU")
