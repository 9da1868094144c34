"""Poses of this robot from other people's files, at 50 Hz and in this project's order."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mwl.app.commands.motion import check, import_clip
from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.mocap.readers.conventions import Conventions
from mwl.mocap.robot_clips import read_robot_clip
from mwl.robot.h1 import JOINT_NAMES, QPOS0


def turning(fps: float, seconds: float = 1.0) -> np.ndarray:
    """The reset pose, turning at 1 rad/s while the left knee bends at 0.3 rad/s and the root moves at 2 m/s."""
    times = np.arange(round(seconds * fps) + 1) / fps
    qpos = np.tile(QPOS0, (len(times), 1))
    qpos[:, 0], qpos[:, 10] = 2 * times, 0.8 + 0.3 * times
    qpos[:, 3:7] = Rotation.from_euler("z", times[:, None]).as_quat(scalar_first=True)
    return qpos


def as_rows(qpos: np.ndarray) -> np.ndarray:
    return np.concatenate([qpos[:, :3], qpos[:, [4, 5, 6, 3]], qpos[:, 7:]], axis=1)


def assert_turning(clip) -> None:
    np.testing.assert_allclose(clip.qpos, turning(50.0), atol=1e-6)
    np.testing.assert_allclose(clip.qvel[:, 5], 1.0, atol=1e-6)
    np.testing.assert_allclose(clip.qvel[:, 9], 0.3, atol=1e-6)


def test_a_plain_table(tmp_path):
    np.savetxt(tmp_path / "plain.csv", as_rows(turning(30.0)), delimiter=",")
    assert_turning(read_robot_clip(tmp_path / "plain.csv"))
    np.savetxt(tmp_path / "fast.csv", as_rows(turning(120.0)), delimiter=",")
    assert_turning(read_robot_clip(tmp_path / "fast.csv", fps=120.0))


def test_a_table_with_names_in_another_order(tmp_path):
    rows = as_rows(turning(30.0))
    rows[:, 7:] = rows[:, :6:-1]  # joints backwards
    header = ["x", "y", "z", "qx", "qy", "qz", "qw", *(f"{name}_joint" for name in reversed(JOINT_NAMES))]
    np.savetxt(tmp_path / "named.csv", rows, delimiter=",", header=",".join(header), comments="")
    assert_turning(read_robot_clip(tmp_path / "named.csv"))


def test_arrays_in_both_spellings(tmp_path):
    qpos = turning(100.0)
    np.savez(tmp_path / "ours.npz", qpos=qpos, fps=100)
    assert_turning(read_robot_clip(tmp_path / "ours.npz"))
    parts = {"root_pos": qpos[:, :3], "root_rot": qpos[:, [4, 5, 6, 3]], "dof_pos": qpos[:, 7:]}
    np.savez(tmp_path / "parts.npz", fps=100, **parts)
    assert_turning(read_robot_clip(tmp_path / "parts.npz"))


def test_import_writes_clip_and_picture(tmp_path):
    np.savetxt(tmp_path / "plain.csv", as_rows(turning(30.0)), delimiter=",")
    report = import_clip(tmp_path / "plain.csv", "h1", tmp_path / "out" / "clip.npz")
    assert report["read_as"]["fps"].startswith("30 (assumed")
    assert report["implausible_for"][0].startswith("foot_slip_m_s")  # it glides at 2 m/s
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip.npz", "clip.png"]


def test_check_leaves_the_folder_of_the_clip_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("plain.csv", as_rows(turning(30.0)), delimiter=",")
    read_robot_clip(Path("plain.csv")).save("clips/turn.npz")
    report = check("clips/turn.npz")
    assert report["speed_m_s"] == pytest.approx(2.0, abs=1e-3)
    assert report["preview"] == "runs/motion/turn.png"
    assert check("clips/turn.npz", out="elsewhere/new")["preview"] == "elsewhere/new/turn.png"
    assert Path("runs/motion/turn.png").is_file()
    assert Path("elsewhere/new/turn.png").is_file()
    assert [path.name for path in Path("clips").iterdir()] == ["turn.npz"]


HEADER = ["x", "y", "z", "qx", "qy", "qz", "qw", *JOINT_NAMES]


@pytest.mark.parametrize("mark", [",", "\t", ";", " "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_tables_of_any_make(mark, encoding, tmp_path):
    lines = ["# aus München" if encoding != "utf-16" else "# aus Muenchen", mark.join(HEADER)]
    lines += [mark.join(f"{number:.9f}" for number in row) for row in as_rows(turning(30.0))]
    (tmp_path / "table.csv").write_bytes("\r\n".join(lines).encode(encoding))
    assert_turning(read_robot_clip(tmp_path / "table.csv"))


@pytest.mark.parametrize("name", ["q{}", "root_q{}", "quat_{}", "root_rot_{}"])
def test_a_table_is_read_by_its_names(name, tmp_path):
    names = [name.format(part) for part in "wxyz"]
    qpos = turning(100.0)
    order = np.random.default_rng(0).permutation(27)
    columns = np.concatenate([qpos, np.arange(len(qpos))[:, None] / 100], axis=1)[:, order]
    header = np.array(["x", "y", "z", *names, *JOINT_NAMES, "time"])[order]
    np.savetxt(tmp_path / "named.csv", columns, delimiter=",", header=",".join(header), comments="")
    clip = read_robot_clip(tmp_path / "named.csv")
    assert_turning(clip)
    assert clip.provenance["read_as"]["fps"] == "100 (the file says)"
    assert "first line" in clip.provenance["read_as"]["quaternion"]


def walking(heading: float = 0.0, speed: float = 1.0, fps: float = 50.0) -> np.ndarray:
    """The reset pose, gliding where it faces."""
    qpos = np.tile(QPOS0, (51, 1))
    way = speed * np.arange(51) / fps
    qpos[:, 0], qpos[:, 1] = way * np.cos(heading), way * np.sin(heading)
    qpos[:, 3:7] = Rotation.from_euler("z", heading).as_quat(scalar_first=True)
    return qpos


def forward(clip) -> float:
    """Speed in m/s along where the robot faces."""
    facing = Rotation.from_quat(clip.qpos[0, 3:7], scalar_first=True).as_matrix()[:2, 0]
    return float((clip.qpos[-1, :2] - clip.qpos[0, :2]) @ facing * clip.fps / (len(clip.qpos) - 1))


@pytest.mark.parametrize("heading", [0.0, 0.7, 2.0, np.pi, -2.5])
def test_the_order_of_a_quaternion_is_seen_or_asked_for(heading, tmp_path):
    qpos = walking(heading)
    np.savez(tmp_path / "wxyz.npz", qpos=qpos, fps=50)
    assert forward(read_robot_clip(tmp_path / "wxyz.npz")) == pytest.approx(1.0)
    swapped = qpos.copy()
    swapped[:, 3:7] = qpos[:, [4, 5, 6, 3]]
    np.savez(tmp_path / "xyzw.npz", qpos=swapped, fps=50)
    if np.cos(heading) > 0.5:  # upright in both orders, and backward in the usual one
        with pytest.raises(BadInput, match="--quaternion"):
            read_robot_clip(tmp_path / "xyzw.npz")
        clip = read_robot_clip(tmp_path / "xyzw.npz", told=Conventions(quaternion="xyzw"))
        assert forward(clip) == pytest.approx(1.0)
    else:
        with suppress(BadInput):
            assert forward(read_robot_clip(tmp_path / "xyzw.npz")) == pytest.approx(1.0)
    told = read_robot_clip(tmp_path / "xyzw.npz", told=Conventions(quaternion="xyzw"))
    np.testing.assert_allclose(told.qpos, qpos, atol=1e-9)
    np.savetxt(tmp_path / "plain.csv", swapped, delimiter=",")
    assert forward(read_robot_clip(tmp_path / "plain.csv", fps=50.0)) == pytest.approx(1.0)


@pytest.mark.parametrize("own", [False, True])
def test_poses_with_y_up_stand_on_the_floor(own, tmp_path):
    qpos = walking(0.4)
    to_y_up = Rotation.from_euler("x", -90, degrees=True)
    turn = to_y_up * Rotation.from_quat(qpos[:, 3:7], scalar_first=True)
    turn = turn * to_y_up.inv() if own else turn  # the robot's own axes are turned as well
    moved = np.concatenate([to_y_up.apply(qpos[:, :3]), turn.as_quat(scalar_first=True), qpos[:, 7:]], axis=1)
    np.savez(tmp_path / "y_up.npz", qpos=moved, fps=50)
    for told in (None, Conventions(up="y")):
        clip = read_robot_clip(tmp_path / "y_up.npz", told=told)
        assert forward(clip) == pytest.approx(1.0)
        np.testing.assert_allclose(clip.qpos[:, 2], QPOS0[2], atol=1e-9)
        assert clip.provenance["read_as"]["up"].startswith("y")


@pytest.mark.parametrize(
    "rate", [{"dt": 0.01}, {"frequency": 100.0}, {"FPS": [100]}, {"time": np.arange(101) / 100}, {"control_dt": 0.01}]
)
def test_archives_say_their_rate_in_many_ways(rate, tmp_path):
    np.savez(tmp_path / "clip.npz", qpos=turning(100.0), **rate)
    assert_turning(read_robot_clip(tmp_path / "clip.npz"))


def test_what_a_file_leaves_open_is_asked_for(tmp_path):
    np.savez(tmp_path / "clip.npz", qpos=turning(100.0))
    with pytest.raises(BadInput, match="--fps"):
        read_robot_clip(tmp_path / "clip.npz")
    assert_turning(read_robot_clip(tmp_path / "clip.npz", fps=100.0))
    np.save(tmp_path / "clip.npy", turning(100.0))
    assert_turning(read_robot_clip(tmp_path / "clip.npy", fps=100.0))
    centimetres = turning(100.0)
    centimetres[:, :3] *= 100
    np.savez(tmp_path / "cm.npz", qpos=centimetres, fps=100)
    with pytest.raises(BadInput, match="--unit cm"):
        read_robot_clip(tmp_path / "cm.npz")
    assert_turning(read_robot_clip(tmp_path / "cm.npz", told=Conventions(unit="cm")))
    with pytest.raises(BadInput, match="--joint-map"):
        read_robot_clip(tmp_path / "clip.npz", told=Conventions(joint_map={"left_hip": "a"}))


@pytest.mark.parametrize("fps", [1e-9, 1e-4, 0.0, -30.0, np.inf, np.nan, 1e300])
def test_rates_that_are_none_are_refused(fps, tmp_path):
    np.savez(tmp_path / "clip.npz", qpos=turning(100.0), fps=fps)
    with pytest.raises(CorruptFile):
        read_robot_clip(tmp_path / "clip.npz")


def test_short_clips_degrees_and_objects_are_refused(tmp_path):
    np.savez(tmp_path / "short.npz", qpos=turning(100.0)[:2], fps=100)
    with pytest.raises(CorruptFile, match="less than two frames at 50 Hz"):
        read_robot_clip(tmp_path / "short.npz")
    degrees = turning(50.0)
    degrees[:, 7:] = np.degrees(degrees[:, 7:])
    np.savez(tmp_path / "degrees.npz", qpos=degrees, fps=50)
    with pytest.raises(CorruptFile, match="degrees"):
        read_robot_clip(tmp_path / "degrees.npz")
    far = turning(50.0)
    far[3, 0] = 1e300
    np.savez(tmp_path / "far.npz", qpos=far, fps=50)
    with pytest.raises(CorruptFile, match="from the origin"):
        read_robot_clip(tmp_path / "far.npz")
    still = turning(50.0)
    still[3, 3:7] = 0
    np.savez(tmp_path / "zero.npz", qpos=still, fps=50)
    with pytest.raises(CorruptFile, match="unit quaternions; in frame 3"):
        read_robot_clip(tmp_path / "zero.npz")
    np.save(tmp_path / "objects.npy", np.array({"fps": 30}, dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match="objects"):
        read_robot_clip(tmp_path / "objects.npy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("short.csv", "1,2,3\n1,2,3\n", "26 columns"),
        ("long.csv", "9" * 9000 + "\n", "26 columns"),
        ("ragged.csv", "1,2,3\n1,2\n", "ragged"),
        ("words.csv", "a,b\nc,d\n", "words"),
        ("empty.csv", "", "empty"),
        ("noise.npz", "no archive", r"no \.npz archive"),
    ],
)
def test_what_is_no_motion_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(CorruptFile, match=message):
        read_robot_clip(tmp_path / name)


def test_other_robots_and_missing_files_are_refused(tmp_path):
    with pytest.raises(MissingFile):
        read_robot_clip(tmp_path / "none.csv")
    np.savez(tmp_path / "g1.npz", qpos=np.ones((5, 36)), fps=30)
    with pytest.raises(CorruptFile, match=r"\[5, 36\]"):
        read_robot_clip(tmp_path / "g1.npz")
    names = ["waist", *JOINT_NAMES[1:]]
    np.savez(tmp_path / "names.npz", qpos=turning(50.0), fps=50, joint_names=names)
    with pytest.raises(CorruptFile, match="waist"):
        read_robot_clip(tmp_path / "names.npz")
    turned = turning(50.0)
    turned[:, 3:7] *= 3
    np.savez(tmp_path / "long.npz", qpos=turned, fps=50)
    with pytest.raises(CorruptFile, match="unit quaternions"):
        read_robot_clip(tmp_path / "long.npz")
