"""Readers of motions that others have already brought to this robot: plain tables (.csv) and arrays (.npz).

All end as a clip at 50 Hz. Only plain numbers are read, no pickles.
"""

import csv
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from mwl.errors import CorruptFile, MissingFile
from mwl.motion.clips import FPS, MotionClip
from mwl.simulation.robot import JOINT_NAMES, ROBOT_NQ

Array = NDArray[np.float64]
CSV_FPS = 30.0  # what tables of retargeted motion for this robot are usually written at


def read_robot_clip(path: Path, fps: float | None = None) -> MotionClip:
    """A clip at 50 Hz from a file that holds poses of this robot.

    Known are: a table (.csv) of root position in m, root quaternion (xyzw) and 19 joint angles in rad per line, in the
    order of the robot or as a first line of names says; and arrays (.npz) either `qpos [T, 26]` (quaternion wxyz) or
    `root_pos [T, 3]`, `root_rot [T, 4]` (xyzw) and `dof_pos [T, 19]`, with `fps` and perhaps `joint_names`.

    Args:
        path: the file.
        fps: frames per second of a file that does not say; a table then has 30.

    Raises:
        MissingFile: no such file.
        CorruptFile: none of these, truncated, or of another robot.
    """
    if not path.is_file():
        raise MissingFile(f"{path}: no such clip")
    try:
        own, qpos = _read_csv(path) if path.suffix.lower() == ".csv" else _read_npz(path)
    except Exception as error:  # text and archives break in a dozen ways, with errors of numpy, zipfile, zlib ...
        raise CorruptFile(f"{path}: cannot be read as poses of this robot ({error})") from error
    rate = own or fps or CSV_FPS
    norms = np.linalg.norm(qpos[:, 3:7], axis=1)
    if len(qpos) < 2 or not np.isfinite(qpos).all() or not rate > 0 or (abs(norms - 1) > 0.1).any():
        raise CorruptFile(f"{path}: needs two finite frames, unit quaternions and a positive frame rate")
    provenance = {"source": path.name, "method": f"poses of this robot, resampled from {rate:g} Hz"}
    return MotionClip.from_poses(FPS, resample(qpos, rate, FPS), provenance)


def resample(qpos: Array, old: float, new: float) -> Array:
    """Poses `[T, 26]` at `old` frames per second, at `new` ones: linear, rotations along the shortest arc."""
    times = np.arange(len(qpos)) / old
    wanted = np.arange(0, times[-1] + 1e-9, 1 / new)
    out = np.stack([np.interp(wanted, times, column) for column in qpos.T], axis=1)
    turns = Slerp(times, Rotation.from_quat(qpos[:, 3:7], scalar_first=True))(np.clip(wanted, 0, times[-1]))
    out[:, 3:7] = turns.as_quat(scalar_first=True)
    return out


def _read_csv(path: Path) -> tuple[float | None, Array]:
    with open(path, newline="", encoding="ascii") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise ValueError("it is empty")
    names: list[str] = list(JOINT_NAMES)
    if not _is_number(rows[0][0]):
        names = [_plain(name) for name in rows.pop(0)[7:]]
    table = np.array([[float(value) for value in row] for row in rows])
    if table.ndim != 2 or table.shape[1] != ROBOT_NQ:
        raise ValueError(f"expected {ROBOT_NQ} columns: position, quaternion (xyzw) and {len(JOINT_NAMES)} joints")
    return None, _pose(table[:, :3], table[:, 3:7], table[:, 7:], names)


def _read_npz(path: Path) -> tuple[float | None, Array]:
    if not zipfile.is_zipfile(path):
        raise ValueError("no .npz archive, or a truncated one")
    with np.load(path, allow_pickle=False) as arrays:
        stored = set(arrays.files)
        fps = float(arrays["fps"]) if "fps" in stored else None
        names = [_plain(str(name)) for name in arrays["joint_names"]] if "joint_names" in stored else list(JOINT_NAMES)
        if "qpos" in stored:
            qpos = np.asarray(arrays["qpos"], dtype=np.float64)
            if qpos.ndim != 2 or qpos.shape[1] != ROBOT_NQ:
                raise ValueError(f"qpos has shape {list(qpos.shape)}, expected [T, {ROBOT_NQ}]")
            return fps, np.concatenate([qpos[:, :7], _ordered(qpos[:, 7:], names)], axis=1)
        missing = {"root_pos", "root_rot", "dof_pos"} - stored
        if missing:
            raise ValueError(f"it holds neither qpos nor {', '.join(sorted(missing))}")
        position, quaternion, joints = (
            np.asarray(arrays[name], dtype=np.float64) for name in ("root_pos", "root_rot", "dof_pos")
        )
    return fps, _pose(position, quaternion, joints, names)


def _pose(position: Array, quaternion_xyzw: Array, joints: Array, names: list[str]) -> Array:
    return np.concatenate([position, quaternion_xyzw[:, [3, 0, 1, 2]], _ordered(joints, names)], axis=1)


def _ordered(joints: Array, names: list[str]) -> Array:
    """Joint angles `[T, 19]` in the robot's own order."""
    if sorted(names) != sorted(JOINT_NAMES) or joints.shape[1] != len(names):
        unknown = sorted(set(names) - set(JOINT_NAMES))
        raise ValueError(f"its joints are not this robot's 19{': ' + ', '.join(unknown[:3]) if unknown else ''}")
    return joints[:, [names.index(name) for name in JOINT_NAMES]]


def _plain(name: str) -> str:
    """A joint's name without the ending that some models give it."""
    return name.strip().removesuffix("_joint")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
