"""The reference motion: gait cycles, the mirror image, and where points of the body are."""

import mujoco
import numpy as np
import pytest
import torch

from mwl.core.errors import CorruptFile, MissingFile
from mwl.mocap.gait_cycle import CHANNELS, GaitCycle, StrideLaw, fit_cycle
from mwl.robot import frames
from mwl.robot.h1 import JOINT_NAMES, QPOS0
from mwl.robot.joint_mirror import joint_mirror, mirror_joints
from mwl.robot.kinematics import FEET, HANDS, PointKinematics
from mwl.simulation import build_model, get_task

LAW = StrideLaw(at_rest=1.25, slope=-0.17, shortest=0.95, longest=1.25)


def straight(speed: float, count: int) -> torch.Tensor:
    return torch.tensor([[speed, 0.0, 0.0]]).expand(count, 3)


@pytest.mark.parametrize("name", ["walk", "run"])
def test_a_cycle_is_its_own_mirror_image_half_a_stride_later(name, data_folder):
    cycle = GaitCycle.load(data_folder / f"motion/{name}.json")
    phase = torch.rand(32)
    here = cycle.pose(phase, straight(1.2, 32)).joints
    later = cycle.pose(phase + 0.5, straight(1.2, 32)).joints
    # coefficients are stored to 0.01 mrad, 17 of them per joint
    torch.testing.assert_close(mirror_joints(later), here, atol=2e-4, rtol=0)


@pytest.mark.parametrize("command", [(0.8, 0.3, 0.0), (1.0, 0.0, 0.5), (-0.4, 0.2, -0.3)])
def test_a_sidestep_to_the_left_mirrors_one_to_the_right(command, data_folder):
    cycle = GaitCycle.load(data_folder / "motion/walk.json")
    phase = torch.rand(16)
    left = torch.tensor(command).expand(16, 3)
    right = left * torch.tensor([1.0, -1.0, -1.0])
    mirrored = mirror_joints(cycle.pose(phase + 0.5, right).joints)
    torch.testing.assert_close(mirrored, cycle.pose(phase, left).joints, atol=2e-4, rtol=0)


def test_fitting_recovers_the_samples_at_the_recorded_speed():
    phase = np.arange(64) / 64
    samples = 0.1 * np.sin(2 * np.pi * (np.outer(phase, 1 + np.arange(len(CHANNELS)) % 8)))
    cycle = fit_cycle("test", samples, period=1.08, speed=1.0, stride=LAW, provenance={})
    # T(1.0) = 1.25 - 0.17 = 1.08 s = the recorded period, so the amplitude factor is exactly 1
    pose = cycle.pose(torch.from_numpy(phase).float(), straight(1.0, 64))
    np.testing.assert_allclose(torch.cat([pose.joints, pose.root], -1).numpy(), samples, atol=1e-5)


def test_faster_walking_takes_longer_and_quicker_strides(data_folder):
    cycle = GaitCycle.load(data_folder / "motion/walk.json")
    speeds = torch.tensor([0.4, 0.8, 1.2, 1.6])
    assert (cycle.stride_time(speeds).diff() < 0).all()
    assert (cycle.amplitude(speeds).diff() > 0).all()


def test_a_file_that_is_no_cycle_is_refused(tmp_path):
    with pytest.raises(MissingFile, match="no such gait cycle"):
        GaitCycle.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"harmonics": 8, "channels": {}}')
    with pytest.raises(CorruptFile, match=r"bad\.json"):
        GaitCycle.load(tmp_path / "bad.json")


def test_mirroring_twice_changes_nothing():
    index, sign = joint_mirror()
    joints = torch.randn(4, len(JOINT_NAMES))
    torch.testing.assert_close(mirror_joints(mirror_joints(joints)), joints)
    assert sign[JOINT_NAMES.index("left_hip_roll")] == -1
    assert index[JOINT_NAMES.index("left_knee")] == JOINT_NAMES.index("right_knee")


def test_points_agree_with_the_physics_engine():
    model = build_model(get_task("h1-stand"))
    data = mujoco.MjData(model)
    joints = 0.5 * torch.randn(8, 19)
    points = PointKinematics(model, HANDS + FEET).positions(joints)
    for row, angles in zip(points, joints, strict=True):
        data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0]
        data.qpos[7:26] = angles
        mujoco.mj_kinematics(model, data)
        for point, (body, offset) in zip(row, HANDS + FEET, strict=True):
            rotation, origin = data.body(body).xmat.reshape(3, 3), data.body(body).xpos
            np.testing.assert_allclose(point.numpy(), origin + rotation @ offset, atol=1e-5)


def test_frames_turn_with_the_robot():
    yaw = torch.tensor([0.0, torch.pi / 2])
    rotation = frames.rotation_matrix(frames.quaternion_from_euler(torch.zeros(2), torch.zeros(2), yaw))
    ahead = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # in the world, for a robot that looks along x and along y
    torch.testing.assert_close(frames.to_body(rotation, ahead), torch.tensor([[1.0, 0.0, 0.0]] * 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(frames.heading(rotation), yaw)
    upright = frames.rotation_matrix(torch.tensor(QPOS0[3:7]).float())
    torch.testing.assert_close(frames.gravity_in_body(upright), torch.tensor([0.0, 0.0, -1.0]))
