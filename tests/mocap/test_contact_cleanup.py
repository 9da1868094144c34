"""Feet that stand: found in a path, held in place, and flat on the floor."""

import numpy as np
import pytest

from mwl.mocap.contact_cleanup import hold, level_soles, plant, standing_frames
from mwl.robot.h1 import JOINT_NAMES, QPOS0
from mwl.rollouts.metrics import floor_height, foot_skate, sole_positions


def step(drift: float = 0.1) -> np.ndarray:
    """An ankle that stands 1 s, drifting along y at `drift` m/s, swings 0.5 m ahead in 0.4 s, and stands 1 s again."""
    times = np.arange(0, 2.4, 0.02)
    swing = np.clip((times - 1.0) / 0.4, 0, 1)
    return np.stack([0.5 * swing, drift * times, 0.08 + 0.15 * np.sin(np.pi * swing)], axis=1)


def test_stands_are_found():
    standing = standing_frames(step(), 50.0)
    assert standing[2:47].all()
    assert not standing[53:68].any()
    assert standing[73:118].all()
    assert not standing_frames(np.cumsum(np.full((100, 3), [0.03, 0, 0]), axis=0), 50.0).any()  # 1.5 m/s


def test_a_planted_foot_keeps_its_place_and_bends_over_to_it():
    path = step()
    path[75:, 2] += 0.03  # the second stand seems higher than the first
    standing = standing_frames(path, 50.0)
    planted = plant(path, standing)
    assert np.ptp(planted[5:45], axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
    assert planted[100, 2] == pytest.approx(planted[20, 2])
    np.testing.assert_allclose(planted[60], path[60])  # the middle of the swing is as it was
    # a correction comes and goes over six frames: the largest, 0.05 m sideways, adds at most 0.42 m/s to any step
    assert np.abs(np.diff(planted - path, axis=0)).max() < 0.05 / 6 + 0.01


def test_what_never_stands_is_left_alone():
    track, never = np.random.default_rng(0).normal(size=(20, 3)), np.zeros(20, dtype=bool)
    np.testing.assert_array_equal(plant(track, never), track)
    np.testing.assert_array_equal(hold(track[:, 0], never), track[:, 0])


def test_soles_are_level_where_they_stand_and_out_of_the_floor_elsewhere():
    qpos = np.tile(QPOS0, (40, 1))
    qpos[:, 7 + JOINT_NAMES.index("left_ankle")] += 0.3  # toes down, into the floor
    qpos[:, 7 + JOINT_NAMES.index("right_ankle")] -= 0.2  # toes up
    standing = {"left": np.arange(40) < 20, "right": np.arange(40) < 20}
    soles = sole_positions(level_soles(qpos, standing))
    assert np.ptp(soles[:20, :, :, 2]) == pytest.approx(0, abs=1e-4)
    floor = soles[:20, ..., 2].mean()
    assert sole_positions(qpos)[..., 2].min() < floor - 0.05
    assert soles[..., 2].min() > floor - 1e-3
    assert foot_skate(soles[:20], 50.0, floor_height(soles)) == pytest.approx(0, abs=1e-3)
