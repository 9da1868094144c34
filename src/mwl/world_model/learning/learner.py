"""One update from a batch: of the model, then of the policy prior."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mwl.world_model.config import GuidanceConfig, LearningConfig
from mwl.world_model.learning import losses
from mwl.world_model.learning.compiling import compiled
from mwl.world_model.learning.losses import Batch, RunningScale, model_losses, policy_losses
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
    ) -> None:
        self.model, self.scale, self.learning, self.guiding = model, scale, learning, guiding
        self.switches, self.discount, self.unit = switches, discount, unit
        self._model_losses = compiled(model_losses, learning.compile)
        self._policy_losses = compiled(policy_losses, learning.compile)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the model (its encoder slower) and for the policy."""
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
        return optimizers

    def update(
        self,
        batch: Batch,
        optimizers: list[torch.optim.Optimizer],
        weight: float,
        policy_step: Callable[[], object] | None = None,
    ) -> dict[str, Tensor]:
        """One update of model, policy and target networks; returns its metrics.

        Args:
            batch: slices from the replay buffer.
            optimizers: as `optimizers` made them.
            weight: of the term that draws the policy to the experts.
            policy_step: steps the policy's optimiser in its place; None steps it itself.

        Raises:
            NonFiniteGradient: before a parameter would become NaN.
        """
        learning, model = self.learning, self.model
        model_optimizer, policy_optimizer = optimizers
        best = self.guiding.bootstrap == "best"
        parts = self._model_losses(
            model, batch, self.discount, losses.RHO, self.switches.policy_base, best, learning.trace
        )
        loss = (
            losses.CONSISTENCY_WEIGHT * parts.consistency
            + losses.REWARD_WEIGHT * parts.reward
            + losses.VALUE_WEIGHT * parts.value
            + losses.TERMINATION_WEIGHT * parts.termination
            + parts.experts
        )
        metrics = {f"train/{name}": getattr(parts, name).detach() for name in parts._fields if name != "latents"}
        metrics["train/grad_norm"] = self._gradient(model_optimizer, loss, batch)
        model_optimizer.step()
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
            losses.RHO,
            learning.entropy_weight,
            batch.reference,
            self.switches.policy_base,
            self.unit.to(latents.device),
        )
        loss = parts.improvement + weight * parts.guidance
        self._gradient(optimizer, loss, batch)
        self.scale.update(parts.q[0])
        return {
            "train/policy": parts.improvement.detach(),
            "train/distance": parts.guidance.detach(),
            "train/q": parts.q.mean(),
            "train/entropy": parts.entropy,
        }

    def _gradient(self, optimizer: torch.optim.Optimizer, loss: Tensor, batch: Batch) -> Tensor:
        """Gradient of a loss, clipped; returns its norm."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.learning.grad_clip)
        if not torch.isfinite(norm) or not torch.isfinite(loss):
            raise NonFiniteGradient(batch, float(loss), float(norm))
        return norm
