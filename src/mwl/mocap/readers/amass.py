"""Reader of SMPL poses as AMASS writes them: no body model is needed, for directions of limbs are all that is kept."""

import zipfile
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mwl.core.errors import CorruptFile
from mwl.core.files import read_npz, shown
from mwl.mocap.readers.conventions import (
    TO_Z_UP,
    UNITS,
    Conventions,
    check_length,
    check_path,
    is_about_time,
    settle_fps,
    settle_up,
    stated_fps,
)
from mwl.mocap.readers.landmarks import Joint, Landmarks, forward_kinematics, upward

_JOINTS = 22
_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
_LANDMARKS = {
    "left_hip": 1, "right_hip": 2, "left_knee": 4, "right_knee": 5, "left_ankle": 7, "right_ankle": 8,
    "left_shoulder": 16, "right_shoulder": 17, "left_elbow": 18, "right_elbow": 19, "left_wrist": 20, "right_wrist": 21,
}  # fmt: skip
_OFFSETS = {  # m, y up, x left, z forward: lengths of an average adult; retargeting uses directions alone
    1: (0.09, -0.09, 0.0), 2: (-0.09, -0.09, 0.0), 3: (0.0, 0.12, 0.0), 4: (0.0, -0.40, 0.0), 5: (0.0, -0.40, 0.0),
    6: (0.0, 0.13, 0.0), 7: (0.0, -0.42, 0.0), 8: (0.0, -0.42, 0.0), 9: (0.0, 0.05, 0.0), 12: (0.0, 0.21, 0.0),
    13: (0.08, 0.12, 0.0), 14: (-0.08, 0.12, 0.0), 16: (0.10, 0.04, 0.0), 17: (-0.10, 0.04, 0.0),
    18: (0.26, 0.0, 0.0), 19: (-0.26, 0.0, 0.0), 20: (0.25, 0.0, 0.0), 21: (-0.25, 0.0, 0.0),
}  # fmt: skip
_ROOT, _BODY, _PATH = ("root_orient", "global_orient"), ("pose_body", "body_pose"), ("trans", "transl")
_SPELT = {"poses", *_ROOT, *_BODY, *_PATH}


def read_amass(path: Path, told: Conventions) -> Landmarks:
    """Landmarks of an archive of SMPL poses (`poses`, or `root_orient` and `pose_body`), with `trans` and a rate.

    Raises:
        BadInput: rate or unit have to be told.
        CorruptFile: no such archive, or of another body.
    """
    told.only("amass", "fps", "up", "unit")
    if not zipfile.is_zipfile(path):
        raise ValueError("no .npz archive, or a truncated one")
    with zipfile.ZipFile(path) as archive:  # some of AMASS's other entries are pickles, which are never read
        stored = {name.removesuffix(".npy") for name in archive.namelist()}
    arrays = read_npz(path, {name for name in stored if name in _SPELT or is_about_time(name)})

    def entry(names: tuple[str, ...]) -> np.ndarray:
        name = next((name for name in names if name in arrays), None)
        if name is None:
            raise ValueError(f"it lacks {' or '.join(names)}")
        if arrays[name].dtype.kind not in "iuf" or arrays[name].ndim < 2:
            raise ValueError(f"{name} has shape {list(arrays[name].shape)}, expected one row of numbers per frame")
        return arrays[name].reshape(len(arrays[name]), -1).astype(np.float64)

    if "poses" in arrays:
        poses = entry(("poses",))[:, : 3 * _JOINTS]
    else:
        poses = np.concatenate([entry(_ROOT), entry(_BODY)], axis=1)[:, : 3 * _JOINTS]
    trans = entry(_PATH)
    if poses.shape[1] != 3 * _JOINTS or trans.shape != (len(poses), 3) or len(poses) < 2:
        raise ValueError(
            f"poses have shape {list(poses.shape)} and their path {list(trans.shape)}; expected {_JOINTS} joints in "
            "axis-angle form and 3 numbers, for two frames or more"
        )
    if not (np.isfinite(poses).all() and np.isfinite(trans).all()):
        raise CorruptFile(f"{shown(path)}: needs finite poses and a finite path")
    told_fps = told.fps
    stated = None if told_fps is not None else stated_fps(path, arrays, len(poses))
    fps, of_rate = settle_fps(path, stated, told_fps)
    check_length(path, len(poses), fps)
    turns = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(len(poses), _JOINTS, 3, 3)
    joints = {
        str(i): Joint(None if parent < 0 else str(parent), np.array(_OFFSETS.get(i, (0.0, 0.0, 0.0))), turns[:, i])
        for i, parent in enumerate(_PARENTS)
    }
    joints["0"].offset = trans * UNITS[told.unit or "m"]
    positions = forward_kinematics(joints, {name: str(index) for name, index in _LANDMARKS.items()})
    axis, of_axis = settle_up(path, upward(positions), told.up, usual="z")
    if axis == "y":
        positions = {name: track @ TO_Z_UP["y"].T for name, track in positions.items()}
    check_path(path, (positions["left_hip"][:, 2] + positions["right_hip"][:, 2]) / 2)
    unit = f"{told.unit} (--unit)" if told.unit else "m (of this format)"
    return Landmarks(fps, positions, path.name, {"fps": of_rate, "unit": unit, "up": of_axis})
