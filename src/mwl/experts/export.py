"""An expert as one ONNX file: benchmark observation in, action out, and all that a controller must know beside it."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mwl.core.errors import MissingDependency
from mwl.core.files import output_file, writing
from mwl.experts.library import Expert
from mwl.robot.h1 import CONTROL_DT, CTRL_LOW, QPOS0, RADIANS_PER_ACTION
from mwl.simulation import build_model, get_task

OPSET = 18


class ExportedPolicy(nn.Module):
    """Features, normaliser and network of an expert in one module, with the memory, where it has one, in and out.

    Args:
        expert: the expert; the layout is that of its own task.
    """

    def __init__(self, expert: Expert) -> None:
        super().__init__()
        self.spec, self.network = expert.spec, expert.network
        self.layout = get_task(expert.spec.task).layout

    def forward(
        self, observation: Tensor, command: Tensor | None = None, memory: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Action `[N, A]` in [-1, 1] at observations `[N, O]` of its task, under commands `[N, C]` if it takes one.

        With a memory `[N, M]` that afterwards comes second.
        """
        features = self.spec.featurise(observation, self.layout, command)
        return self.network(features) if memory is None else self.network.step(features, memory)


def export_onnx(folder: Path | str, out: Path | str, *, force: bool = False) -> Path:
    """Write an expert as ONNX, with metadata as JSON strings under the names that deployment tools use.

    Inputs are `observation [N, O]` and, for an expert that takes one, `command [N, C]`; the output is `action [N, 19]`
    in [-1, 1]. Joint position targets in rad are `action_offset + action_scale * action`. An expert with memory also
    has the input `memory [N, M]`, zeros where an episode begins, and the output `next_memory [N, M]`.

    Args:
        folder: the expert's artifact.
        out: file to write (.onnx).
        force: replace a file that is there.

    Raises:
        BadInput: the file exists, or can't be written.
        MissingDependency: the `export` extra is not installed.
        MissingFile, CorruptFile, SpecMismatch: the folder holds no expert that this version can load.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise MissingDependency("export needs onnx: pip install 'mwl[export]'") from error
    out = output_file(out, force=force, endings=(".onnx",))
    expert = Expert.load(folder)
    policy = ExportedPolicy(expert).eval()
    model = onnx.load_from_string(_graph(policy))
    for key, value in metadata(expert).items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    with writing(out) as scratch:
        onnx.save(model, scratch)
    return out


def _graph(policy: ExportedPolicy) -> bytes:
    """The serialised ONNX model, with any number N of robots."""
    inputs = {"observation": torch.zeros(2, policy.layout.size)}
    inputs["observation"][:, 3] = 1
    if policy.spec.command is not None:
        inputs["command"] = torch.zeros(2, policy.spec.command_size)
    if policy.spec.memory:
        inputs["memory"] = torch.zeros(2, policy.spec.memory)
    policy(**inputs)  # builds the kinematics that it keeps; built while tracing they would be no real tensors
    robots = torch.export.Dim("N")
    with warnings.catch_warnings():  # notices of torch's exporter about itself
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            policy,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["action", "next_memory"] if policy.spec.memory else ["action"],
            dynamic_shapes={name: {0: robots} for name in inputs},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


def metadata(expert: Expert) -> dict[str, Any]:
    """What a controller needs to run an expert: joints, gains, scaling, default pose, layout of the observation."""
    task = get_task(expert.spec.task)
    model = build_model(task)
    return {
        "name": expert.spec.name,
        "robot": expert.spec.robot,
        "task": expert.spec.task,
        "rate_hz": 1 / CONTROL_DT,
        "joint_names": list(expert.spec.joints),
        "default_joint_pos": QPOS0[7:].tolist(),
        "joint_stiffness": model.actuator_gainprm[:, 0].tolist(),
        "joint_damping": (-model.actuator_biasprm[:, 2]).tolist(),
        "action_scale": RADIANS_PER_ACTION.tolist(),
        "action_offset": (CTRL_LOW + RADIANS_PER_ACTION).tolist(),
        "observation_layout": {name: [part.start, part.stop] for name, part in task.layout.slices.items()},
        "memory": expert.spec.memory,
        "command": (expert.manifest.get("observation") or {}).get("command"),
        "card": expert.manifest.get("card", {}),
        "licence": (expert.manifest.get("provenance") or {}).get("licence"),
        "weights_sha256": expert.manifest.get("files", {}).get("model.ckpt"),
    }
