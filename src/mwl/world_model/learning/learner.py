"""One update from a batch: of the model, then of the policy prior, and of the gate where it learns online."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mwl.selection import Guidance
from mwl.selection.context import gate_context
from mwl.selection.module import entropy_shortfall
from mwl.world_model.config import GuidanceConfig, LearningConfig
from mwl.world_model.learning.compiling import compiled
from mwl.world_model.learning.losses import Batch, RunningScale, constraint_loss, model_losses, policy_losses
from mwl.world_model.network import WorldModel
from mwl.world_model.planner import GuidanceSwitches


class NonFiniteGradient(ArithmeticError):
    """Loss or gradient of a batch is NaN or infinite; no parameter was changed by it."""

    def __init__(self, batch: Batch, loss: float, norm: float) -> None:
        super().__init__(f"loss {loss} with gradient norm {norm}")
        self.batch = batch


class Learner:
    """What an update does to the networks; it owns none of them.

    Args:
        model: the world model.
        scale: running scale of the values.
        learning: losses and optimisers.
        guiding: where the experts guide.
        switches: what the planner and the policy make of the experts.
        discount: per step.
        unit: `[A]` action per radian.
        guidance: experts and gate; None learns as TD-MPC2 does.
    """

    def __init__(
        self,
        model: WorldModel,
        scale: RunningScale,
        learning: LearningConfig,
        guiding: GuidanceConfig,
        switches: GuidanceSwitches,
        discount: float,
        unit: Tensor,
        guidance: Guidance | None,
    ) -> None:
        self.model, self.scale, self.learning, self.guiding = model, scale, learning, guiding
        self.switches, self.discount, self.unit, self.guidance = switches, discount, unit, guidance
        self._model_losses = compiled(model_losses, learning.compile)
        self._policy_losses = compiled(policy_losses, learning.compile)
        learns = guidance is not None and guidance.gate is not None and guiding.gate_lr > 0
        # A copy, as it learns where the model is, while experts are asked on the CPU; see `hand_on_gate`.
        self.gate: nn.Module | None = deepcopy(guidance.gate.gate) if learns else None  # type: ignore[union-attr]

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the model (its encoder slower), for the policy, and for the gate where it learns."""
        learning, model = self.learning, self.model
        own = [model.dynamics, model.reward_head, model.termination_head, model.qs, model.expert_head]
        parameters = [p for part in own if part is not None for p in part.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": list(model.encoder.parameters()), "lr": learning.lr * learning.encoder_lr_scale},
            {"params": parameters},
        ]
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(groups, lr=learning.lr, fused=True),
            torch.optim.Adam(model.policy_head.parameters(), lr=learning.lr, eps=1e-5, fused=True),
        ]
        if self.gate is not None:
            optimizers.append(torch.optim.Adam(self.gate.parameters(), lr=self.guiding.gate_lr, fused=True))
        return optimizers

    def hand_on_gate(self) -> None:
        """Let the experts be weighed by what the gate has learned; without effect where it does not learn."""
        if self.gate is not None:
            self.guidance.gate.gate.load_state_dict(self.gate.state_dict())  # type: ignore[union-attr]

    def update(
        self,
        batch: Batch,
        optimizers: list[torch.optim.Optimizer],
        weight: float,
        policy_step: Callable[[], object] | None = None,
    ) -> dict[str, Tensor]:
        """One update of model, policy, gate and target networks; returns its metrics.

        Args:
            batch: slices from the replay buffer.
            optimizers: as `optimizers` made them.
            weight: of the term that draws the policy to the experts.
            policy_step: steps the policy's optimiser in its place; None steps it itself.

        Raises:
            NonFiniteGradient: before a parameter would become NaN.
        """
        learning, model = self.learning, self.model
        model_optimizer, policy_optimizer, *rest = optimizers
        best = self.guiding.bootstrap == "best"
        parts = self._model_losses(model, batch, self.discount, learning.rho, self.switches.policy_base, best)
        loss = (
            learning.consistency_weight * parts.consistency
            + learning.reward_weight * parts.reward
            + learning.value_weight * parts.value
            + learning.termination_weight * parts.termination
            + parts.experts
        )
        metrics = {f"train/{name}": getattr(parts, name).detach() for name in parts._fields if name != "latents"}
        metrics["train/grad_norm"] = self._gradient(model_optimizer, loss, batch)
        model_optimizer.step()
        if rest:
            metrics["train/gate"] = self._update_gate(rest[0], batch, parts.latents[0].detach())
        metrics |= self._improve_policy(policy_optimizer, batch, parts.latents.detach(), weight)
        (policy_step or policy_optimizer.step)()
        model.follow_targets(learning.target_rate)
        return metrics

    def _improve_policy(
        self, optimizer: torch.optim.Optimizer, batch: Batch, latents: Tensor, weight: float
    ) -> dict[str, Tensor]:
        """Gradient of the policy prior; the step is the caller's."""
        learning = self.learning
        parts = self._policy_losses(
            self.model,
            latents,
            self.scale.value,
            learning.rho,
            learning.entropy_weight,
            batch.reference,
            self.switches.policy_base,
            self.guiding.lambda_mode == "value_gated",
            self.unit.to(latents.device),
        )
        loss = parts.improvement + weight * parts.guidance
        if learning.policy_constraint != "off":
            loss = loss + self._constraint(batch, latents[:-1])
        self._gradient(optimizer, loss, batch)
        self.scale.update(parts.q[0])
        return {
            "train/policy": parts.improvement.detach(),
            "train/distance": parts.guidance.detach(),
            "train/q": parts.q.mean(),
            "train/entropy": parts.entropy,
            "train/followed": parts.followed,
        }

    def _constraint(self, batch: Batch, latents: Tensor) -> Tensor:
        learning = self.learning
        reference = batch.reference[:-1] if batch.reference is not None and self.switches.policy_base else None
        by_value = learning.policy_constraint == "value"
        loss = constraint_loss(self.model, latents, batch.action, self.scale.value, learning.rho, reference, by_value)
        return learning.policy_constraint_weight * self.model.action_size / 61 * loss

    def _update_gate(self, optimizer: torch.optim.Optimizer, batch: Batch, latent: Tensor) -> Tensor:
        """Raise the weight of experts whose action the model values above the others', `[B, K]` advantages.

        Where all are worth the same the gradient is zero, so the gate does not drift; the entropy floor keeps every
        expert in play.
        """
        assert self.guidance is not None
        assert self.gate is not None
        assert batch.expert_action is not None
        assert batch.observation is not None
        actions = batch.expert_action[0]
        with torch.no_grad():
            z = latent.unsqueeze(1).expand(-1, actions.shape[1], -1)
            q = self.model.q(z, actions, self.model.draw()).mean(dim=0)
            advantage = (q - q.mean(dim=1, keepdim=True)) / self.scale.value
        seen = gate_context(batch.observation, self.guidance.layout)  # type: ignore[arg-type]
        probs = self.gate(seen, self.guidance.card_embeddings.to(latent.device))  # type: ignore[union-attr]
        gain = -(probs * advantage).sum(dim=1).mean()
        self._gradient(optimizer, gain + entropy_shortfall(probs, self.guiding.gate_entropy_floor), batch)
        optimizer.step()
        result: Tensor = gain.detach()
        return result

    def _gradient(self, optimizer: torch.optim.Optimizer, loss: Tensor, batch: Batch) -> Tensor:
        """Gradient of a loss, clipped; returns its norm."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.learning.grad_clip)
        if not torch.isfinite(norm) or not torch.isfinite(loss):
            raise NonFiniteGradient(batch, float(loss), float(norm))
        return norm
