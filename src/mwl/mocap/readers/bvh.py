"""Reader of BVH: the hierarchy and its channels as the file states them, in any order, case, spacing and encoding."""

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mwl.core.files import shown
from mwl.mocap.readers.conventions import Conventions, check_length, clip_text, settle_fps
from mwl.mocap.readers.joint_names import landmark_joints
from mwl.mocap.readers.landmarks import Joint, Landmarks, at_rest, forward_kinematics, in_metres_z_up

Array = NDArray[np.float64]
_NUMBER = r"[-+]?[0-9.]++(?:[eE][-+]?[0-9]++)?"
_HIERARCHY = re.compile(
    r"(?:ROOT|JOINT)[ \t]++(?P<name>[^\r\n{}]++)\s*+\{"
    r"|(?P<end>End)[ \t]++[^\r\n{}]*+\s*+\{"
    rf"|OFFSET\s++(?P<offset>{_NUMBER}\s++{_NUMBER}\s++{_NUMBER})"
    r"|CHANNELS\s++(?P<count>[0-9]{1,2})(?P<kinds>(?:\s++[XYZ](?:position|rotation))*+)"
    r"|(?P<close>\})",
    re.IGNORECASE,
)
_MOTION = re.compile(r"MOTION\s++Frames\s*+:\s*+(?P<frames>[0-9]{1,9})\s++Frame\s++Time\s*+:\s*+(?P<step>\S++)", re.I)
_MAX_JOINTS = 1000
_SPACE = re.compile(r"\s*+")


@dataclass
class _Described:
    """A joint as the hierarchy describes it; channels are (column, axis) in the file's order."""

    parent: str | None
    offset: Array | None = None
    turns: list[tuple[int, str]] = field(default_factory=list)
    moves: list[tuple[int, str]] = field(default_factory=list)


def read_bvh(path: Path, told: Conventions) -> Landmarks:
    """Landmarks of a BVH file.

    Raises:
        BadInput: which axis points up, or the rate, has to be told.
        CorruptFile: no BVH, truncated, or of another body.
    """
    told.only("bvh", "fps", "up", "unit", "joint_map")
    text = clip_text(path).lstrip()
    if text[:9].upper() != "HIERARCHY":
        raise ValueError("it does not begin with HIERARCHY")
    described, columns, end = _hierarchy(text, 9)
    motion = _MOTION.match(text, _SPACE.match(text, end).end())  # type: ignore[union-attr]
    if not motion:
        raise ValueError("no MOTION, 'Frames:' and 'Frame Time:' after the hierarchy")
    table = _table(text[motion.end() :], int(motion["frames"]), columns)
    fps, of_rate = settle_fps(path, _rate(motion["step"]), told.fps)
    check_length(path, len(table), fps)
    names = landmark_joints(path, {name: joint.parent for name, joint in described.items()}, told.joint_map)
    joints = {name: _joint(table, joint) for name, joint in described.items()}
    positions = forward_kinematics(joints, names)
    turned, notes = in_metres_z_up(path, positions, at_rest(joints, names), up=told.up, unit=told.unit)
    moving = _without_rest_pose(turned)
    if moving is not turned:
        notes["first frame"] = "left out: a pose that is no part of the motion"
    return Landmarks(fps, moving, path.name, {"fps": of_rate, **notes})


def _hierarchy(text: str, start: int) -> tuple[dict[str, _Described], int, int]:
    """The joints by name, parents first, the number of channels, and where the hierarchy ends."""
    joints: dict[str, _Described] = {}
    stack: list[str] = []
    columns, position = 0, start
    while not joints or stack:
        position = _SPACE.match(text, position).end()  # type: ignore[union-attr]
        match = _HIERARCHY.match(text, position)
        if not match or (not stack and not match["name"]):
            raise ValueError(f"unreadable in the hierarchy: {shown(text[position : position + 40])}")
        position = match.end()
        if match["name"] or match["end"]:
            name = match["name"].strip() if match["name"] else f"{stack[-1]}.end"
            if name in joints or len(joints) >= _MAX_JOINTS:
                raise ValueError(f"two joints named {shown(name)}, or more than {_MAX_JOINTS}")
            joints[name] = _Described(stack[-1] if stack else None)
            stack.append(name)
        elif match["offset"]:
            joints[stack[-1]].offset = np.array([float(word) for word in match["offset"].split()])
        elif match["close"]:
            stack.pop()
        else:
            kinds = match["kinds"].split()
            if len(kinds) != int(match["count"]):
                raise ValueError(f"{shown(stack[-1])} has {match['count']} channels, of which {len(kinds)} are known")
            for kind in kinds:
                moves = kind[1:].lower() == "position"
                channels = joints[stack[-1]].moves if moves else joints[stack[-1]].turns
                channels.append((columns, kind[0].upper()))
                columns += 1
    return joints, columns, position


def _rate(step: str) -> float:
    """Frames per second of a frame time in s; infinite where it is 0 or no number, so that it is refused as a rate."""
    try:
        value = float(step)
    except ValueError:
        raise ValueError(f"its frame time is {shown(step, 40)}, no number") from None
    return 1 / value if value else np.inf


def _table(text: str, frames: int, columns: int) -> Array:
    """The numbers after the hierarchy, `[T, C]`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # what numpy says of text behind the last number
        try:
            values = np.fromstring(text, sep=" ")
        except (DeprecationWarning, ValueError):
            raise ValueError("something else than numbers in its frames") from None
    if values.size != frames * columns or not frames or not columns:
        raise ValueError(f"{values.size} numbers for {frames} frames of {columns} channels; truncated?")
    if not np.isfinite(values).all():
        raise ValueError(f"frame {int(np.argmin(np.isfinite(values))) // columns} holds a number that is not finite")
    return values.reshape(frames, columns)


def _joint(table: Array, described: _Described) -> Joint:
    """A joint's path and rotation relative to its parent.

    The root's positions count from its offset. Those of other joints stand for the offset, except in files that give
    every joint positions and leave them at 0.
    """
    offset = np.zeros(3) if described.offset is None else described.offset
    rotation = np.broadcast_to(np.eye(3), (len(table), 3, 3))
    if described.turns:
        order = "".join(axis for _, axis in described.turns)  # capital letters: about the moving axes
        angles = table[:, [column for column, _ in described.turns]]
        rotation = Rotation.from_euler(order, angles, degrees=True).as_matrix()
    if not described.moves:
        return Joint(described.parent, offset, rotation)
    path = np.tile(np.zeros(3) if described.parent is None else offset, (len(table), 1))
    for column, axis in described.moves:
        path[:, "XYZ".index(axis)] = table[:, column]
    if described.parent is None or (len(described.moves) == 3 and not path.any()):
        path += offset
    return Joint(described.parent, path, rotation)


def _without_rest_pose(positions: dict[str, Array]) -> dict[str, Array]:
    """Positions without a first frame that many conversions put there and that is no part of the motion."""
    if len(next(iter(positions.values()))) < 4:
        return positions
    first, second = np.max([np.linalg.norm(np.diff(track[:3], axis=0), axis=1) for track in positions.values()], axis=0)
    jumps = first > 10 * second + 0.1  # m; a body that moves so fast in one frame does not stop in the next
    return {name: track[1:] for name, track in positions.items()} if jumps else positions
