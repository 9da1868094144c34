"""Motion clips: the file format, the quality report, and raw captures on their way to the robot."""

from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch

from mwl.errors import BadInput, CorruptFile, MissingFile
from mwl.motion.clips import MotionClip, check_clip, check_file
from mwl.motion.commands import import_clip
from mwl.motion.cycle import GaitCycle
from mwl.motion.cycle_from_clip import cycle_from_clip
from mwl.motion.readers import read_landmarks
from mwl.simulation.robot import QPOS0

SHARED = Path(__file__).parents[2].parent / "shared" / "motion"
needs_clips = pytest.mark.skipif(not SHARED.is_dir(), reason="no raw clips beside the repository (shared/motion)")


def sliding(frames: int = 51, speed: float = 0.5) -> MotionClip:
    """The reset pose, its soles on the floor, pushed along x at constant speed."""
    qpos = np.tile(QPOS0, (frames, 1))
    qpos[:, 0] = speed * np.arange(frames) / 50
    return MotionClip.from_poses(50.0, qpos, {"source": "test"})


def test_velocities_are_the_differences_of_poses():
    clip = sliding()
    np.testing.assert_allclose(clip.qvel[:, 0], 0.5, atol=1e-9)
    np.testing.assert_allclose(clip.qvel[:, 1:], 0, atol=1e-9)


def test_report_of_a_sliding_robot():
    report = check_clip(sliding())
    assert report["seconds"] == pytest.approx(1.0)
    assert report["speed_m_s"] == pytest.approx(0.5)
    assert report["foot_skate_m_s"] == pytest.approx(0.5, abs=1e-3)  # the soles touch and move with the body
    assert report["penetration_m"] == pytest.approx(0.001, abs=1e-3)  # the reset pose dips 1.05 mm
    assert report["plausible"]


def test_report_names_what_is_wrong():
    clip = sliding()
    clip.qpos[:, 2] -= 0.1
    clip.qpos[30:, 10] = 2.05  # the left knee jumps to its limit, 1.25 rad further
    report = check_clip(clip)
    assert report["penetration_m"] > 0.09
    assert report["max_joint_step_rad"] == pytest.approx(1.25)
    assert report["limit_saturation"] == pytest.approx(21 / 51)
    assert not report["plausible"]


def test_a_clip_gives_back_what_was_written(tmp_path):
    loaded = MotionClip.load(sliding().save(tmp_path / "clip.npz"))
    np.testing.assert_allclose(loaded.qpos, sliding().qpos, atol=1e-6)
    assert (loaded.fps, loaded.provenance) == (50.0, {"source": "test"})


