"""Figures of motion quality against motions whose figures are known."""

import numpy as np
import pytest

from mwl.robot.h1 import QPOS0
from mwl.rollouts.metrics import floor_height, foot_skate, joint_jerk, sole_positions


def test_jerk_of_a_sine():
    # one joint of 19 with q = 0.2 sin(2 pi t): its jerk has root mean square 0.2 (2 pi)^3 / sqrt(2) = 35.08
    times = np.arange(0, 4, 0.02)
    qvel = np.zeros((len(times), 25))
    qvel[:, 9] = 0.2 * 2 * np.pi * np.cos(2 * np.pi * times)
    assert joint_jerk(qvel, 50.0) == pytest.approx(35.08 / np.sqrt(19), rel=0.01)
    assert joint_jerk(qvel[:2], 50.0) == 0


def test_skate_counts_what_touches_alone():
    soles = np.zeros((11, 2, 4, 3))
    soles[:, 0, :, 0] = 0.006 * np.arange(11)[:, None]  # the left foot slides at 0.3 m/s
    soles[:, 1, :, 2] = 0.05  # the right one is in the air, and fast
    soles[:, 1, :, 0] = 0.1 * np.arange(11)[:, None]
    assert foot_skate(soles, 50.0) == pytest.approx(0.3)
    soles[:, 0, 2:, 2] = 0.03  # it rolls onto two corners that rest: what moves is in the air
    soles[:, 0, :2, 0] = 0.0
    assert foot_skate(soles, 50.0) == pytest.approx(0.0)
    assert foot_skate(soles, 50.0, floor=-1.0) == 0


def test_floor_lies_under_the_lower_sole():
    qpos = np.tile(QPOS0, (20, 1))
    qpos[:, 2] += 0.1
    qpos[7, 2] -= 0.3  # a single frame that sinks does not move the floor
    assert floor_height(sole_positions(qpos)) == pytest.approx(0.1 - 0.001, abs=1e-3)  # the reset pose dips 1.05 mm
