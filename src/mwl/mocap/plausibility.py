"""Whether a clip may be a motion of this robot on a level floor: figures, and which of them lie beyond their bounds.

Bounds are on shares of frames or on what remains when the worst hundredth of the frames is set aside, so that one odd
frame condemns no clip. docs/guide/motion-clips.md has the table.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mwl.robot.h1 import CTRL_HIGH, CTRL_LOW, ctrl_to_action
from mwl.rollouts.metrics import floor_height, foot_skate, joint_jerk, sole_positions

Array = NDArray[np.float64]
_LIMIT_MARGIN = 0.01  # rad
_SET_ASIDE = 0.01  # share of the frames
_LIFTED = 0.05  # m above the floor, from which on a sole is off it
_LYING_LEAN, _LYING_HEIGHT = 0.5, 0.6  # cosine of the pelvis's lean, and its height in m
_JUMP = 0.6  # rad in 20 ms: 30 rad/s, where the fastest joints manage 23
_NEAR = 0.03  # m above the floor, within which a corner of a sole counts for slipping
_SLIP, _SLIP_PER_SPEED = 0.15, 0.2  # m/s, and per m/s of the body
_WINDOW, _FAR_ENOUGH = 0.5, 1.0  # s over which ways are measured, and m of way from which on its direction counts

BOUNDS = {  # of what a plausible clip stays within: (at least, at most)
    "penetration_m": (None, 0.03),
    "floating_m": (None, 0.05),
    "airborne_s": (None, 0.8),
    "lying_share": (None, 0.1),
    "foot_slip_m_s": (None, None),  # grows with the speed of the body, see `_slip_bound`
    "forward_share": (0.25, None),
    "joint_jump_share": (None, 0.01),
    "beyond_limits_rad": (None, 0.2),
}


def describe(fps: float, qpos: Array, qvel: Array) -> dict[str, Any]:
    """Figures of a clip as plain numbers, and whether it is plausible.

    Args:
        fps: frames per second; qpos: `[T, 26]`; qvel: `[T, 25]`.

    Returns:
        `frames`, `seconds`, `speed_m_s` (mean, along the floor), `limit_saturation` (share of frames with a joint at
        its limit), `beyond_limits_rad` (beyond it), `penetration_m` (depth of the lower sole below the floor),
        `floating_m` (median height of the lower sole), `airborne_s` (longest time with both feet off the floor),
        `lying_share` (of frames), `foot_slip_m_s` (median speed of that point of the soles on the floor that moves
        least), `forward_share` (of the way, None where there is little), `max_joint_step_rad` (largest change of a
        joint between frames), `joint_jump_share` (of frames with more than 0.6 rad in 20 ms), `plausible` and
        `implausible_for` (a line for each figure out of its bounds); and what an expert's manifest says as well:
        `foot_skate_m_s` (mean horizontal speed of what touches the floor), `joint_jerk_rad_s3` (root mean square) and
        `action_rate` (mean change per frame, as if the clip's joint angles were commanded).
    """
    soles = sole_positions(qpos)
    lowest = soles[..., 2].min(axis=(1, 2))
    joints = qpos[:, 7:]
    steps = np.abs(np.diff(joints, axis=0))
    excess = np.maximum(CTRL_LOW - joints, joints - CTRL_HIGH).max(axis=1)
    seconds = (len(qpos) - 1) / fps
    upright = Rotation.from_quat(qpos[:, 3:7], scalar_first=True).as_matrix()[:, 2, 2]
    lying = (upright < _LYING_LEAN) & (qpos[:, 2] < _LYING_HEIGHT)
    floor = floor_height(soles)
    report: dict[str, Any] = {
        "frames": len(qpos),
        "seconds": seconds,
        "speed_m_s": float(np.linalg.norm(qpos[-1, :2] - qpos[0, :2]) / seconds),
        "limit_saturation": float((excess > -_LIMIT_MARGIN).mean()),
        "beyond_limits_rad": max(0.0, _all_but_the_worst(excess)),
        "penetration_m": max(0.0, _all_but_the_worst(-lowest)),
        "floating_m": float(max(0.0, np.median(lowest))),
        "airborne_s": _longest(lowest > _LIFTED) / fps,
        "lying_share": float(lying.mean()),
        "foot_slip_m_s": _slip(soles, fps, floor),
        "forward_share": _forward_share(fps, qpos),
        "foot_skate_m_s": foot_skate(soles, fps, floor),
        "joint_jerk_rad_s3": joint_jerk(qvel, fps),
        "action_rate": float(np.abs(np.diff(ctrl_to_action(joints), axis=0)).mean()),
        "max_joint_step_rad": float(steps.max()),
        "joint_jump_share": float((steps.max(axis=1) * fps / 50 > _JUMP).mean()),
    }
    failing = _failing(report, _slip_bound(fps, qpos))
    return {**report, "plausible": not failing, "implausible_for": failing}


def _failing(report: dict[str, Any], slip_bound: float) -> list[str]:
    lines = []
    for name, (least, most) in BOUNDS.items():
        value = report[name]
        most = slip_bound if name == "foot_slip_m_s" else most
        if value is not None and least is not None and not value >= least:
            lines.append(f"{name} is {value:.3g}, at least {least:g} is plausible")
        if value is not None and most is not None and not value <= most:
            lines.append(f"{name} is {value:.3g}, at most {most:.3g} is plausible")
    return lines


def _all_but_the_worst(values: Array) -> float:
    """The largest of values `[T]` when the largest hundredth, at least one of more than ten, is set aside."""
    aside = max(int(_SET_ASIDE * len(values)), 1) if len(values) > 10 else 0
    return float(np.sort(values)[len(values) - 1 - aside])


def _longest(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run in which flags `[T]` hold."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _slip(soles: Array, fps: float, floor: float) -> float:
    """Median speed in m/s of the point of the soles `[T, 2, 4, 3]` on the floor that moves least; 0 without any."""
    near = soles[..., 2] < floor + _NEAR
    speed = np.linalg.norm(np.diff(soles[..., :2], axis=0), axis=-1) * fps
    stillest = np.where(near[1:] & near[:-1], speed, np.inf).min(axis=(1, 2))
    touching = np.isfinite(stillest)
    return float(np.median(stillest[touching])) if touching.any() else 0.0


def _slip_bound(fps: float, qpos: Array) -> float:
    """Slip in m/s that a clip may have, for inverse kinematics slips the more the faster the body is."""
    return _SLIP + _SLIP_PER_SPEED * float(np.linalg.norm(np.diff(qpos[:, :2], axis=0), axis=1).mean() * fps)


def _forward_share(fps: float, qpos: Array) -> float | None:
    """Share of the way that goes where the pelvis faces; the rest goes backward and sideways. None for a short way."""
    window = min(max(1, round(_WINDOW * fps)), len(qpos) - 1)
    way = qpos[window::window, :2] - qpos[:-window:window, :2]
    facing = Rotation.from_quat(qpos[:, 3:7], scalar_first=True).as_matrix()[window // 2 :: window, :2, 0][: len(way)]
    forward = (way * facing).sum(axis=1)
    sideways = way[:, 1] * facing[:, 0] - way[:, 0] * facing[:, 1]
    whole = np.abs(forward).sum() + np.abs(sideways).sum()
    return float(np.maximum(forward, 0).sum() / whole) if whole > _FAR_ENOUGH else None
