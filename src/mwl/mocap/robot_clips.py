"""Readers of motions that others have already brought to this robot: plain tables (.csv) and arrays (.npz, .npy).

All end as a clip at 50 Hz. Only plain numbers are read, no pickles.
"""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from mwl.core.errors import CorruptFile, MissingFile, MwlError
from mwl.core.files import read_npz, shown
from mwl.mocap.clips import MotionClip
from mwl.mocap.readers.conventions import (
    FARTHEST,
    FPS,
    Conventions,
    check_length,
    is_about_time,
    settle_fps,
    stated_fps,
)
from mwl.mocap.readers.pickles import refuse_pickle
from mwl.mocap.readers.robot_root import settle_root
from mwl.mocap.readers.robot_table import Table, plain, read_table
from mwl.robot.h1 import JOINT_NAMES, ROBOT_NQ

Array = NDArray[np.float64]
CSV_FPS = 30.0  # what tables of retargeted motion for this robot are usually written at
_POSITION = ("root_pos", "root_trans_offset", "root_trans")
_QUATERNION = ("root_rot", "root_quat")
_JOINTS = ("dof_pos", "dof", "joint_pos")
_SPELT = {"qpos", "joint_names", *_POSITION, *_QUATERNION, *_JOINTS}
_MOST = 2 * np.pi  # rad, beyond any joint's range


def read_robot_clip(path: Path | str, fps: float | None = None, told: Conventions | None = None) -> MotionClip:
    """A clip at 50 Hz from a file that holds poses of this robot.

    Known are: a table (.csv) of root position in m, root quaternion (xyzw, or as a first line of names says) and 19
    joint angles in rad per line, in the order of the robot or of the names; and arrays (.npz) either `qpos [T, 26]`
    (quaternion wxyz) or `root_pos [T, 3]`, `root_rot [T, 4]` (xyzw) and `dof_pos [T, 19]`, with a rate and perhaps
    `joint_names`; and a single array (.npy) `[T, 26]` as `qpos`.

    Args:
        path: the file.
        fps: frames per second; overrides what the file states. A table that does not say has 30.
        told: what the user says of the file; in place of `fps`.

    Raises:
        MissingFile: no such file.
        BadInput: rate, unit, axes or order of the quaternion have to be told.
        CorruptFile: none of these, truncated, or of another robot.
    """
    path = Path(path)
    told = told or Conventions(fps=fps)
    told.only("h1", "fps", "up", "unit", "quaternion")
    if not path.is_file():
        raise MissingFile(f"{shown(path)}: no such clip")
    refuse_pickle(path)
    try:
        table, presumed, usual = _read(path, told.fps)
        joints = _ordered(table.joints, table.names)
    except MwlError:
        raise
    except Exception as error:  # text and archives break in a dozen ways, with errors of numpy, zipfile, zlib ...
        reason = shown(Path(" ".join(str(error).split()) or type(error).__name__), 200)
        raise CorruptFile(f"{shown(path)}: cannot be read as poses of this robot ({reason})") from error
    _check_numbers(path, table)
    rate, of_rate = settle_fps(path, table.fps, told.fps, usual)
    check_length(path, len(joints), rate)
    position, turn, notes = settle_root(path, table, told, presumed, rate)
    qpos = np.concatenate([position, turn.as_quat(scalar_first=True), joints], axis=1)
    read_as = {"fps": of_rate, **notes}
    provenance = {
        "source": path.name,
        "method": f"poses of this robot, resampled from {rate:g} Hz",
        "read_as": read_as,
    }
    return MotionClip.from_poses(FPS, resample(qpos, rate, FPS), provenance)


def resample(qpos: Array, old: float, new: float) -> Array:
    """Poses `[T, 26]` at `old` frames per second, at `new` ones: linear, rotations along the shortest arc."""
    times = np.arange(len(qpos)) / old
    wanted = np.arange(0, times[-1] + 1e-9, 1 / new)
    out = np.stack([np.interp(wanted, times, column) for column in qpos.T], axis=1)
    turns = Slerp(times, Rotation.from_quat(qpos[:, 3:7], scalar_first=True))(np.clip(wanted, 0, times[-1]))
    out[:, 3:7] = turns.as_quat(scalar_first=True)
    return out