def test_what_is_no_clip_is_refused(tmp_path):
    with pytest.raises(MissingFile):
        check_file(tmp_path / "none.npz")
    path = sliding().save(tmp_path / "clip.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CorruptFile, match=r"clip\.npz"):
        check_file(path)
    np.savez(tmp_path / "other.npz", fps=50.0, qpos=np.zeros((5, 20)))
    with pytest.raises(CorruptFile, match="19 joints"):
        check_file(tmp_path / "other.npz")
    (tmp_path / "raw.bvh").write_text("HIERARCHY")
    with pytest.raises(BadInput, match="import"):
        check_file(tmp_path / "raw.bvh")
    with pytest.raises(CorruptFile, match="bvh"):
        read_landmarks(tmp_path / "raw.bvh", "bvh")
    (tmp_path / "01_01.amc").write_text("1\nroot 0 0 0 0 0 0\n")
    with pytest.raises(MissingFile, match=r"01\.asf"):
        read_landmarks(tmp_path / "01_01.amc", "amc")


def test_amass_files_in_both_spellings(tmp_path):
    frames = 30
    turn = np.zeros((frames, 66))
    turn[:, 0] = np.pi / 2  # AMASS bodies are y up; the root turns them upright in a z-up world
    trans = np.tile([0.0, 0.0, 0.9], (frames, 1))
    poses = np.concatenate([turn, np.zeros((frames, 90))], axis=1)
    np.savez(tmp_path / "h.npz", poses=poses, trans=trans, mocap_framerate=120.0)
    np.savez(tmp_path / "x.npz", root_orient=turn[:, :3], pose_body=turn[:, 3:], trans=trans, mocap_frame_rate=120.0)
    first, second = (read_landmarks(tmp_path / name, "amass") for name in ("h.npz", "x.npz"))
    for name, track in first.positions.items():
        np.testing.assert_allclose(track, second.positions[name])
    # hip 0.09 m below the root, thigh 0.40 m, shank 0.42 m: the ankle is 0.91 m below
    assert first.positions["left_ankle"][0, 2] == pytest.approx(0.9 - 0.91, abs=1e-6)


@needs_clips
def test_bvh_and_amc_of_one_capture_agree():
    bvh = read_landmarks(SHARED / "cmu_raw/01_01.bvh", "bvh")
    amc = read_landmarks(SHARED / "cmu_raw/01_01.amc", "amc")

    def bend(landmarks, frame: int) -> float:
        """Angle between thigh and shank."""
        at = {name: track[frame] for name, track in landmarks.positions.items()}
        thigh, shank = at["left_knee"] - at["left_hip"], at["left_ankle"] - at["left_knee"]
        return float(np.arccos(thigh @ shank / np.linalg.norm(thigh) / np.linalg.norm(shank)))

    # the BVH begins with a rest pose, which is left out
    assert len(bvh.positions["left_knee"]) == len(amc.positions["left_knee"]) == 2751
    for frame in (100, 800, 2000):
        assert bend(bvh, frame) == pytest.approx(bend(amc, frame), abs=0.03)
    leg = np.linalg.norm(amc.positions["left_hip"] - amc.positions["left_knee"], axis=1).mean()
    assert 0.35 < leg < 0.5  # m, a person's thigh


@needs_clips
def test_a_raw_capture_becomes_a_plausible_clip(tmp_path):
    pytest.importorskip("mink")
    report = import_clip(SHARED / "cmu_raw/11_01.amc", "amc", tmp_path / "clip.npz", film=True)
    assert report["plausible"]
    assert 4.5 < report["seconds"] < 5.5
    assert check_file(report["clip"])["frames"] == report["frames"]
    assert imageio.imread(report["preview"]).std() > 20  # a picture, not a blank
    with imageio.get_reader(report["film"]) as film:
        # 4.96 s at 12.5 frames a second: frames at 0, 0.08, ... 4.96
        assert film.count_frames() == 63


@needs_clips
@pytest.mark.parametrize(("name", "format"), [("01_01.bvh", "bvh"), ("01_01.amc", "amc")])
def test_truncated_captures_are_one_clear_error(name, format, tmp_path):
    raw = (SHARED / "cmu_raw" / name).read_bytes()
    (tmp_path / name).write_bytes(raw[: len(raw) // 2])
    (tmp_path / "01.asf").write_bytes((SHARED / "cmu_raw/01.asf").read_bytes())
    with pytest.raises(CorruptFile, match=name):
        read_landmarks(tmp_path / name, format)


@needs_clips
@pytest.mark.parametrize("name", ["walk", "run"])
def test_shipped_cycles_come_out_of_their_clips_again(name, data_folder):
    shipped = GaitCycle.load(data_folder / f"motion/{name}.json")
    clip = MotionClip.load(SHARED / f"h1_{name}_cmu_mink.npz")
    cycle = cycle_from_clip(name, clip, shipped.stride, shortest=0.3)
    assert cycle.period == pytest.approx(shipped.period)
    assert cycle.speed == pytest.approx(shipped.speed, rel=0.01)
    # where a stride begins is a matter of convention, so the best of 64 shifts counts
    phase = torch.arange(64) / 64
    command = torch.tensor([[shipped.speed, 0.0, 0.0]]).expand(64, 3)
    expected = shipped.pose(phase, command).joints
    shifts = [(cycle.pose(phase + k / 64, command).joints - expected).abs().mean() for k in range(64)]
    assert min(shifts) < 0.05  # rad
