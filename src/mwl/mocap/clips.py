"""Motion clips of the robot: one pickle-free `.npz` per clip, with its velocities and its provenance.

A clip is kinematic: it holds poses and velocities, no actions. It serves as a reference; to clone a skill, a
demonstrator has to turn it into physically valid behaviour first.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.core.files import parse_json, read_npz, shown, with_ending, without_ending, writing
from mwl.mocap.plausibility import describe
from mwl.mocap.readers.conventions import MAX_FPS, MIN_FPS
from mwl.robot.h1 import JOINT_NAMES, ROBOT_NQ, ROBOT_NV
from mwl.simulation import build_model, get_task

Array = NDArray[np.float64]
_ENTRIES = ("fps", "qpos", "qvel", "joint_names", "provenance")
_LARGEST = 1e4  # m, rad or m/s, rad/s: beyond it nothing is meant


@dataclass
class MotionClip:
    """Poses of the robot over time.

    Attributes:
        fps: frames per second.
        qpos: `[T, 26]` root position in m, root quaternion (wxyz), joint angles in rad.
        qvel: `[T, 25]` root velocity in the world frame in m/s, angular in the body frame in rad/s, joints in rad/s.
        provenance: source, licence, and how the clip was made.
    """

    fps: float
    qpos: Array
    qvel: Array
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_poses(cls, fps: float, qpos: Array, provenance: dict[str, Any] | None = None) -> "MotionClip":
        """A clip from poses alone; velocities are finite differences in MuJoCo's convention."""
        model = build_model(get_task("h1-stand"))
        qvel = np.zeros((len(qpos), model.nv))
        for i in range(len(qpos) - 1):
            mujoco.mj_differentiatePos(model, qvel[i], 1 / fps, qpos[i], qpos[i + 1])
        if len(qpos) > 1:
            qvel[-1] = qvel[-2]
        return cls(fps, qpos, qvel, provenance or {})

    def save(self, path: Path | str) -> Path:
        """Write the clip, as `.npz`; a name without that ending gets it.

        Raises:
            WriteFailed: the place can't be written; what was there stays.
        """
        path = with_ending(path, ".npz")
        with writing(path) as scratch, open(scratch, "wb") as file:
            np.savez_compressed(
                file,
                allow_pickle=False,
                fps=np.float64(self.fps),
                qpos=self.qpos.astype(np.float32),
                qvel=self.qvel.astype(np.float32),
                joint_names=np.array(JOINT_NAMES),
                provenance=np.array(json.dumps(self.provenance)),
            )
        return path

    @classmethod
    def load(cls, path: Path | str) -> "MotionClip":
        """Read a clip.

        Raises:
            MissingFile: no such file.
            CorruptFile: not a clip, truncated, or of another robot.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFile(f"{shown(path)}: no such motion clip")
        content = read_npz(path, _ENTRIES)
        missing = {"fps", "qpos"} - content.keys()
        if missing:
            raise CorruptFile(f"{shown(path)}: not a motion clip, it lacks {', '.join(sorted(missing))}")
        if any(content[name].dtype.kind not in "iuf" for name in content.keys() & {"fps", "qpos", "qvel"}):
            raise CorruptFile(f"{shown(path)}: its rate, poses or velocities are no numbers")
        qpos = np.asarray(content["qpos"], dtype=np.float64)
        names = [str(name) for name in content.get("joint_names", np.array(JOINT_NAMES)).ravel()]
        if names != list(JOINT_NAMES) or qpos.ndim != 2 or qpos.shape[1] != ROBOT_NQ:
            raise CorruptFile(
                f"{shown(path)}: its poses have shape {list(qpos.shape)} and are not of this robot's 19 joints"
            )
        if len(qpos) < 2 or not np.isfinite(qpos).all() or np.abs(qpos).max() > _LARGEST:
            raise CorruptFile(f"{shown(path)}: needs at least two frames of finite numbers within {_LARGEST:g}")
        length = np.linalg.norm(qpos[:, 3:7], axis=1)
        if (abs(length - 1) > 0.1).any():
            raise CorruptFile(
                f"{shown(path)}: the root's quaternion in frame {int(np.argmax(abs(length - 1)))} is no unit one"
            )
        fps = float(content["fps"].ravel()[0]) if content["fps"].size == 1 else np.nan
        if not MIN_FPS <= fps <= MAX_FPS:
            raise CorruptFile(f"{shown(path)}: needs a frame rate from {MIN_FPS:g} to {MAX_FPS:g}, has {fps:g}")
        provenance = _provenance(path, content.get("provenance"))
        if "qvel" not in content:
            return cls.from_poses(fps, qpos, provenance)
        qvel = np.asarray(content["qvel"], dtype=np.float64)
        if qvel.shape != (len(qpos), ROBOT_NV) or not np.isfinite(qvel).all() or np.abs(qvel).max() > _LARGEST:
            raise CorruptFile(
                f"{shown(path)}: its velocities have shape {list(qvel.shape)}; expected {[len(qpos), ROBOT_NV]}, finite"
            )
        return cls(fps, qpos, qvel, provenance)


def _provenance(path: Path, stored: NDArray[Any] | None) -> dict[str, Any]:
    if stored is None:
        return {}
    content = parse_json(str(stored.ravel()[0]) if stored.size == 1 else "", f"{path}: provenance")
    if not isinstance(content, dict):
        raise CorruptFile(f"{shown(path)}: its provenance is no JSON object")
    return content


def check_clip(clip: MotionClip) -> dict[str, Any]:
    """Quality of a clip as plain numbers; see `plausibility.describe`."""
    return describe(clip.fps, clip.qpos, clip.qvel)


def check_file(path: Path | str) -> dict[str, Any]:
    """Check a motion clip, or demonstrations, by what the file holds.

    Raises:
        MissingFile, CorruptFile: nothing there, or neither clip nor demonstrations.
        BadInput: a raw motion-capture file, which has to be imported first.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() != ".npz":
        raise BadInput(f"{shown(path)}: check reads .npz; bring a raw clip in with `mwl motion import` first")
    if without_ending(path, ".npz").with_name(without_ending(path, ".npz").name + ".json").is_file():
        from mwl.datasets.demonstrations import Demonstrations

        data = Demonstrations.load(path)
        kept = ("task", "demonstrator", "episodes", "falls", "noise_levels", "licence", "sha256")
        return {"steps": len(data), **{key: data.manifest.get(key) for key in kept}, "plausible": True}
    return check_clip(MotionClip.load(path))
