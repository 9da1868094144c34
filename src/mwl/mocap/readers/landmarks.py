"""Landmarks of a moving body, from the joints of a skeleton: all that retargeting needs of a capture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mwl.mocap.readers.conventions import TO_Z_UP, settle_unit, settle_up

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of a moving body.

    Attributes:
        fps: frames per second.
        positions: `{side_landmark: [T, 3]}`, for example `left_knee`, in m, z up.
        source: file it was read from.
        read_as: rate, unit and axes it was read with, each with a word on where that is from.
    """

    fps: float
    positions: dict[str, Array]
    source: str
    read_as: dict[str, str] = field(default_factory=dict)


@dataclass
class Joint:
    """A joint of a skeleton, relative to its parent.

    Attributes:
        parent: its name; None for the root.
        offset: `[3]` or `[T, 3]` in the parent's frame.
        rotation: `[T, 3, 3]`.
    """

    parent: str | None
    offset: Array
    rotation: Array


def forward_kinematics(joints: Mapping[str, Joint], names: Mapping[str, str]) -> dict[str, Array]:
    """World positions `[T, 3]` of the joints in `names` (`{landmark: joint}`), parents coming first in `joints`."""
    needed = {joint for name in names.values() for joint in _chain(joints, name)}
    rotations: dict[str, Array] = {}
    positions: dict[str, Array] = {}
    for name, joint in joints.items():
        if name not in needed:
            continue
        if joint.parent is None:
            rotations[name] = joint.rotation
            positions[name] = np.broadcast_to(joint.offset, (len(joint.rotation), 3))
        else:
            above = rotations[joint.parent]
            rotations[name] = above @ joint.rotation
            positions[name] = positions[joint.parent] + (above @ joint.offset[..., None])[..., 0]
    return {landmark: positions[name] for landmark, name in names.items()}


def _chain(joints: Mapping[str, Joint], name: str | None) -> list[str]:
    chain = []
    while name is not None:
        chain.append(name)
        name = joints[name].parent
    return chain


def at_rest(joints: Mapping[str, Joint], names: Mapping[str, str]) -> dict[str, Array]:
    """Positions `[1, 3]` of the joints in `names` while no joint is turned."""
    still = {
        name: Joint(joint.parent, joint.offset.reshape(-1, 3).mean(axis=0), np.eye(3)[None])
        for name, joint in joints.items()
    }
    return forward_kinematics(still, names)


def upward(positions: Mapping[str, Array]) -> Array:
    """Directions `[T, 3]` from between the ankles to between the shoulders."""
    return (
        positions["left_shoulder"] + positions["right_shoulder"] - positions["left_ankle"] - positions["right_ankle"]
    ) / 2


def leg_length(positions: Mapping[str, Array]) -> float:
    """Length from hip over knee to ankle, the median over frames and the mean over both legs."""
    return sum(
        float(np.median(np.linalg.norm(positions[f"{side}_{above}"] - positions[f"{side}_{below}"], axis=-1))) / 2
        for side in ("left", "right")
        for above, below in (("hip", "knee"), ("knee", "ankle"))
    )


def in_metres_z_up(
    where: Path,
    positions: dict[str, Array],
    rest: dict[str, Array],
    *,
    up: str | None,
    unit: str | None,
    stated_unit: float | None = None,
) -> tuple[dict[str, Array], dict[str, str]]:
    """Positions in the file's own axes and unit, in m and z up; and how that was settled.

    Args:
        where: the file.
        positions: `{side_landmark: [T, 3]}`; rest: the same in the skeleton's rest pose, `[1, 3]`.
        up, unit: what the user says.
        stated_unit: metres per unit that the file says.

    Raises:
        BadInput: it can't be told which axis points up.
        CorruptFile: the limbs have no length.
    """
    metres, of_unit = settle_unit(where, leg_length(positions), unit, stated_unit)
    axis, of_axis = settle_up(where, upward(positions), up, upward(rest)[0])
    turned = {name: metres * track @ TO_Z_UP[axis].T for name, track in positions.items()}
    return turned, {"unit": of_unit, "up": of_axis}
