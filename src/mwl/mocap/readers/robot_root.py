"""How the root of a robot's clip is turned: which axis is up, and in which order a quaternion comes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mwl.core.errors import BadInput
from mwl.core.files import shown
from mwl.mocap.readers.conventions import TO_Z_UP, UNITS, Conventions, check_path
from mwl.mocap.readers.robot_table import Table

Array = NDArray[np.float64]
_UPRIGHT = 0.5  # mean cosine of the trunk's lean
_STANDS = (0.25, 1.6)  # m, heights of the pelvis of a robot that stands, squats or jumps
_WALKS = 0.1  # m/s
_ABOUT_X = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # y up, and the robot looks along x


@dataclass(frozen=True)
class _Reading:
    """One way to read the root: its path `[T, 3]` in m and its rotations, z up."""

    up: str
    order: str
    position: Array
    turn: Rotation

    def upright(self) -> bool:
        """Whether the robot's trunk points up."""
        return bool(self.turn.as_matrix()[:, 2, 2].mean() > _UPRIGHT)

    def stands(self) -> bool:
        """Whether it does so at a height at which it can."""
        low, high = np.quantile(self.position[:, 2], (0.05, 0.95))
        return bool(self.upright() and low > _STANDS[0] and high < _STANDS[1])

    def ahead(self, fps: float) -> float:
        """Mean speed in m/s along where the robot faces."""
        facing = self.turn.as_matrix()[:-1, :2, 0]
        return float((np.diff(self.position[:, :2], axis=0) * facing).sum(axis=1).mean() * fps)


def settle_root(
    path: Path, table: Table, told: Conventions, presumed: str, fps: float
) -> tuple[Array, Rotation, dict[str, str]]:
    """The root's path `[T, 3]` in m and its rotations, z up; and how unit, axes and quaternion were settled.

    Args:
        path: the file; table: what it holds.
        told: what the user says.
        presumed: order of the quaternion, `wxyz` or `xyzw`, that such files usually have.
        fps: frames per second.

    Raises:
        BadInput: several readings are as good, or none is.
    """
    if told.quaternion and table.order:
        raise BadInput(f"{shown(path)}: its first line names the parts of the quaternion; leave out --quaternion")
    position = table.position * UNITS[told.unit or "m"]
    order = told.quaternion or table.order
    orders = [order] if order else [presumed, "xyzw" if presumed == "wxyz" else "wxyz"]
    readings = list(_readings(position, table.quaternion, [told.up] if told.up else ["z", "y"], orders))
    heights = [reading.position[:, 2] for reading in readings if reading.upright()]
    if heights and not any(reading.stands() for reading in readings):
        check_path(path, max(heights, key=lambda height: float(np.median(np.abs(height)))))
    chosen = readings[0] if len(readings) == 1 else _choose(path, readings, told, fps)
    of_up = "--up" if told.up else "of this format" if chosen.up == "z" else "the robot stands along it"
    of_order = "of this format" if chosen.order == presumed else "the robot stands upright so"
    of_order = "--quaternion" if told.quaternion else "its first line names it" if table.order else of_order
    return (
        chosen.position,
        chosen.turn,
        {
            "unit": f"{told.unit} (--unit)" if told.unit else "m (of this format)",
            "up": f"{chosen.up} ({of_up})",
            "quaternion": f"{chosen.order} ({of_order})",
        },
    )


def _readings(position: Array, quaternion: Array, axes: list[str], orders: list[str]) -> Iterator[_Reading]:
    """All readings, the usual one first. Where y is up, it is so for the world alone, or for the robot as well."""
    for axis in axes:
        for order in orders:
            turn = Rotation.from_quat(quaternion, scalar_first=order == "wxyz")
            if axis == "z":
                yield _Reading(axis, order, position, turn)
                continue
            for matrix, own in ((_ABOUT_X, False), (_ABOUT_X, True), (TO_Z_UP["y"], True)):
                to_z_up = Rotation.from_matrix(matrix)
                turned = to_z_up * turn * to_z_up.inv() if own else to_z_up * turn
                yield _Reading(axis, order, position @ matrix.T, turned)


def _choose(path: Path, readings: list[_Reading], told: Conventions, fps: float) -> _Reading:
    """The one reading in which the robot stands; of several, the usual one, unless the robot walks backward in it.

    Raises:
        BadInput: none, or several that are as good.
    """
    standing = [reading for reading in readings if reading.stands()]
    kinds = {(reading.up, reading.order) for reading in standing}
    if len(kinds) == 1:  # they differ in no more than where the robot looks
        return max(standing, key=lambda reading: round(reading.ahead(fps), 1))
    usual = readings[0]
    if told.up and len({reading.order for reading in readings}) == 1:
        return usual
    if usual in standing:
        speed, looks_ahead = usual.ahead(fps), usual.turn.as_matrix()[0, 0, 0] > 0
        if speed > _WALKS or (abs(speed) <= _WALKS and looks_ahead):
            return usual
    open_flags = {"--up y|z": told.up, "--quaternion wxyz|xyzw": told.quaternion}
    flags = " and ".join(flag for flag, value in open_flags.items() if value is None)
    what = " as well as ".join(f"with {axis} up and {order}" for axis, order in sorted(kinds))
    how = f"it stands {what}" if kinds else "it stands in no reading"
    raise BadInput(f"{shown(path)}: can't tell how its root is turned ({how}); {flags} says it")
