"""An expert as one ONNX file."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mwl.core.files import output_file
from mwl.experts.library import Expert
from mwl.export.onnx_file import SAMPLE, controller, standing, write_onnx
from mwl.simulation import get_task


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
    out = output_file(out, force=force, endings=(".onnx",))
    expert = Expert.load(folder)
    policy = ExportedPolicy(expert)
    spec = policy.spec
    inputs = {"observation": standing(policy.layout.size)}
    if spec.command is not None:
        inputs["command"] = torch.zeros(SAMPLE, spec.command_size)
    if spec.memory:
        inputs["memory"] = torch.zeros(SAMPLE, spec.memory)
    write_onnx(policy, inputs, ["action", "next_memory"] if spec.memory else ["action"], metadata(expert), out)
    return out


def metadata(expert: Expert) -> dict[str, Any]:
    """What a controller needs to run an expert: joints, gains, scaling, default pose, layout of the observation."""
    return {
        "name": expert.spec.name,
        **controller(expert.spec.task),
        "memory": expert.spec.memory,
        "command": (expert.manifest.get("observation") or {}).get("command"),
        "card": expert.manifest.get("card", {}),
        "licence": expert.manifest.provenance.licence,
        "weights_sha256": expert.manifest.files.get("model.ckpt"),
    }
