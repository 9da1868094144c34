"""Guidance by the experts: from an observation to weights over experts and one reference action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional as F

from mwl.core import keys
from mwl.core.errors import BadInput, CorruptFile
from mwl.core.plain import from_plain
from mwl.experts.features import Layout
from mwl.experts.library import Expert, ExpertLibrary, infer_layout
from mwl.selection.action_correction import ActionCorrection, joints_of
from mwl.selection.context import gate_context
from mwl.selection.fusion import Mode, choose, compose, fuse, limb_masks, override
from mwl.selection.network import LoadedGate


@dataclass(frozen=True)
class _Settings:
    """Those of `Guidance.to_plain`, for their types."""

    alpha: float
    mode: Mode
    margin: float
    limbs: dict[str, str] | None


_SETTINGS = tuple(field.name for field in fields(_Settings))


class Guidance:
    """Experts, gate and instruction behind one call.

    Args:
        library: K experts.
        gate: state-aware selection; None leaves the choice to the instruction.
        semantic_weights: weight of each expert by name, or `[K]`; None leaves the choice to the gate.
        alpha: weight of the instruction against the state, in [0, 1]; 1 without gate, 0 without weights.
        mode: `mixture` or `top1`.
        layout: where the parts of the observation lie; None infers it from the observation's size.
        margin: hysteresis of `top1`.
        limbs: expert that has a limb to itself whatever the weights, by limb (`mwl.selection.fusion.LIMBS`): the mean
            of two skills may be neither, yet arms and legs can each follow one.
        correction: adjusts the experts' actions; None takes them as they are.

    Raises:
        BadInput: neither gate nor weights, unknown limb or expert names, weights without sum, alpha outside [0, 1].
    """

    def __init__(
        self,
        library: ExpertLibrary,
        gate: LoadedGate | None = None,
        semantic_weights: Mapping[str, float] | Tensor | None = None,
        alpha: float = 0.5,
        mode: Mode = "mixture",
        layout: Layout | None = None,
        margin: float = 0.1,
        limbs: Mapping[str, str] | None = None,
        correction: ActionCorrection | None = None,
    ) -> None:
        if gate is None and semantic_weights is None:
            raise BadInput("guidance needs a gate, semantic weights, or both; it has neither")
        if not 0 <= alpha <= 1:
            raise BadInput(f"alpha is {alpha}; it must lie in [0, 1]")
        if mode not in ("mixture", "top1"):
            raise BadInput(f"unknown composition mode {mode!r}; there are mixture and top1")
        self.library, self.gate, self.mode, self.layout, self.margin = library, gate, mode, layout, margin
        self.card_embeddings = None if gate is None else gate.embeddings_of(library.names)
        self.semantic_weights: Tensor | None = None
        self.current: Tensor | None = None  # [N] expert that `top1` follows
        self.memory: Tensor | None = None  # [N, M] what the experts remember of the episode; None where all begin
        self.age: Tensor | None = None  # [N] steps since the episode began; None where all begin
        self.correction = correction
        self.candidates: Tensor | None = None  # [N, P] coefficients of the correction to try, by environment
        self.gated = True  # False: what the instruction weighs acts by itself, to be measured without the others
        self.limbs = dict(limbs or {})
        self._limb_masks = limb_masks(self.limbs, library.names)
        self._alpha = alpha
        self.set_weights(semantic_weights)

    @property
    def num_experts(self) -> int:
        """K."""
        return self.library.num_experts

    @property
    def alpha(self) -> float:
        """The weight of the instruction against the state that holds."""
        if self.gate is None:
            return 1.0
        if self.semantic_weights is None:
            return 0.0
        return self._alpha if self.gated else 1.0

    def set_weights(self, weights: Mapping[str, float] | Tensor | None) -> None:
        """Follow another instruction from now on; None follows the gate alone.

        Args:
            weights: by expert name, or `[K]`, or `[N, K]` where environments follow different instructions.

        Raises:
            BadInput: unknown expert names, negative weights, all weights zero, or neither weights nor a gate.
        """
        if weights is None and self.gate is None:
            raise BadInput("without a gate, guidance needs semantic weights; it can't do without both")
        resolved = None if weights is None else resolve_weights(weights, self.library.names)
        same = resolved is not None and self.semantic_weights is not None
        if same and torch.equal(resolved, self.semantic_weights):  # type: ignore[arg-type]
            return  # told the same again at every step, `top1` keeps its hysteresis
        self.semantic_weights, self.current = resolved, None

    def leave_out_gate(self) -> None:
        """Follow the instruction's weights alone from now on.

        Raises:
            BadInput: there are none.
        """
        if self.semantic_weights is None:
            raise BadInput("without its gate this agent has nothing that weighs its experts; tell it an instruction")
        self.gate, self.card_embeddings = None, None

    def reset(self, done: Tensor | None = None) -> None:
        """Begin anew where `done` `[N]` holds (None: everywhere): forget who was followed and what experts remember."""
        if done is None or self.current is None or len(done) != len(self.current):
            self.current = None
        else:
            self.current = self.current.masked_fill(done, -1)
        if done is None or self.memory is None or len(done) != len(self.memory):
            self.memory = None
        else:
            self.memory = torch.where(done.unsqueeze(-1), self.library.initial_memory(len(done)), self.memory)
        if done is None or self.age is None or len(done) != len(self.age):
            self.age = None
        else:
            self.age = self.age.masked_fill(done, 0)

    @torch.no_grad()
    def reference(
        self, observation: Tensor, *, hold: bool = True, memory: Tensor | None = None, age: Tensor | None = None
    ) -> TensorDict:
        """ReferenceActions at observations `[N, O]`.

        Args:
            observation: of the task.
            hold: go on along the present trajectory: from what the experts remember of it, at its age and with the
                hysteresis of `top1`, all for the next step; False for states off it.
            memory: `[N, M]` of the experts off the present trajectory; None asks them as where an episode begins.
            age: steps since the episode began `[N]`, off the present trajectory; None where the start
                phase is over.

        Returns:
            batch size `[N]`: EXPERT_ACTION `[N, K, A]`, GATE_PROBS and SEMANTIC_WEIGHTS `[N, K]` where there are such,
            FUSED_WEIGHTS `[N, K]` (under `top1` one-hot) and the REFERENCE_ACTION `[N, A]` they compose; with stateful
            experts also their MEMORY `[N, M]`, under NEXT that of the next step.
        """
        count = len(observation)
        if hold:
            memory = self.memory if self.memory is not None and len(self.memory) == count else None
            if self.age is None or len(self.age) != count:
                self.age = torch.zeros(count, dtype=torch.int64)
            age, self.age = self.age, self.age + 1
        if memory is None:
            memory = self.library.initial_memory(count)
        experts, after = self._ask_experts(observation, memory, age, hold)
        guide = TensorDict({keys.EXPERT_ACTION: experts}, batch_size=[count])
        if self.library.memory_size:
            guide[keys.MEMORY], guide[keys.NEXT, keys.MEMORY] = memory, after
        if hold:
            self.memory = after
        fused = self._weights(observation, guide)
        if self.mode == "top1":
            fused = F.one_hot(self._chosen(fused, hold), self.num_experts).to(fused.dtype)
        guide[keys.FUSED_WEIGHTS] = fused
        guide[keys.REFERENCE_ACTION] = compose(experts, self.per_action(fused))
        return guide

    def per_action(self, fused: Tensor) -> Tensor:
        """Weights `[N, K]` of the experts, `[N, K, A]` where limbs follow experts of their own."""
        return fused if self._limb_masks is None else override(fused, *self._limb_masks)

    def _ask_experts(
        self, observation: Tensor, memory: Tensor, age: Tensor | None, hold: bool
    ) -> tuple[Tensor, Tensor]:
        """Actions `[N, K, A]` of the experts, corrected, and their memory `[N, M]` afterwards."""
        action, after = self.library.step(observation, self.layout, memory=memory)
        if self.correction is None:
            return action, after
        joints = joints_of(observation, self.layout or infer_layout(observation.shape[-1]))
        return self.correction(action, joints, self.candidates if hold else None, age), after

    def _weights(self, observation: Tensor, guide: TensorDict) -> Tensor:
        """Fused weights `[N, K]`; what they are made of is added to them."""
        semantic = None if self.semantic_weights is None else self.semantic_weights.expand(len(observation), -1)
        if semantic is not None:
            guide[keys.SEMANTIC_WEIGHTS] = semantic
        if self.gate is None:
            assert semantic is not None
            return semantic.clone()
        assert self.card_embeddings is not None
        seen = gate_context(observation, self.layout or infer_layout(observation.shape[-1]))
        probs: Tensor = self.gate.gate(seen, self.card_embeddings)
        guide[keys.GATE_PROBS] = probs
        return probs.clone() if semantic is None else fuse(semantic, probs, self.alpha)

    def _chosen(self, fused: Tensor, hold: bool) -> Tensor:
        if not hold:
            return choose(fused)
        current = self.current if self.current is not None and len(self.current) == len(fused) else None
        self.current = choose(fused, current, self.margin)
        return self.current

    def to_plain(self) -> dict[str, Any]:
        """Everything, experts included, as plain values and tensors, to be read back by `from_plain`."""
        weights = self.semantic_weights
        return {
            "experts": [expert.to_plain() for expert in self.library.experts],
            "gate": None if self.gate is None else self.gate.to_plain(),
            "semantic_weights": None if weights is None else weights,
            "alpha": self._alpha,
            "mode": self.mode,
            "margin": self.margin,
            "limbs": dict(self.limbs),
            "correction": None if self.correction is None else self.correction.to_plain(),
        }

    @classmethod
    def from_plain(cls, entries: Mapping[str, Any], layout: Layout | None = None) -> "Guidance":
        """The guidance that `to_plain` described, for observations of the given layout.

        Raises:
            BadInput: entries are of another type, or do not fit each other.
        """
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
            settings.limbs,
            corrected,
        )


def resolve_weights(weights: Mapping[str, float] | Tensor | Sequence[float], names: Sequence[str]) -> Tensor:
    """Weights `[K]` or `[N, K]` in the order of `names`, scaled to sum 1; experts that are not named weigh nothing.

    Raises:
        BadInput: unknown names, another length than K, negative weights, or all weights zero.
    """
    if isinstance(weights, Mapping):
        unknown = [name for name in weights if name not in names]
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
    from mwl.semantics import Card, SemanticHead

    semantic = SemanticHead.load(str(head))
    semantic.set_cards([Card(**card) for card in library.cards])
    found: Mapping[str, float] = semantic.weights(instruction)
    return found
