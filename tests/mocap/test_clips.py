"""Motion clips: the file format, the quality report, and raw captures on their way to the robot."""

from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mwl.app.commands.motion import import_clip
from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.mocap.clips import MotionClip, check_clip, check_file
from mwl.mocap.cycle_from_clip import cycle_from_clip
from mwl.mocap.gait_cycle import GaitCycle
from mwl.mocap.readers.landmarks import Landmarks
from mwl.mocap.readers.read import read_landmarks
from mwl.mocap.retarget import retarget
from mwl.robot.h1 import QPOS0

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
    # 0.15 m/s of slip and 0.2 per m/s of the body are let pass: 0.25 m/s at 0.5 m/s
    assert report["implausible_for"] == ["foot_slip_m_s is 0.5, at most 0.25 is plausible"]


def test_a_robot_that_stands_is_plausible():
    report = check_clip(sliding(speed=0.0))
    assert report["plausible"], report["implausible_for"]
    assert report["forward_share"] is None


def test_one_odd_frame_condemns_no_clip():
    clip = sliding(frames=200, speed=0.0)
    clip.qpos[0, 2] -= 0.05
    assert check_clip(clip)["plausible"]
    clip.qpos[:20, 2] -= 0.05  # a tenth of the clip does
    assert "penetration_m" in check_clip(clip)["implausible_for"][0]


def turned(angles: list[float]) -> list[float]:
    return Rotation.from_euler("ZYX", angles, degrees=True).as_quat(scalar_first=True).tolist()


@pytest.mark.parametrize(
    ("height", "quaternion", "speed", "figure"),
    [
        (0.1, turned([0, -90, 0]), 0.0, "lying_share"),  # on its back
        (0.1, turned([0, 0, 90]), 0.0, "lying_share"),  # on its side
        (QPOS0[2] + 0.06, turned([0, 0, 0]), 0.0, "floating_m"),
        (QPOS0[2] + 0.06, turned([0, 0, 0]), 0.0, "airborne_s"),
        (QPOS0[2] - 0.04, turned([0, 0, 0]), 0.0, "penetration_m"),
        (QPOS0[2], turned([90, 0, 0]), 1.0, "forward_share"),  # along x, facing y
        (QPOS0[2], turned([180, 0, 0]), 1.0, "forward_share"),  # backward
        (QPOS0[2], turned([0, 0, 0]), 1.0, "foot_slip_m_s"),
    ],
)
def test_the_figure_that_fails_is_named(height, quaternion, speed, figure):
    qpos = np.tile(QPOS0, (101, 1))
    qpos[:, 2], qpos[:, 3:7] = height, quaternion
    qpos[:, 0] = speed * np.arange(101) / 50
    report = check_clip(MotionClip.from_poses(50.0, qpos))
    assert not report["plausible"]
    assert any(line.startswith(figure) for line in report["implausible_for"])


def test_report_names_what_is_wrong():
    clip = sliding(speed=0.0)
    clip.qpos[:, 2] -= 0.1
    clip.qpos[30:, 10] = 2.05  # the left knee jumps to its limit, 1.25 rad further
    report = check_clip(clip)
    assert report["penetration_m"] > 0.09
    assert report["max_joint_step_rad"] == pytest.approx(1.25)
    assert report["joint_jump_share"] == pytest.approx(1 / 50)
    assert report["limit_saturation"] == pytest.approx(21 / 51)
    assert [line.split()[0] for line in report["implausible_for"]] == ["penetration_m", "joint_jump_share"]
    clip.qpos[:, 10] = 2.35
    assert check_clip(clip)["beyond_limits_rad"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("qvel", np.full((51, 25), np.nan)),
        ("qvel", np.zeros((50, 25))),
        ("qvel", np.zeros((51, 26))),
        ("qvel", np.array("still")),
        ("qpos", np.tile(np.where(np.arange(26) == 3, 0.0, QPOS0), (51, 1))),  # no quaternion
        ("qpos", np.tile(QPOS0, (1, 1))),
        ("qpos", np.tile(QPOS0 * 1e9, (51, 1))),
        ("fps", np.float64(0)),
        ("fps", np.float64(-50)),
        ("fps", np.float64(1e-9)),
        ("fps", np.float64(np.inf)),
        ("fps", np.float64(np.nan)),
        ("fps", np.array([50.0, 60.0])),
        ("fps", np.array("fifty")),
        ("provenance", np.array("no JSON")),
        ("provenance", np.array("[" * 20000)),
        ("provenance", np.array("[1, 2]")),
        ("provenance", np.array([], dtype="U1")),
        ("joint_names", np.array(["knee"])),
    ],
)
def test_a_clip_that_says_nonsense_is_refused(entry, value, tmp_path):
    content = {"fps": np.float64(50), "qpos": np.tile(QPOS0, (51, 1)), "qvel": np.zeros((51, 25))}
    np.savez(tmp_path / "clip.npz", **{**content, entry: value})
    with pytest.raises(CorruptFile, match=r"clip\.npz") as error:
        MotionClip.load(tmp_path / "clip.npz")
    assert len(str(error.value)) < 400


