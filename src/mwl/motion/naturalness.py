"""How natural a motion is: jerk of the joints and skating of the feet, the same figures for clips and for episodes."""

import numpy as np
import torch
from numpy.typing import NDArray

from mwl.motion.frames import rotation_matrix
from mwl.motion.kinematics import FEET, PointKinematics
from mwl.simulation import build_model, get_task
from mwl.simulation.robot import ROBOT_NV

Array = NDArray[np.float64]
CONTACT_HEIGHT = 0.01  # m above the floor, below which a corner of a sole counts as touching
JOINT_VELOCITIES = slice(6, ROBOT_NV)


def sole_positions(qpos: Array) -> Array:
    """World positions `[T, 2, 4, 3]` of the corners of the left and right sole, in m, for poses `[T, 26]`."""
    model = build_model(get_task("h1-stand"))
    poses = torch.from_numpy(qpos).float()
    local = PointKinematics(model, FEET).positions(poses[:, 7:26])
    world = local @ rotation_matrix(poses[:, 3:7]).transpose(-1, -2) + poses[:, None, :3]
    return world.unflatten(1, (2, 4)).double().numpy()


def floor_height(soles: Array) -> float:
    """Height of the floor in m under soles `[T, 2, 4, 3]`: where the lower one usually is."""
    return float(np.quantile(soles[..., 2].min(axis=(1, 2)), 0.1))


def foot_skate(soles: Array, fps: float, floor: float = 0.0) -> float:
    """Mean horizontal speed in m/s of the corners of the soles while they touch the floor.

    A rolling foot touches with its heel, then its toes, and neither moves; a sliding one moves what touches.

    Args:
        soles: `[T, 2, 4, 3]` in m; fps: frames per second.
        floor: height of the floor in m.
    """
    touching = soles[..., 2] < floor + CONTACT_HEIGHT
    touching = touching[1:] & touching[:-1]
    speed = np.linalg.norm(np.diff(soles[..., :2], axis=0), axis=-1) * fps
    return float(speed[touching].mean()) if touching.any() else 0.0


def joint_jerk(qvel: Array, fps: float) -> float:
    """Root mean square of the joints' third derivative in rad/s^3 for velocities `[T, 25]`; 0 for fewer than three."""
    if len(qvel) < 3:
        return 0.0
    jerk = np.diff(qvel[:, JOINT_VELOCITIES], n=2, axis=0) * fps**2
    return float(np.sqrt(np.square(jerk).mean()))
