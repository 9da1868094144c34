"""Poses of this robot from other people's files, at 50 Hz and in this project's order."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mwl.errors import CorruptFile, MissingFile
from mwl.motion.commands import check, import_clip
from mwl.motion.robot_clips import read_robot_clip
from mwl.simulation.robot import JOINT_NAMES, QPOS0


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
    assert report["plausible"]
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("short.csv", "1,2,3\n1,2,3\n", "26 columns"),
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
