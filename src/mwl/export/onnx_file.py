"""Writing a policy as ONNX, with all that a controller must know beside it."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mwl.core.errors import MissingDependency
from mwl.core.files import writing
from mwl.robot.h1 import CONTROL_DT
from mwl.robot.model import scene_mjcf
from mwl.simulation import build_model, get_task

OPSET = 18
SAMPLE = 5  # robots while tracing; neither 1, which would be taken for a constant, nor a number that sizes have


def standing(size: int) -> Tensor:
    """Observations `[SAMPLE, size]` to trace with, of robots whose root has an orientation."""
    observation = torch.zeros(SAMPLE, size)
    observation[:, 3] = 1
    return observation


def write_onnx(
    policy: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    told: Mapping[str, Any],
    out: Path,
) -> None:
    """Write a module as ONNX for any number N of robots.

    Args:
        policy: takes the inputs by name.
        inputs: to trace with, of `SAMPLE` robots.
        outputs: names of what it returns.
        told: metadata; what is no string is written as JSON.
        out: the file.

    Raises:
        MissingDependency: the `export` extra is not installed.
        BadInput: the file can't be written.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise MissingDependency("export needs onnx: pip install 'mwl[export]'") from error
    policy.eval()(**inputs)  # builds the kinematics that it keeps; built while tracing they would be no real tensors
    robots = torch.export.Dim("N")
    with warnings.catch_warnings():  # notices of torch's exporter about itself
        warnings.simplefilter("ignore")
        shapes = {name: {0: robots} for name in inputs}
        # Traced here, as the exporter would fall back to a fixed number of robots where tracing for any number fails.
        traced = torch.export.export(policy, (), dict(inputs), dynamic_shapes=shapes, strict=False)
        program = torch.onnx.export(
            traced,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    with writing(out) as scratch:
        onnx.save(model, scratch)


def controller(name: str) -> dict[str, Any]:
    """How actions move the robot of a task, what it observes, and its scene as MJCF."""
    task = get_task(name)
    model, robot = build_model(task), task.robot
    half = (robot.ctrl_high - robot.ctrl_low) / 2
    return {
        "robot": robot.name,
        "task": name,
        "rate_hz": 1 / CONTROL_DT,
        "joint_names": list(robot.joints),
        "default_joint_pos": robot.qpos0[7:].tolist(),
        "joint_stiffness": model.actuator_gainprm[:, 0].tolist(),
        "joint_damping": (-model.actuator_biasprm[:, 2]).tolist(),
        "action_scale": half.tolist(),
        "action_offset": (robot.ctrl_low + half).tolist(),
        "observation_layout": {part: [where.start, where.stop] for part, where in task.layout.slices.items()},
        "initial_qpos": [*robot.qpos0.tolist(), *task.object_qpos0],
        "goal_range": [list(task.goal_low), list(task.goal_high)],
        "mjcf": scene_mjcf(task),
    }
