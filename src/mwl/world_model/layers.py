"""Building blocks of the world model: normalised layers, simplicial latents, and an ensemble in stacked weights."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_INIT_STD = 0.02


class SimNorm(nn.Module):
    """Softmax within groups of units, so that a latent is a product of simplices (TD-MPC2, eq. 5).

    The members of a group lie `D / size` apart instead of side by side: a fixed permutation of the reference's layout,
    and 20 times faster on a CPU, as the softmax then runs along memory.

    Args:
        size: units per group.
    """

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Normalised units `[..., D]`; D must be a multiple of the group size."""
        return x.view(*x.shape[:-1], self.size, -1).softmax(dim=-2).view(x.shape)


class Block(nn.Sequential):
    """Linear, LayerNorm, activation."""

    def __init__(self, inputs: int, outputs: int, activation: nn.Module) -> None:
        super().__init__(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), activation)


def mlp(
    inputs: int, hidden: list[int], outputs: int, activation: nn.Module, last: nn.Module | None = None
) -> nn.Sequential:
    """Blocks of the given widths, then a plain linear layer, or one that is normalised and ends in `last`."""
    blocks: list[nn.Module] = [Block(a, b, activation) for a, b in pairwise([inputs, *hidden])]
    final = nn.Linear(hidden[-1] if hidden else inputs, outputs)
    return nn.Sequential(*blocks, final) if last is None else nn.Sequential(*blocks, final, nn.LayerNorm(outputs), last)


def init_weights(module: nn.Module) -> None:
    """Truncated normal weights of std 0.02, zero biases; use with `Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_INIT_STD)
        nn.init.zeros_(module.bias)


class StackedLinear(nn.Module):
    """M linear layers of one shape, evaluated as one batched product.

    Args:
        members: M.
        inputs: width of the input.
        outputs: width of the output.
    """

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))
        nn.init.trunc_normal_(self.weight, std=_INIT_STD)

    def forward(self, x: Tensor, members: Tensor | None = None, frozen: bool = False) -> Tensor:
        """Outputs `[M', R, outputs]` for inputs `[R, inputs]` or `[M', R, inputs]` of the chosen members `[M']`."""
        weight, bias = _chosen(self.weight, members, frozen), _chosen(self.bias, members, frozen)
        if x.ndim == 2:
            x = x.expand(len(weight), -1, -1)
        return torch.baddbmm(bias, x, weight)


class StackedNorm(nn.Module):
    """M layer norms over the last dimension."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Tensor, members: Tensor | None = None, frozen: bool = False) -> Tensor:
        """Normalised `[M', R, width]`."""
        weight, bias = _chosen(self.weight, members, frozen), _chosen(self.bias, members, frozen)
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:]), weight)


def _chosen(parameter: Tensor, members: Tensor | None, frozen: bool) -> Tensor:
    parameter = parameter.detach() if frozen else parameter
    return parameter if members is None else parameter[members]


class Ensemble(nn.Module):
    """M networks of two blocks and a linear head, of which any subset is evaluated.

    The reference evaluates all five Q networks and keeps two; drawing first gives the same distribution for less.

    Args:
        members: M.
        inputs: width of the input.
        hidden: width of the blocks.
        outputs: width of the output; its weights start at zero.
        activation: of the blocks.
        dropout: probability in the first block, before its norm.
    """

    def __init__(
        self, members: int, inputs: int, hidden: int, outputs: int, activation: nn.Module, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.members, self.activation, self.dropout = members, activation, dropout
        self.linears = nn.ModuleList(
            StackedLinear(members, a, b) for a, b in ((inputs, hidden), (hidden, hidden), (hidden, outputs))
        )
        self.norms = nn.ModuleList(StackedNorm(members, hidden) for _ in range(2))
        nn.init.zeros_(self.linears[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor, members: Tensor | None = None, frozen: bool = False) -> Tensor:
        """Outputs `[M', R, outputs]` for inputs `[R, inputs]`.

        Args:
            x: shared input.
            members: `[M']` indices of the networks to evaluate; None evaluates all.
            frozen: let gradients through to the input but not to the weights.
        """
        for i, norm in enumerate(self.norms):
            x = self.linears[i](x, members, frozen)
            if i == 0 and self.dropout > 0:
                x = F.dropout(x, self.dropout, self.training)
            x = self.activation(norm(x, members, frozen))
        result: Tensor = self.linears[-1](x, members, frozen)
        return result
