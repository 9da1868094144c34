"""Tables of this robot's poses (.csv): commas, tabs, semicolons or spaces, with or without a line of names."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mwl.core.files import shown
from mwl.mocap.readers.conventions import clip_text
from mwl.robot.h1 import JOINT_NAMES, ROBOT_NQ

Array = NDArray[np.float64]
_POSITION = re.compile(r"^(?:(?:root|base|pelvis|pos|position|trans|translate|translation|p)[ _.]?)*([xyz])$")
_QUATERNION = re.compile(
    r"^(?:(?:root|base|pelvis)[ _.]?)?(?:q|quat|quaternion|rot|rotation|orientation)[ _.]?([wxyz])$"
)
_TIMES = ("t", "time", "timestamp", "seconds", "time_s")
_COUNTERS = ("frame", "index", "step", "")


@dataclass
class Table:
    """What a file holds of a robot's motion, as far as it says.

    Attributes:
        position: `[T, 3]`; quaternion: `[T, 4]`; joints: `[T, 19]`, in the order of `names`.
        names: of joints.
        order: of the quaternion, `wxyz` or `xyzw`, where the file says.
        fps: frames per second, where the file says.
    """

    position: Array
    quaternion: Array
    joints: Array
    names: list[str]
    order: str | None = None
    fps: float | None = None


def read_table(path: Path) -> Table:
    """Read a table: root position in m, root quaternion and 19 joint angles in rad per line.

    Raises:
        ValueError: it is none.
    """
    rows = _rows(clip_text(path))
    header = None if _are_numbers(rows[0]) else [name.strip() for name in rows.pop(0)]
    if not rows:
        raise ValueError("it holds no numbers")
    widths = {len(row) for row in rows} | ({len(header)} if header else set())
    if len(widths) > 1:
        raise ValueError(f"its lines have {min(widths)} to {max(widths)} columns")
    numbers = np.array([[float(value) for value in row] for row in rows])
    if header is None:
        if numbers.shape[1] != ROBOT_NQ:
            raise ValueError(
                f"{numbers.shape[1]} columns; expected {ROBOT_NQ} columns: position, quaternion and "
                f"{len(JOINT_NAMES)} joints"
            )
        return Table(numbers[:, :3], numbers[:, 3:7], numbers[:, 7:], list(JOINT_NAMES))
    return _named(header, numbers)


def plain(name: str) -> str:
    """A joint's name without the ending that some models give it."""
    return name.strip().removesuffix("_joint")


def _rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError("it is empty")
    delimiter = next((mark for mark in ("\t", ";", ",") if mark in lines[0]), None)
    if delimiter is None:
        return [line.split() for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]


def _named(header: list[str], numbers: Array) -> Table:
    """A table by the names of its columns, in whatever order they come."""
    fps, kept = None, []
    for column, name in enumerate(header):
        if name.lower() in _TIMES:
            fps = _rate(numbers[:, column])
        elif name.lower() not in _COUNTERS:
            kept.append(column)
    position = {match[1]: i for i in kept if (match := _POSITION.match(header[i].lower()))}
    quaternion = {match[1]: i for i in kept if (match := _QUATERNION.match(header[i].lower()))}
    if quaternion and (len(quaternion) != 4 or len(position) != 3):
        raise ValueError(f"its first line names {', '.join(shown(Path(header[i])) for i in kept[:7])} for the root")
    if not quaternion:  # names that say nothing: the usual order
        if len(kept) != ROBOT_NQ:
            raise ValueError(f"{len(kept)} columns of poses; expected {ROBOT_NQ} columns")
        joints = kept[7:]
        return Table(
            numbers[:, kept[:3]], numbers[:, kept[3:7]], numbers[:, joints], [plain(header[i]) for i in joints], fps=fps
        )
    root = {*position.values(), *quaternion.values()}
    joints = [i for i in kept if i not in root]
    return Table(
        numbers[:, [position[axis] for axis in "xyz"]],
        numbers[:, [quaternion[axis] for axis in "wxyz"]],
        numbers[:, joints],
        [plain(header[i]) for i in joints],
        "wxyz",
        fps,
    )


def _rate(times: Array) -> float:
    steps = np.diff(times)
    step = float(np.median(steps)) if len(steps) else 0.0
    if not step > 0 or (abs(steps - step) > 0.05 * step).any():
        raise ValueError("its times are uneven; resample it first")
    return 1 / step


def _are_numbers(row: list[str]) -> bool:
    try:
        [float(value) for value in row]
    except ValueError:
        return False
    return True
