"""The networks of TD-MPC2: encoder, latent dynamics, reward, termination, an ensemble of Qs and a policy prior."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mwl.core.errors import BadInput
from mwl.core.normaliser import RunningNormaliser
from mwl.world_model.distributional import TwoHot
from mwl.world_model.layers import Ensemble, SimNorm, init_weights, mlp

_REFERENCE_LIMIT = 0.999  # a reference action at a bound still leaves the policy a gradient
_LOG_STD_LOW, _LOG_STD_HIGH = -10.0, 2.0
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
DRAWN = 2  # Q networks drawn for every target and every estimate


@dataclass(frozen=True)
class ModelSize:
    """Widths of the networks."""

    latent: int
    mlp: int
    encoder: int
    encoder_layers: int = 2
    num_q: int = 5
    simplex: int = 8


SIZES = {
    "0.2M": ModelSize(latent=64, mlp=128, encoder=128, num_q=2),
    "1M": ModelSize(latent=128, mlp=384, encoder=256, num_q=2),
    "5M": ModelSize(latent=512, mlp=512, encoder=256),
    "19M": ModelSize(latent=768, mlp=1024, encoder=1024, encoder_layers=3),
}


ACTIVATIONS: dict[str, type[nn.Module]] = {"mish": nn.Mish, "silu": nn.SiLU}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class PolicySample(NamedTuple):
    """Actions `[..., A]` in [-1, 1], their means after the squashing, and the scaled entropy `[...]`."""

    action: Tensor
    mean: Tensor
    entropy: Tensor


class WorldModel(nn.Module):
    """Everything that is learned, and the target Q networks.

    Args:
        feature_size: number F of input features.
        action_size: number A of actions.
        size: one of `SIZES`.
        num_experts: number K of experts whose actions are predicted from the latent; 0 without guidance.
        num_q: number of Q networks, where it shall differ from the size's.
        dropout: in the first block of every Q network.
        activation: one of `ACTIVATIONS`.
        precision: one of `PRECISIONS`, of the matrix products under `autocast`.
        mean_reward: see `TwoHot`.

    Raises:
        BadInput: unknown size, activation or precision, or fewer than two Q networks.
    """

    value_offset: Tensor

    def __init__(
        self,
        feature_size: int,
        action_size: int,
        size: str = "1M",
        num_experts: int = 0,
        num_q: int | None = None,
        dropout: float = 0.01,
        activation: str = "mish",
        precision: str = "float32",
        mean_reward: bool = False,
    ) -> None:
        super().__init__()
        known_names: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
            ("model size", size, SIZES),
            ("activation", activation, ACTIVATIONS),
            ("precision", precision, PRECISIONS),
        )
        for what, name, known in known_names:
            if name not in known:
                raise BadInput(f"unknown {what} {name!r}; there are {', '.join(known)}")
        widths = SIZES[size]
        self.num_q = num_q or widths.num_q
        if self.num_q < DRAWN:
            raise BadInput(f"num_q is {self.num_q}; at least {DRAWN} Q networks are needed")
        self.precision = PRECISIONS[precision]
        self.action_size, self.num_experts = action_size, num_experts
        latent, hidden = widths.latent, [widths.mlp] * 2
        self.codec, self.reward_codec = TwoHot(), TwoHot(mean=mean_reward)
        self.register_buffer("value_offset", torch.zeros(()))  # what the Q networks count from, see `LearningConfig`
        bins = len(self.codec.bins)
        self.norm = RunningNormaliser(feature_size)
        encoder = [widths.encoder] * (widths.encoder_layers - 1)
        bend = ACTIVATIONS[activation]()
        self.encoder = mlp(feature_size, encoder, latent, bend, SimNorm(widths.simplex))
        self.dynamics = mlp(latent + action_size, hidden, latent, bend, SimNorm(widths.simplex))
        self.reward_head = mlp(latent + action_size, hidden, bins, bend)
        self.termination_head = mlp(latent, hidden, 1, bend)
        self.policy_head = mlp(latent, hidden, 2 * action_size, bend)
        self.expert_head = mlp(latent, hidden, num_experts * action_size, bend) if num_experts else None
        self.apply(init_weights)
        nn.init.zeros_(self.reward_head[-1].weight)  # type: ignore[arg-type]
        if num_experts:  # a policy that is centred on the reference then begins as the reference
            nn.init.zeros_(self.policy_head[-1].weight)  # type: ignore[arg-type]
        self.qs = Ensemble(self.num_q, latent + action_size, widths.mlp, bins, bend, dropout)
        self.target_qs = deepcopy(self.qs).requires_grad_(False)
        self.target_qs.dropout = 0.0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.value_offset.device

    def autocast(self) -> torch.autocast:
        """Context in which matrix products are taken in the model's precision."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision is torch.bfloat16)

    def encode(self, features: Tensor) -> Tensor:
        """Latent `[..., D]` of features `[..., F]`."""
        result: Tensor = self.encoder(self.norm(features))
        return result

    def next(self, latent: Tensor, action: Tensor) -> Tensor:
        """Predicted next latent `[..., D]`."""
        result: Tensor = self.dynamics(torch.cat([latent, action], dim=-1))
        return result

    def reward_logits(self, latent: Tensor, action: Tensor) -> Tensor:
        """Distribution `[..., B]` of the reward."""
        result: Tensor = self.reward_head(torch.cat([latent, action], dim=-1))
        return result

    def step(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Next latent `[R, D]` and expected reward `[R]`."""
        joint = torch.cat([latent, action], dim=-1)
        return self.dynamics(joint), self.reward_codec.decode(self.reward_head(joint))

    def termination_logit(self, latent: Tensor) -> Tensor:
        """Logit `[...]` of having fallen."""
        result: Tensor = self.termination_head(latent).squeeze(-1)
        return result

    def expert_actions(self, latent: Tensor) -> Tensor:
        """What each expert would do `[..., K, A]`, predicted from the latent."""
        assert self.expert_head is not None, "no experts to predict"
        result: Tensor = self.expert_head(latent).unflatten(-1, (self.num_experts, self.action_size)).tanh()
        return result

    def draw(self) -> Tensor:
        """Two different Q networks."""
        if torch.compiler.is_compiling():  # which fails at an index by `randperm` where it is not cut (torch 2.13)
            return torch.rand(self.num_q, device=self.device).argsort()[:DRAWN]
        return torch.randperm(self.num_q, device=self.device)[:DRAWN]

    def q_logits(self, latent: Tensor, action: Tensor, members: Tensor | None = None, frozen: bool = False) -> Tensor:
        """Distributions `[M, ..., B]` of the return by the chosen Q networks (None: all)."""
        joint = torch.cat([latent, action], dim=-1)
        logits = self.qs(joint.flatten(0, -2), members, frozen)
        result: Tensor = logits.unflatten(1, joint.shape[:-1])
        return result

    def q(self, latent: Tensor, action: Tensor, members: Tensor, frozen: bool = False) -> Tensor:
        """Expected returns `[M, ...]`."""
        return self.value_offset + self.codec.decode(self.q_logits(latent, action, members, frozen))

    def target_q(self, latent: Tensor, action: Tensor, members: Tensor) -> Tensor:
        """Expected returns `[M, ...]` by the slowly following target networks."""
        joint = torch.cat([latent, action], dim=-1)
        value = self.codec.decode(self.target_qs(joint.flatten(0, -2), members))
        result: Tensor = self.value_offset + value.unflatten(1, joint.shape[:-1])
        return result

    def policy(self, latent: Tensor, reference: Tensor | None = None) -> PolicySample:
        """Sample the policy prior.

        Args:
            latent: `[..., D]`.
            reference: `[..., A]` action around which the policy is centred; an untrained policy then acts like the
                experts, and learning moves it from there as far as the values carry it. None centres it on 0.
        """
        mean, log_std = self._distribution(latent, reference)
        noise = torch.randn_like(mean)
        # A times the entropy before the squashing, as the reference computes it: it works better than the exact one.
        log_prob = (-0.5 * noise**2 - log_std - _HALF_LOG_TAU).sum(dim=-1)
        entropy = -self.action_size * log_prob
        return PolicySample((mean + noise * log_std.exp()).tanh(), mean.tanh(), entropy)

    def _distribution(self, latent: Tensor, reference: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the standard deviation `[..., A]` before the squashing."""
        mean, log_std = self.policy_head(latent).chunk(2, dim=-1)
        if reference is not None:
            mean = mean + reference.clamp(-_REFERENCE_LIMIT, _REFERENCE_LIMIT).atanh()
        return mean, _LOG_STD_LOW + (_LOG_STD_HIGH - _LOG_STD_LOW) / 2 * (log_std.tanh() + 1)

    @torch.no_grad()
    def follow_targets(self, tau: float) -> None:
        """Move the target Q networks towards the present ones by the share `tau`."""
        torch._foreach_lerp_(list(self.target_qs.parameters()), list(self.qs.parameters()), tau)


def binary_cross_entropy(logit: Tensor, happened: Tensor) -> Tensor:
    """Mean loss of termination logits `[...]` against flags `[...]`."""
    return F.binary_cross_entropy_with_logits(logit, happened.to(logit.dtype))
