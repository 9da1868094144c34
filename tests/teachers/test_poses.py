"""A teacher that goes through poses: its search resumes, and guesses that fit nothing are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mwl.core.checkpoints import load_checkpoint
from mwl.core.errors import BadInput, ConfigError, CorruptFile
from mwl.robot.h1 import QPOS0
from mwl.simulation import get_task, make_env
from mwl.teachers.poses import Poses, PoseSequence, PoseTeacherConfig, train_pose_teacher
from mwl.teachers.train import parse_teacher_config

SHORT = PoseTeacherConfig(
    joints=("hip_pitch", "knee"),
    poses=((-0.8, 1.2), (-1.3, 1.5)),
    seconds=(0.4, 0.6),
    generations=3,
    population=4,
    rollouts=2,
    steps=20,
)


def test_targets_go_smoothly_from_pose_to_pose_and_stay_at_the_last() -> None:
    sequence = PoseSequence(SHORT, np.array([SHORT.poses]), np.array([SHORT.seconds]))
    robot = get_task(SHORT.task).robot
    ages = np.array([0, 10, 20, 35, 50, 400])  # 0.4 s are 20 steps, the second pose is there after 1 s
    joints = robot.action_to_ctrl(sequence.action(np.zeros(6, dtype=int), ages))
    left_knee, right_knee = robot.joints.index("left_knee"), robot.joints.index("right_knee")
    rest = QPOS0[7 + left_knee]
    # half-way in time is half-way in place, as the cosine is even about it
    expected = [rest, (rest + 1.2) / 2, 1.2, 1.35, 1.5, 1.5]
    np.testing.assert_allclose(joints[:, left_knee], expected, atol=1e-5)
    np.testing.assert_array_equal(joints[:, left_knee], joints[:, right_knee])
    np.testing.assert_allclose(joints[:, robot.joints.index("left_ankle")], QPOS0[7 + 4], atol=1e-5)


def test_a_stopped_search_ends_as_one_that_never_stopped(tmp_path: Path) -> None:
    whole = train_pose_teacher(SHORT, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(metrics: dict[str, float]) -> None:
        if metrics["iteration"] == 2:
            raise Stop

    with pytest.raises(Stop):
        train_pose_teacher(SHORT, tmp_path / "parts", stop)
    assert load_checkpoint(tmp_path / "parts.training.ckpt")["generation"] == 2
    with pytest.raises(BadInput, match=r"pose_teacher\.population is 6"):
        train_pose_teacher(replace(SHORT, population=6), tmp_path / "parts")
    torch.manual_seed(5)  # whatever was drawn in between
    parts = train_pose_teacher(SHORT, tmp_path / "parts")
    first, second = (torch.load(folder / "model.ckpt", weights_only=True)["state_dict"] for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert Poses.load(parts).describe()["training_env_steps"] == 3 * 4 * 2 * 20
    assert [path.name for path in tmp_path.iterdir() if "training" in path.name] == []


def test_the_shipped_one_sits_down(data_folder: Path) -> None:
    teacher = Poses.load(data_folder / "teachers/sit")
    env = make_env("h1-sit_simple", num_envs=4, seed=123)
    data = env.reset()
    teacher.reset(data["observation"])
    for _ in range(150):
        data = env.step(data.set("action", teacher.act(data["observation"])))["next"]
        assert not data["terminated"].any()
    # On the seat, upright and still the task pays 1, less up to 0.2 for force (`rewards.small_control`).
    assert (data["reward"] > 0.8).all()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"poses": [[0.1, 0.2]], "seconds": [0.4]}, "rows of 5 numbers"),
        ({"poses": [[0.0] * 5], "seconds": [0.4, 0.4]}, "a time of 0.06 s"),
        ({"poses": [[0.0] * 5], "seconds": [0.01]}, "a time of 0.06 s"),
        ({"poses": [[0.0]], "seconds": [0.4], "joints": ["tail"]}, "no joint tail"),
        ({"poses": [[0.0] * 5], "seconds": [0.4], "population": 2}, "population 4"),
        ({"pose": []}, "pose"),
    ],
)
def test_a_guess_that_fits_nothing_is_refused(content: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_teacher_config({"pose_teacher": content}, "sit.yaml")


def test_a_file_of_other_poses_is_refused(tmp_path: Path) -> None:
    from mwl.core.artifact import write_artifact
    from mwl.teachers.config import plain

    settings = plain({**vars(SHORT)})
    weights = {"poses": torch.zeros(3, 2), "seconds": torch.ones(3)}
    checkpoint = {"hyper_parameters": settings, "state_dict": weights}
    write_artifact(
        tmp_path / "x",
        stage="pose_teacher",
        name="x",
        checkpoint=checkpoint,
        robot="unitree_h1",
        provenance={"env_steps": 1},
    )
    with pytest.raises(CorruptFile, match="its poses are not 2 of 2 joints"):
        Poses.load(tmp_path / "x")