def _read(path: Path, told_fps: float | None) -> tuple[Table, str, float | None]:
    """What a file holds, and the order of quaternions and the rate that such files usually have."""
    ending = path.suffix.lower()
    if ending in (".csv", ".txt", ".tsv"):
        return read_table(path), "xyzw", CSV_FPS
    if ending == ".npy":
        return _read_npy(path), "wxyz", None
    return *_read_npz(path, told_fps), None


def _read_npy(path: Path) -> Table:
    return _of_qpos(np.load(path, allow_pickle=False, mmap_mode="r"), list(JOINT_NAMES))


def _read_npz(path: Path, told_fps: float | None) -> tuple[Table, str]:
    """What an archive holds, and in which order its quaternions are presumed to be."""
    if not zipfile.is_zipfile(path):
        raise ValueError("no .npz archive, or a truncated one")
    with zipfile.ZipFile(path) as archive:
        stored = {name.removesuffix(".npy") for name in archive.namelist()}
    arrays = read_npz(path, {name for name in stored if name in _SPELT or is_about_time(name)})
    names = list(JOINT_NAMES)
    if "joint_names" in arrays:
        names = [plain(str(name)) for name in arrays["joint_names"].ravel()]
    if "qpos" in arrays:
        table, presumed = _of_qpos(arrays["qpos"], names), "wxyz"
    else:
        parts = [next((name for name in spelt if name in arrays), None) for spelt in (_POSITION, _QUATERNION, _JOINTS)]
        if None in parts:
            raise ValueError("it holds neither qpos nor root_pos, root_rot and dof_pos")
        position, quaternion, joints = (_numbers(str(name), arrays[str(name)]) for name in parts)
        widths = (3, 4, len(JOINT_NAMES))
        if any(
            part.shape != (len(position), width)
            for part, width in zip((position, quaternion, joints), widths, strict=True)
        ):
            shapes = ", ".join(str(list(part.shape)) for part in (position, quaternion, joints))
            raise ValueError(f"{', '.join(map(str, parts))} have shapes {shapes}; expected [T, 3], [T, 4], [T, 19]")
        table, presumed = Table(position, quaternion, joints, names), "xyzw"
    table.fps = None if told_fps is not None else stated_fps(path, arrays, len(table.joints))
    return table, presumed


def _of_qpos(array: NDArray, names: list[str]) -> Table:
    qpos = _numbers("qpos", array)
    if qpos.ndim != 2 or qpos.shape[1] != ROBOT_NQ:
        raise ValueError(f"its poses have shape {list(qpos.shape)}, expected [T, {ROBOT_NQ}]")
    return Table(qpos[:, :3], qpos[:, 3:7], qpos[:, 7:], names)


def _numbers(name: str, array: NDArray) -> Array:
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} holds {array.dtype}, no numbers")
    return np.asarray(array, dtype=np.float64)


def _ordered(joints: Array, names: list[str]) -> Array:
    """Joint angles `[T, 19]` in the robot's own order."""
    if sorted(names) != sorted(JOINT_NAMES) or joints.shape[1] != len(names):
        unknown = [shown(Path(name)) for name in sorted(set(names) - set(JOINT_NAMES))]
        raise ValueError(f"its joints are not this robot's 19{': ' + ', '.join(unknown[:3]) if unknown else ''}")
    return joints[:, [names.index(name) for name in JOINT_NAMES]]


def _check_numbers(path: Path, table: Table) -> None:
    if len(table.joints) < 2 or not all(
        np.isfinite(part).all() for part in (table.position, table.quaternion, table.joints)
    ):
        raise CorruptFile(f"{shown(path)}: needs two frames or more, of finite numbers")
    if np.abs(table.position).max() > FARTHEST:
        raise CorruptFile(f"{shown(path)}: its root is {np.abs(table.position).max():.3g} from the origin")
    norms = np.linalg.norm(table.quaternion, axis=1)
    if (abs(norms - 1) > 0.1).any():
        raise CorruptFile(
            f"{shown(path)}: needs unit quaternions; in frame {int(np.argmax(abs(norms - 1)))} it has a length of "
            f"{norms[np.argmax(abs(norms - 1))]:.3g}"
        )
    most = float(np.abs(table.joints).max())
    if most > _MOST:
        raise CorruptFile(f"{shown(path)}: a joint turns by {most:.4g} rad, beyond its range; are they degrees?")
