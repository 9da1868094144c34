"""Making a gait cycle of a retargeted clip: the half stride that best matches its own mirror image, made symmetric."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mwl.core.errors import BadInput
from mwl.mocap.clips import MotionClip
from mwl.mocap.gait_cycle import GaitCycle, StrideLaw, fit_cycle
from mwl.robot.joint_mirror import mirror_joints

Array = NDArray[np.float64]
SAMPLES = 64  # phases of one stride
_ROOT_MIRROR = np.array([1.0, -1.0, 1.0, -1.0])  # z, roll, pitch, yaw


def cycle_from_clip(
    name: str,
    clip: MotionClip,
    stride: StrideLaw,
    *,
    shortest: float = 0.35,
    longest: float = 0.7,
) -> GaitCycle:
    """One symmetric gait cycle of a clip of straight walking or running.

    Args:
        name: gait.
        clip: retargeted clip of at least one stride.
        stride: how stride time and amplitude are to follow the commanded speed.
        shortest, longest: bounds in s of half a stride.

    Raises:
        BadInput: the clip is shorter than the longest half stride, or goes nowhere.
    """
    if round(shortest * clip.fps) < 1:
        raise BadInput(f"a gait cycle can't be made of {clip.fps:g} frames per second")
    heading = _heading(clip)
    channels = np.concatenate([clip.qpos[:, 7:], _root_channels(clip, heading)], axis=1)
    mirrored = np.concatenate([mirror_joints(torch.from_numpy(channels[:, :19])).numpy(), channels[:, 19:]], axis=1)
    mirrored[:, 19:] *= _ROOT_MIRROR
    lengths = range(round(shortest * clip.fps), round(longest * clip.fps) + 1)
    if len(channels) <= lengths[-1] + 1:
        raise BadInput(f"the clip has {len(channels)} frames; a gait cycle needs more than {lengths[-1] + 1}")
    start, half = min(
        ((i, length) for length in lengths for i in range(1, len(channels) - length - 1)),
        key=lambda cut: _mismatch(channels, mirrored, *cut),
    )
    first = _closed(channels[start : start + half + 1], mirrored[start])
    second = np.concatenate([mirror_joints(torch.from_numpy(first[:, :19])).numpy(), first[:, 19:] * _ROOT_MIRROR], 1)
    travelled = np.linalg.norm(clip.qpos[start + half, :2] - clip.qpos[start, :2])
    if not travelled > 0.01:
        raise BadInput("the clip stays where it is; a gait cycle needs walking or running")
    return fit_cycle(
        name,
        np.concatenate([first, second]),
        period=2 * half / clip.fps,
        speed=float(travelled * clip.fps / half),
        stride=stride,
        provenance=clip.provenance,
    )


def _heading(clip: MotionClip) -> float:
    """Direction of travel in rad."""
    return float(np.arctan2(*(clip.qpos[-1, :2] - clip.qpos[0, :2])[::-1]))


def _root_channels(clip: MotionClip, heading: float) -> Array:
    """Root height, roll, pitch and yaw from the direction of travel, `[T, 4]`."""
    root = Rotation.from_euler("z", -heading) * Rotation.from_quat(clip.qpos[:, 3:7], scalar_first=True)
    yaw, pitch, roll = root.as_euler("ZYX").T
    return np.stack([clip.qpos[:, 2], roll, pitch, yaw], axis=1)


def _mismatch(channels: Array, mirrored: Array, start: int, half: int) -> float:
    """How far pose and motion half a stride later are from the mirror image of those at the start."""
    end = start + half
    pose = channels[end] - mirrored[start]
    motion = (channels[end + 1] - channels[end - 1]) - (mirrored[start + 1] - mirrored[start - 1])
    return float(np.square(pose).sum() + 4 * np.square(motion).sum())


def _closed(frames: Array, goal: Array) -> Array:
    """Half a stride `[32, C]`, blended linearly so that it ends exactly in the pose `goal`."""
    share = np.linspace(0, 1, len(frames))
    frames = frames + share[:, None] * (goal - frames[-1])
    phases = np.arange(SAMPLES // 2) / (SAMPLES // 2)
    return np.stack([np.interp(phases, share, column) for column in frames.T], axis=1)
