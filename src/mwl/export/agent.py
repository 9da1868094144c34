"""Guided agents as ONNX files: skills, gate, policy prior and planner in one graph."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mwl.core import keys
from mwl.core.artifact import read_manifest
from mwl.core.errors import BadInput
from mwl.core.files import output_file, shown
from mwl.experts.guidance_state import GuidanceState
from mwl.export.expert import export_onnx
from mwl.export.onnx_file import SAMPLE, controller, standing, write_onnx
from mwl.selection import ExpertAgent, Guidance
from mwl.simulation import get_task
from mwl.world_model.agent import WorldModelAgent, load_agent
from mwl.world_model.planner import ReferenceActions, shifted


class ExportedAgent(nn.Module):
    """An agent as a function: what it remembers from step to step goes in and comes out.

    Args:
        agent: acts by experts, or plans at every step around what they do.

    Raises:
        BadInput: it has no experts, decides between skills, or plans only every so many steps.
    """

    def __init__(self, agent: Any) -> None:
        super().__init__()
        if not isinstance(agent, WorldModelAgent | ExpertAgent) or not isinstance(agent.guidance, Guidance):
            raise BadInput("only agents that are guided by experts can be exported")
        self.guidance = agent.guidance
        self.planning = agent if isinstance(agent, WorldModelAgent) else None
        if self.planning is not None and self.planning.planner.config.interval != 1:
            raise BadInput("an agent that does not plan at every step can't be exported")
        library, gate = self.guidance.library, self.guidance.gate
        parts: list[nn.Module] = [expert.network for expert in library.experts]
        parts += [part for part in (library.stack, gate and gate.gate, self.guidance.correction) if part]
        self.parts = nn.ModuleList(parts)  # or their weights would be no weights of this module
        self.model = None if self.planning is None else self.planning.model

    def memory(self, count: int) -> dict[str, Tensor]:
        """What it remembers where N = `count` episodes begin, by name; only what this agent reads."""
        begin, told = self.guidance.begin(count), {}
        if self.guidance.library.memory_size:
            told["memory"] = begin.memory
        if self.guidance.correction is not None and self.guidance.correction.start_phase:
            told["age"] = begin.age
        if self.guidance.mode == "top1":
            told["current"] = begin.current
        if self.planning is not None and self.planning.pick != "policy":
            told["plan"] = torch.zeros(count, self.planning.planner.horizon, self.planning.model.action_size)
        return told

    def forward(
        self,
        observation: Tensor,
        memory: Tensor | None = None,
        age: Tensor | None = None,
        current: Tensor | None = None,
        plan: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Action `[N, A]`, the experts' reference `[N, A]` and weights `[N, K]`, then what to remember next.

        Args:
            observation: `[N, O]`.
            memory, age, current: see `GuidanceState`; None for what this agent does not read.
            plan: the last plan's deviation from the reference `[N, H, A]`; None acts by the policy prior.
        """
        count = observation.shape[0]  # which stays open while tracing, as a length does not
        none = torch.zeros(count, dtype=torch.int64)
        state = GuidanceState(
            observation.new_zeros(count, 0) if memory is None else memory,
            none if age is None else age,
            none - 1 if current is None else current,
        )
        guide, after = self.guidance.tensors(observation, state)
        told = ReferenceActions(guide[keys.REFERENCE_ACTION], guide[keys.EXPERT_ACTION], guide[keys.FUSED_WEIGHTS])
        action, following = told.reference, None
        if self.planning is not None and plan is not None:
            found = self.planning.plan(observation, told, plan.transpose(0, 1))
            action, following = found.action, shifted(found.mean - found.base).transpose(0, 1)
        elif self.planning is not None:
            action = self.planning.by_policy(observation, told)
        kept = [(memory, after.memory), (age, after.age), (current, after.current), (plan, following)]
        return action, told.reference, told.weights, *(new for old, new in kept if old is not None and new is not None)


def export_agent(folder: Path | str, out: Path | str, *, force: bool = False) -> Path:
    """Write an agent, or a single expert, as ONNX.

    Beside `observation [N, O]` there is an input for everything that the agent remembers, and an output `next_` of it:
    `memory [N, M]` of experts, `age [N]` in steps and `current [N]`, the expert that is followed (int64), and
    `plan [N, H, A]`. What they are where an episode begins, for one robot, is in the metadata under `begin`. The other
    outputs are `action [N, A]` in [-1, 1], `reference [N, A]` and `weights [N, K]`. A planner draws its random numbers
    in the graph.

    Args:
        folder: the artifact.
        out: file to write (.onnx).
        force: replace a file that is there.

    Raises:
        BadInput: the file exists or can't be written, or this agent can't be exported.
        MissingDependency: the `export` extra is not installed.
        MissingFile, CorruptFile, SpecMismatch, UnknownAgent: see `load_agent`.
    """
    out = output_file(out, force=force, endings=(".onnx",))
    manifest = read_manifest(folder)
    if manifest.stage == "expert":
        return export_onnx(folder, out, force=force)
    agent = load_agent(folder)
    try:
        policy = ExportedAgent(agent)
    except BadInput as error:
        raise BadInput(f"{shown(Path(folder))}: {error}") from None
    task = controller(manifest["task"])
    memory = policy.memory(SAMPLE)
    inputs = {"observation": standing(get_task(manifest["task"]).layout.size), **memory}
    outputs = ["action", "reference", "weights", *(f"next_{name}" for name in memory)]
    told = {
        "name": manifest.name,
        **task,
        "experts": policy.guidance.library.names,
        "begin": {name: value.tolist() for name, value in policy.memory(1).items()},
        "weights_sha256": manifest.files.get("model.ckpt"),
    }
    with torch.no_grad():
        write_onnx(policy, inputs, outputs, told, out)
    return out
