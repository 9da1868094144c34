"""Feet of a retargeted clip: where the person's stood still, the robot's stand still and flat."""

import numpy as np
from numpy.typing import NDArray

from mwl.robot.h1 import CTRL_HIGH, CTRL_LOW, FOOT_CORNERS, JOINT_NAMES, SOLE_HEIGHT
from mwl.rollouts.metrics import sole_positions

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
_STILL = 0.4  # m/s, of an ankle over a foot that stands; it still leans forward over the toes
_NEAR_FLOOR = 0.08  # m
_SHORTEST = 4  # frames
_HEEL, _TOE = -FOOT_CORNERS[0][0], FOOT_CORNERS[-1][0]  # m, behind and ahead of the ankle
_RAMP = 5  # frames over which a correction comes and goes


def standing_frames(ankle: Array, fps: float) -> Flags:
    """Frames `[T]` in which a foot stands, for an ankle's path `[T, 3]` in m: slow, near the floor, and for a while."""
    speed = np.linalg.norm(np.gradient(ankle, axis=0), axis=1) * fps
    height = ankle[:, 2] - np.quantile(ankle[:, 2], 0.05)
    standing = (speed < _STILL) & (height < _NEAR_FLOOR)
    for start, end in _runs(standing):
        if end - start < _SHORTEST:
            standing[start:end] = False
    return standing


def plant(path: Array, standing: Flags) -> Array:
    """The ankle's path `[T, 3]` with every stand at one place and all stands at one height, bent over to them."""
    if not standing.any():
        return path
    level = float(np.median(path[standing, 2]))
    return np.column_stack([hold(path[:, :2], standing), hold(path[:, 2], standing, level)])


def hold(track: Array, standing: Flags, value: float | None = None) -> Array:
    """Numbers `[T, ...]` that keep one value in every stand, bent over to it before and after.

    Args:
        track: the numbers; standing: frames `[T]`.
        value: what they keep; None takes their median in each stand.
    """
    correction, share = np.zeros_like(track), np.zeros(len(track))
    for start, end in _runs(standing):
        fading = _fading(start, end, len(track))
        kept = np.median(track[start:end], axis=0) if value is None else value
        nearest = np.clip(np.arange(len(track)), start, end - 1)
        correction += (fading * (kept - track[nearest]).T).T
        share += fading
    return track + (correction.T / np.maximum(share, 1.0)).T


def level_soles(qpos: Array, standing: dict[str, Flags]) -> Array:
    """Poses `[T, 26]` whose ankles turn the soles level where a foot stands, and out of the floor where it swings.

    Args:
        qpos: poses; standing: frames `[T]` in which the `left` and the `right` foot stand.
    """
    turned = qpos.copy()
    soles = sole_positions(qpos)  # of every foot's four corners, two lie behind the ankle, then two ahead of it
    heel, toe = soles[:, :, :2].mean(axis=2), soles[:, :, 2:].mean(axis=2)
    slope = np.arctan2(toe[..., 2] - heel[..., 2], np.linalg.norm((toe - heel)[..., :2], axis=-1))  # [T, 2]
    under_ankle = heel[..., 2] + (toe - heel)[..., 2] * _HEEL / (_HEEL + _TOE)
    height = under_ankle + SOLE_HEIGHT * (1 - np.cos(slope))  # of the sole if it were level
    stands = np.stack([standing["left"], standing["right"]], axis=1)
    room = np.maximum(height - (np.median(height[stands]) if stands.any() else height.min()), 0)
    wanted = np.clip(slope, -np.arcsin(np.minimum(room / _TOE, 1)), np.arcsin(np.minimum(room / _HEEL, 1)))
    for side, name in enumerate(("left", "right")):
        joint = JOINT_NAMES.index(f"{name}_ankle")
        share = np.max([np.zeros(len(qpos)), *(_fading(*run, len(qpos)) for run in _runs(standing[name]))], axis=0)
        angle = turned[:, 7 + joint] + slope[:, side] - (1 - share) * wanted[:, side]  # positive angles lower the toes
        turned[:, 7 + joint] = np.clip(angle, CTRL_LOW[joint], CTRL_HIGH[joint])
    return turned


def _fading(start: int, end: int, count: int) -> Array:
    """1 from `start` to before `end`, falling to 0 over a few frames on either side, `[count]`."""
    frames = np.arange(count)
    distance = np.maximum(np.maximum(start - frames, frames - (end - 1)), 0)
    return np.clip(1 - distance / (_RAMP + 1), 0, 1)


def _runs(flags: Flags) -> list[tuple[int, int]]:
    """Beginnings and ends (one past) of the stretches in which flags `[T]` hold."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
