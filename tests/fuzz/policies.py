"""Loaders of teachers, and of policies that a user brings, as further targets."""

import json
from pathlib import Path
from typing import Any

import torch
from motions import POSE
from mutations import changed_bytes, rewritten
from running import Target
from spoiling import finite, shipped, spoil_artifact

from mwl.demonstrators.external import CommandedJoints, ObservedPiece, UserPolicy, UserPolicyConfig
from mwl.simulation import get_task
from mwl.teachers.acting.agent import TaughtAgent
from mwl.teachers.acting.board import BoardTeacher
from mwl.teachers.acting.seat import LAYOUT, SeatTeacher
from mwl.teachers.door.teacher import HandlePull
from mwl.teachers.poses import Poses
from mwl.teachers.teacher import TrackingPolicy


def sound_teacher(teacher: Any) -> None:
    finite([dict(teacher.agent.state_dict()), teacher.noise_scale])
    json.dumps(teacher.describe())
    observation = torch.zeros(2, 51)
    observation[:, :26] = torch.from_numpy(POSE)
    teacher.reset(observation)
    finite(teacher.act(observation))


def sound_door_teacher(teacher: Any) -> None:
    finite([dict(teacher.agent.state_dict()), teacher.noise_scale])
    json.dumps(teacher.describe())


def sound_pose_teacher(teacher: Any) -> None:
    json.dumps(teacher.describe())
    observation = torch.zeros(2, 51)
    teacher.reset(observation)
    finite(teacher.act(observation))


def sound_seat_teacher(teacher: SeatTeacher) -> None:
    observation = torch.zeros(2, LAYOUT.size)
    observation[:, LAYOUT.slices["robot_qpos"]] = torch.from_numpy(POSE).float()
    observation[:, LAYOUT.slices["chair_qpos"].start + 3] = 1.0
    finite(teacher.act(observation))


def sound_taught_agent(agent: TaughtAgent) -> None:
    observation = torch.zeros(2, 51)
    observation[:, :26] = torch.from_numpy(POSE).float()
    finite(agent.act(observation))


def sound_board_teacher(teacher: BoardTeacher) -> None:
    observation = torch.zeros(2, get_task("h1-balance_simple").layout.size)
    observation[:, [3, 29]] = 1.0
    finite(teacher.act(observation))


def _brought(file: Path) -> UserPolicy:
    actions = CommandedJoints(["left_knee", "right_knee"], [0.8, 0.8], 0.25)
    return UserPolicy(UserPolicyConfig(str(file), [ObservedPiece("joint_positions")], actions))


def make_torchscript(folder: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(folder / "x.pt"))


def make_onnx(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    shape = ["N", 2]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("read", "given")]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [2, 2], [0.1, 0.2, 0.3, 0.4])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["read", "weight"], ["given"])], "policy", ends[:1], ends[1:], [weight]
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(folder / "x.onnx"))


def asked(policy: UserPolicy) -> torch.Tensor:
    """What a policy answers: whether its file fits its description shows when it is asked first."""
    observation = torch.zeros(2, 51)
    observation[:, :26] = torch.from_numpy(POSE)
    policy.reset(observation)
    return policy.act(observation)


def sound_answer(action: torch.Tensor) -> None:
    assert action.shape == (2, 19)
    assert action.abs().max() <= 1
    finite(action)


POLICIES = [
    Target("teacher", shipped("teachers", "walk"), spoil_artifact, TrackingPolicy.load, sound_teacher, 0.5),
    Target("door_teacher", shipped("teachers", "handle_pull"), spoil_artifact, HandlePull.load, sound_door_teacher,
           0.5),
    Target("pose_teacher", shipped("teachers", "sit"), spoil_artifact, Poses.load, sound_pose_teacher, 0.5),
    Target("seat_teacher", shipped("agents", "sit_hard"), spoil_artifact, SeatTeacher.load, sound_seat_teacher, 0.5),
    Target("task_teacher", shipped("agents", "crawl"), spoil_artifact, TaughtAgent.load, sound_taught_agent, 0.5),
    Target("board_teacher", shipped("agents", "balance_simple"), spoil_artifact, BoardTeacher.load, sound_board_teacher,
           0.5),
    Target("torchscript", make_torchscript, rewritten(changed_bytes, "x.pt"), lambda f: asked(_brought(f / "x.pt")),
           sound_answer),
    Target("onnx", make_onnx, rewritten(changed_bytes, "x.onnx"), lambda f: asked(_brought(f / "x.onnx")),
           sound_answer),
]  # fmt: skip
