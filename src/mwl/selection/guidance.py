"""Guidance by the experts: from an observation to weights over experts and one reference action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from tensordict import NestedKey, TensorDict
from torch import Tensor
from torch.nn import functional as F

from mwl.core import keys
from mwl.core.errors import BadInput, CorruptFile
from mwl.core.plain import from_plain
from mwl.experts.features import Layout
from mwl.experts.guidance_state import GuidanceState
from mwl.experts.library import Expert, ExpertLibrary, infer_layout
from mwl.selection.action_correction import ActionCorrection, joints_of
from mwl.selection.context import gate_context
from mwl.selection.fusion import Mode, choose, compose, fuse
from mwl.selection.network import LoadedGate
from mwl.selection.residual import Residual


@dataclass(frozen=True)
class _Settings:
    """Those of `Guidance.to_plain`, for their types."""

    alpha: float
    mode: Mode
    margin: float


_SETTINGS = tuple(item.name for item in fields(_Settings))


@dataclass(frozen=True, eq=False)
class Guidance:
    """Experts, gate and instruction behind one call; it never changes, and what does is passed in and out of `step`.

    Args:
        library: K experts.
        gate: state-aware selection; None leaves the choice to the instruction.
        semantic_weights: weight of each expert by name, `[K]`, or `[N, K]` where environments follow different
            instructions; None leaves the choice to the gate.
        alpha: weight of the instruction against the state, in [0, 1]; 1 without gate, 0 without weights.
        mode: `mixture` or `top1`.
        layout: where the parts of the observation lie; None infers it from the observation's size.
        margin: hysteresis of `top1`.
        correction: adjusts the experts' actions; None takes them as they are.
        residual: fits what the experts see and do to a world that differs from theirs; None takes it as theirs.

    Raises:
        BadInput: neither gate nor weights, unknown expert names, weights without sum, alpha outside [0, 1].
    """

    library: ExpertLibrary
    gate: LoadedGate | None = None
    semantic_weights: Mapping[str, float] | Tensor | None = None
    alpha: float = 0.5
    mode: Mode = "mixture"
    layout: Layout | None = None
    margin: float = 0.1
    correction: ActionCorrection | None = None
    residual: Residual | None = None
    card_embeddings: Tensor | None = field(init=False, default=None)
    """Of the experts' cards `[K, E]`, as the gate was told them."""

    def __repr__(self) -> str:
        weights = self.semantic_weights
        told = None if weights is None else dict(zip(self.library.names, weights.tolist(), strict=True))  # type: ignore[union-attr]
        gate = "gate" if self.gate is not None else "no gate"
        return f"Guidance({self.library!r}, {gate}, weights={told}, alpha={self.alpha:g}, {self.mode})"

    def __post_init__(self) -> None:
        if self.gate is None and self.semantic_weights is None:
            raise BadInput("guidance needs a gate, semantic weights, or both; it has neither")
        if not 0 <= self.alpha <= 1:
            raise BadInput(f"alpha is {self.alpha}; it must lie in [0, 1]")
        if self.mode not in ("mixture", "top1"):
            raise BadInput(f"unknown composition mode {self.mode!r}; there are mixture and top1")
        if self.semantic_weights is not None:
            object.__setattr__(self, "semantic_weights", resolve_weights(self.semantic_weights, self.library.names))
        if self.gate is not None:
            object.__setattr__(self, "card_embeddings", self.gate.embeddings_of(self.library.names))

    @property
    def num_experts(self) -> int:
        """K."""
        return self.library.num_experts

    def with_weights(self, weights: Mapping[str, float] | Tensor | None) -> "Guidance":
        """The same under another instruction, itself where that says the same; None follows the gate alone.

        Raises:
            BadInput: unknown expert names, negative weights, all weights zero, or neither weights nor a gate.
        """
        told = replace(self, semantic_weights=weights)
        before, now = self.semantic_weights, told.semantic_weights
        same = isinstance(before, Tensor) and isinstance(now, Tensor) and torch.equal(before, now)
        return self if same or before is now else told

    def without(self, part: str) -> "Guidance":
        """The same but for its `gate`, its `tuning` (the action correction) or its `residual`.

        Raises:
            BadInput: it has no such part, or without its gate nothing weighs the experts.
        """
        held = "correction" if part == "tuning" else part
        if part not in ("gate", "tuning", "residual") or getattr(self, held) is None:
            raise BadInput(f"this agent has no {part} to leave out")
        if part == "gate" and self.semantic_weights is None:
            raise BadInput("without its gate this agent has nothing that weighs its experts; tell it an instruction")
        return replace(self, **{held: None})  # type: ignore[arg-type]

    def begin(self, count: int) -> GuidanceState:
        """Where N = `count` episodes begin."""
        return GuidanceState.begin(self._initial_memory(count))

    def _initial_memory(self, count: int) -> Tensor:
        memory = self.library.initial_memory(count)
        return memory if self.residual is None else F.pad(memory, (0, self.residual.memory_size))

    def carried_out(self, state: GuidanceState, before: GuidanceState, action: Tensor) -> GuidanceState:
        """The state after a step from `before`, where another action `[N, A]` was carried out than the reference."""
        if self.residual is None:
            return state
        own = self.library.memory_size
        sent = self.residual.remember(before.memory[:, own:], action)
        return state._replace(memory=torch.cat([state.memory[:, :own], sent], dim=-1))

    @torch.no_grad()
    def step(
        self,
        observation: Tensor,
        state: GuidanceState | None = None,
        coefficients: Tensor | None = None,
        commands: Mapping[str, Tensor] | None = None,
    ) -> tuple[TensorDict, GuidanceState]:
        """Reference actions on the way of N episodes, and where these stand afterwards.

        Args:
            observation: of the task, `[N, O]`.
            state: where they stand; None, or one of another number of episodes, where all begin.
            coefficients: of the correction to try, `[N, P]`; None takes those it has.
            commands: what experts are told, `[N, C]` by name; None leaves it to the task or their default.

        Returns:
            see `reference`, and the state to be passed in next.
        """
        if state is None or len(state.age) != len(observation):
            state = self.begin(len(observation))
        guide, after = self.tensors(observation, state, coefficients, commands)
        return TensorDict(guide, batch_size=[len(observation)]), after

    def tensors(
        self,
        observation: Tensor,
        state: GuidanceState,
        coefficients: Tensor | None = None,
        commands: Mapping[str, Tensor] | None = None,
    ) -> tuple[dict[NestedKey, Tensor], GuidanceState]:
        """`step` as plain tensors, which can be traced and exported for any N."""
        guide, after, current = self._guide(observation, state.memory, state.age, state.current, coefficients, commands)
        return guide, GuidanceState(after, state.age + 1, state.current if current is None else current)

    @torch.no_grad()
    def reference(self, observation: Tensor, memory: Tensor | None = None, age: Tensor | None = None) -> TensorDict:
        """Reference actions in states by themselves, whoever was followed before.

        Args:
            observation: of the task, `[N, O]`.
            memory: `[N, M]` of the experts; None asks them as where an episode begins.
            age: steps since the episode began `[N]`; None where the start phase is over.

        Returns:
            batch size `[N]`: EXPERT_ACTION `[N, K, A]`, GATE_PROBS and SEMANTIC_WEIGHTS `[N, K]` where there are such,
            FUSED_WEIGHTS `[N, K]` (under `top1` one-hot) and the REFERENCE_ACTION `[N, A]` they compose; with stateful
            experts also their MEMORY `[N, M]`, under NEXT that of the next step.
        """
        memory = self._initial_memory(len(observation)) if memory is None else memory
        return TensorDict(self._guide(observation, memory, age, None, None)[0], batch_size=[len(observation)])

    def _guide(
        self,
        observation: Tensor,
        memory: Tensor,
        age: Tensor | None,
        current: Tensor | None,
        coefficients: Tensor | None,
        commands: Mapping[str, Tensor] | None = None,
    ) -> tuple[dict[NestedKey, Tensor], Tensor, Tensor | None]:
        """Reference actions, memories afterwards, and who is followed now, where it is a single expert."""
        memory, sent = memory.split((self.library.memory_size, memory.shape[-1] - self.library.memory_size), dim=-1)
        if self.residual is not None:
            observation = self.residual.present(observation, self._layout_of(observation), sent, age)
        experts, after = self._ask_experts(observation, memory, age, coefficients, commands)
        guide: dict[NestedKey, Tensor] = {keys.EXPERT_ACTION: experts}
        fused, chosen = self._weights(observation, guide), None
        if self.mode == "top1":
            chosen = choose(fused, current, self.margin)
            fused = F.one_hot(chosen, self.num_experts).to(fused.dtype)
        guide[keys.FUSED_WEIGHTS] = fused
        guide[keys.REFERENCE_ACTION] = compose(experts, fused)
        if self.library.memory_size:
            guide[keys.MEMORY], guide[keys.NEXT, keys.MEMORY] = memory, after
        if self.residual is not None:
            after = torch.cat([after, self.residual.remember(sent, guide[keys.REFERENCE_ACTION])], dim=-1)
        return guide, after, chosen

    def _ask_experts(
        self,
        observation: Tensor,
        memory: Tensor,
        age: Tensor | None,
        coefficients: Tensor | None,
        commands: Mapping[str, Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        """Actions `[N, K, A]` of the experts, corrected, and their memory `[N, M]` afterwards."""
        action, after = self.library.step(observation, self.layout, commands, memory)
        if self.correction is not None:
            joints = joints_of(observation, self._layout_of(observation))
            action = self.correction(action, joints, coefficients, age)
        if self.residual is not None:
            action = self.residual.act(observation, self._layout_of(observation), action)
        return action, after

    def _layout_of(self, observation: Tensor) -> Layout:
        return self.layout or infer_layout(observation.shape[-1])

    def _weights(self, observation: Tensor, guide: dict[NestedKey, Tensor]) -> Tensor:
        """Fused weights `[N, K]`; what they are made of is added to them."""
        semantic = None
        if self.semantic_weights is not None:
            assert isinstance(self.semantic_weights, Tensor)
            semantic = guide[keys.SEMANTIC_WEIGHTS] = self.semantic_weights.expand(observation.shape[0], -1)
        if self.gate is None:
            assert semantic is not None
            return semantic.clone()
        assert self.card_embeddings is not None
        seen = gate_context(observation, self._layout_of(observation))
        probs: Tensor = self.gate.gate(seen, self.card_embeddings)
        guide[keys.GATE_PROBS] = probs
        return probs.clone() if semantic is None else fuse(semantic, probs, self.alpha)

    def to_plain(self) -> dict[str, Any]:
        """Everything, experts included, as plain values and tensors, to be read back by `from_plain`."""
        return {
            "experts": [expert.to_plain() for expert in self.library.experts],
            "gate": None if self.gate is None else self.gate.to_plain(),
            "semantic_weights": self.semantic_weights,
            "alpha": self.alpha,
            "mode": self.mode,
            "margin": self.margin,
            "correction": None if self.correction is None else self.correction.to_plain(),
            "residual": None if self.residual is None else self.residual.to_plain(),
        }

    @classmethod
    def from_plain(cls, entries: Mapping[str, Any], layout: Layout | None = None) -> "Guidance":
        """The guidance that `to_plain` described, for observations of the given layout.

        Raises:
            BadInput: entries are of another type, or do not fit each other.
        """
        if entries.get("limbs"):
            raise CorruptFile("guidance: limbs of their own experts are of an earlier version; fit it again without")
        residual = entries.get("residual")
        experts = [Expert.from_plain(entry, f"expert {i + 1}") for i, entry in enumerate(entries["experts"])]
        gate, correction = entries["gate"], entries.get("correction")
        settings = from_plain(_Settings, {name: entries.get(name) for name in _SETTINGS}, "guidance")
        corrected = None if correction is None else ActionCorrection.from_plain(correction)
        if corrected is not None and len(corrected.chosen) != len(experts):
            raise CorruptFile(
                f"guidance: its correction is of {len(corrected.chosen)} experts, there are {len(experts)}"
            )
        return cls(
            ExpertLibrary(experts),
            None if gate is None else LoadedGate.from_plain(gate),
            entries["semantic_weights"],
            settings.alpha,
            settings.mode,
            layout,
            settings.margin,
            corrected,
            None if residual is None else Residual.from_plain(residual),
        )


def retold(
    guidance: Guidance, state: GuidanceState | None, weights: Mapping[str, float] | Tensor | None
) -> tuple[Guidance, GuidanceState | None]:
    """Guidance under another instruction, and a state in which nobody is followed yet.

    Told the same again at every step, `top1` keeps its hysteresis.
    """
    told = guidance.with_weights(weights)
    if told is guidance or state is None:
        return told, state
    return told, state._replace(current=torch.full_like(state.current, -1))


def resolve_weights(weights: Mapping[str, float] | Tensor | Sequence[float], names: Sequence[str]) -> Tensor:
    """Weights `[K]` or `[N, K]` in the order of `names`, scaled to sum 1; experts that are not named weigh nothing.

    Raises:
        BadInput: unknown names that weigh something, another length than K, negative weights, or all weights zero.
    """
    if isinstance(weights, Mapping):
        unknown = [name for name, weight in weights.items() if weight and name not in names]
        if unknown:
            raise BadInput(f"semantic weights name {', '.join(unknown)}; the experts are {', '.join(names)}")
        weights = [float(weights.get(name, 0.0)) for name in names]
    values = torch.as_tensor(weights, dtype=torch.float32)
    if values.ndim not in (1, 2) or values.shape[-1] != len(names):
        raise BadInput(f"semantic weights have shape {list(values.shape)}; there are {len(names)} experts")
    if not torch.isfinite(values).all() or (values < 0).any() or (values.sum(dim=-1) <= 0).any():
        raise BadInput(f"semantic weights {values.tolist()} must be finite, not negative, and not all zero")
    return values / values.sum(dim=-1, keepdim=True)


def weights_for(
    library: ExpertLibrary, instruction: str | None, weights: Mapping[str, float] | None, head: Path | str
) -> Mapping[str, float] | None:
    """Weights that a semantic head gives an instruction; without instruction the weights as given, which may be None.

    Raises:
        NoSkillFits: the instruction is too far from every expert's card.
    """
    if instruction is None:
        return weights
    from mwl.semantics import SemanticHead

    semantic = SemanticHead.load(str(head))
    semantic.set_cards(library.cards)
    found: Mapping[str, float] = semantic.weights(instruction)
    return found