def test_a_dot_in_a_name_is_no_ending(tmp_path):
    names = [sliding(frames=5).save(tmp_path / name).name for name in ("take.01", "take.02", "take.03.npz")]
    assert names == ["take.01.npz", "take.02.npz", "take.03.npz"]


def test_nothing_is_overwritten_unless_forced(tmp_path):
    source = sliding(frames=51, speed=0.0).save(tmp_path / "clip.npz")
    before = source.read_bytes()
    with pytest.raises(BadInput, match="--force"):
        import_clip(source, "h1", source)
    with pytest.raises(BadInput, match="--force"):
        import_clip(tmp_path / "none.npz", "h1", source)  # before the work: nothing is read
    assert source.read_bytes() == before
    report = import_clip(source, "h1", tmp_path / "take.01", fps=50.0)
    assert (Path(report["clip"]).name, Path(report["preview"]).name) == ("take.01.npz", "take.01.png")
    (tmp_path / "take.02.png").write_text("a picture of mine")
    with pytest.raises(BadInput, match=r"take\.02\.png"):
        import_clip(source, "h1", tmp_path / "take.02")
    assert import_clip(source, "h1", tmp_path / "take.02", force=True)["plausible"]
    assert (tmp_path / "take.02.png").read_bytes()[1:4] == b"PNG"


def test_a_lively_clip_does_not_jump():
    """Kicks, quick turns and bends of the trunk: feet in the air used to flip by 1.3 rad from frame to frame."""
    pytest.importorskip("mink")
    clip = retarget(lively(seed=1, seconds=3.0))
    steps = np.abs(np.diff(clip.qpos[:, 7:], axis=0))
    assert steps.max() < 0.5  # 25 rad/s; inverse kinematics may take 0.46 rad a frame
    assert np.abs(clip.qpos[:, 7:]).max() > 1.5  # lively indeed


def lively(seed: int, seconds: float, fps: float = 120.0) -> Landmarks:
    """A person whose every joint swings by sums of sines."""
    random = np.random.default_rng(seed)
    times = np.arange(0, seconds, 1 / fps)

    def swing(size: float, rate: float) -> np.ndarray:
        parts = [(size / k, k * rate * random.uniform(0.8, 1.2), random.uniform()) for k in (1, 2, 3)]
        return sum(amplitude * np.sin(2 * np.pi * (hz * times + phase)) for amplitude, hz, phase in parts)

    def turn(*angles: np.ndarray) -> Rotation:
        return Rotation.from_euler("ZYX", np.stack(angles, axis=1))

    pelvis = turn(swing(1.0, 0.3), swing(0.25, 0.7), swing(0.15, 0.7))
    trunk = pelvis * turn(swing(0.3, 0.8), swing(0.2, 0.8), swing(0.1, 0.8))
    root = np.stack([swing(0.4, 0.2), swing(0.4, 0.2), 0.9 + swing(0.08, 1.0)], axis=1)
    at = {}
    for side, sign in (("left", 1), ("right", -1)):
        thigh = pelvis * turn(swing(0.3, 0.8), -0.4 + swing(0.7, 0.9), 0.1 * sign + swing(0.25, 0.8))
        shank = thigh * Rotation.from_euler("y", np.clip(0.7 + swing(0.6, 0.9), 0.02, 2.0)[:, None])
        upper = trunk * turn(swing(0.4, 0.8), swing(0.8, 0.9), 0.4 * sign + swing(0.5, 0.8))
        fore = upper * Rotation.from_euler("y", -np.clip(0.8 + swing(0.6, 1.0), 0.02, 2.0)[:, None])
        at[f"{side}_hip"] = root + pelvis.apply([0, 0.09 * sign, 0])
        at[f"{side}_knee"] = at[f"{side}_hip"] + thigh.apply([0, 0, -0.42])
        at[f"{side}_ankle"] = at[f"{side}_knee"] + shank.apply([0, 0, -0.42])
        at[f"{side}_shoulder"] = root + trunk.apply([0, 0.2 * sign, 0.45])
        at[f"{side}_elbow"] = at[f"{side}_shoulder"] + upper.apply([0, 0, -0.28])
        at[f"{side}_wrist"] = at[f"{side}_elbow"] + fore.apply([0, 0, -0.25])
    return Landmarks(fps, at, "lively")


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


def test_a_cycle_of_an_imported_clip_loads_again(tmp_path, data_folder):
    shipped = GaitCycle.load(data_folder / "motion/walk.json")
    shipped.provenance = {"source": "mine", "read_as": {"fps": "50 (--fps)"}}  # what an import writes into a clip
    shipped.save(tmp_path / "mine.json")
    assert GaitCycle.load(tmp_path / "mine.json").provenance == shipped.provenance
