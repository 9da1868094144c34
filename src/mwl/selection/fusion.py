"""From weights over experts to one action: fusion of instruction and state, and the ways to compose experts."""

from typing import Literal

import torch
from torch import Tensor

Mode = Literal["mixture", "top1"]


def fuse(semantic_weights: Tensor, gate_probs: Tensor, alpha: float) -> Tensor:
    """Weights alpha * w + (1 - alpha) * p(i|s), `[N, K]`.

    Args:
        semantic_weights: `[K]` or `[N, K]`, what the instruction asks for; sums to 1.
        gate_probs: `[N, K]`, what the state suggests; sums to 1.
        alpha: in [0, 1]; 1 follows the instruction alone, 0 the state alone.
    """
    return alpha * semantic_weights.expand_as(gate_probs) + (1 - alpha) * gate_probs


def choose(fused_weights: Tensor, current: Tensor | None = None, margin: float = 0.1) -> Tensor:
    """Index `[N]` of the expert to follow, with hysteresis.

    Args:
        fused_weights: `[N, K]`.
        current: `[N]` expert followed so far, -1 where none; it is left only for one that weighs more by `margin`.
        margin: in weight.
    """
    best, index = fused_weights.max(dim=-1)
    if current is None:
        return index
    held = fused_weights.gather(-1, current.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    keep = (current >= 0) & (best < held + margin)
    return torch.where(keep, current, index)


def compose(expert_action: Tensor, weights: Tensor) -> Tensor:
    """Reference action `[N, A]`: the mean of the experts' actions `[N, K, A]`, weighted by `[N, K]`."""
    return torch.einsum("nk,nka->na", weights, expert_action)
