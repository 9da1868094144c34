"""Motion clips of the robot: one pickle-free `.npz` per clip, and what there is to say about a clip's quality.

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

from mwl.errors import BadInput, CorruptFile, MissingFile
from mwl.motion.naturalness import floor_height, foot_skate, joint_jerk, sole_positions
from mwl.simulation import build_model, get_task
from mwl.simulation.robot import CTRL_HIGH, CTRL_LOW, JOINT_NAMES, ctrl_to_action

Array = NDArray[np.float64]
FPS = 50.0  # of imported clips: the robot's control rate
_LIMIT_MARGIN = 0.01  # rad


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
        """Write the clip."""
        path = Path(path).with_suffix(".npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp.npz")
        np.savez_compressed(
            scratch,
            allow_pickle=False,
            fps=np.float64(self.fps),
            qpos=self.qpos.astype(np.float32),
            qvel=self.qvel.astype(np.float32),
            joint_names=np.array(JOINT_NAMES),
            provenance=np.array(json.dumps(self.provenance)),
        )
        scratch.replace(path)
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
            raise MissingFile(f"{path}: no such motion clip")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                content = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise CorruptFile(f"{path}: cannot be read as .npz ({error})") from error
        except Exception as error:  # zipfile and zlib have errors of their own for damaged archives
            raise CorruptFile(f"{path}: damaged archive ({error})") from error
        missing = {"fps", "qpos"} - content.keys()
        if missing:
            raise CorruptFile(f"{path}: not a motion clip, it lacks {', '.join(sorted(missing))}")
        names = [str(name) for name in content.get("joint_names", np.array(JOINT_NAMES))]
        qpos = np.asarray(content["qpos"], dtype=np.float64)
        if names != list(JOINT_NAMES) or qpos.ndim != 2 or qpos.shape[1] != 7 + len(JOINT_NAMES):
            raise CorruptFile(f"{path}: its poses have shape {list(qpos.shape)} and are not of this robot's 19 joints")
        if len(qpos) < 2 or not np.isfinite(qpos).all() or not float(content["fps"]) > 0:
            raise CorruptFile(f"{path}: needs at least two finite frames and a positive frame rate")
        provenance = json.loads(str(content["provenance"])) if "provenance" in content else {}
        if "qvel" not in content:
            return cls.from_poses(float(content["fps"]), qpos, provenance)
        return cls(float(content["fps"]), qpos, np.asarray(content["qvel"], dtype=np.float64), provenance)


def check_clip(clip: MotionClip) -> dict[str, Any]:
    """Quality of a clip as plain numbers.

    Returns:
        `frames`, `seconds`, `speed_m_s` (mean, along the floor), `limit_saturation` (share of frames with a joint at
        its limit), `penetration_m` (deepest sole below the floor), `floating_m` (median height of the lower sole),
        `max_joint_step_rad` (largest change of a joint between frames), `plausible`, and what an expert's manifest
        says as well: `foot_skate_m_s` (mean horizontal speed of what touches the floor), `joint_jerk_rad_s3` (root mean
        square) and `action_rate` (mean change per frame, as if the clip's joint angles were commanded).
    """
    soles = sole_positions(clip.qpos)
    lowest = soles[..., 2].min(axis=(1, 2))
    joints = clip.qpos[:, 7:]
    at_limit = (joints < CTRL_LOW + _LIMIT_MARGIN) | (joints > CTRL_HIGH - _LIMIT_MARGIN)
    seconds = (len(clip.qpos) - 1) / clip.fps
    report: dict[str, Any] = {
        "frames": len(clip.qpos),
        "seconds": seconds,
        "speed_m_s": float(np.linalg.norm(clip.qpos[-1, :2] - clip.qpos[0, :2]) / seconds),
        "limit_saturation": float(at_limit.any(axis=1).mean()),
        "penetration_m": float(max(0.0, -lowest.min())),
        "floating_m": float(max(0.0, np.median(lowest))),
        "foot_skate_m_s": foot_skate(soles, clip.fps, floor_height(soles)),
        "joint_jerk_rad_s3": joint_jerk(clip.qvel, clip.fps),
        "action_rate": float(np.abs(np.diff(ctrl_to_action(joints), axis=0)).mean()),
        "max_joint_step_rad": float(np.abs(np.diff(joints, axis=0)).max()),
    }
    report["plausible"] = (
        report["penetration_m"] < 0.03 and report["floating_m"] < 0.05 and report["max_joint_step_rad"] < 0.6
    )
    return report


def check_file(path: Path | str) -> dict[str, Any]:
    """Check a motion clip, or demonstrations, by file name.

    Raises:
        MissingFile, CorruptFile: nothing there, or neither clip nor demonstrations.
        BadInput: a raw motion-capture file, which has to be imported first.
    """
    path = Path(path)
    if path.is_file() and path.suffix != ".npz":
        raise BadInput(f"{path}: check reads .npz; bring a raw clip in with `mwl motion import` first")
    if path.with_suffix(".json").is_file() and path.suffix == ".npz":
        from mwl.motion.demonstrations import Demonstrations

        data = Demonstrations.load(path)
        kept = ("task", "demonstrator", "episodes", "falls", "noise_levels", "licence", "sha256")
        return {"steps": len(data), **{key: data.manifest.get(key) for key in kept}, "plausible": True}
    return check_clip(MotionClip.load(path))
