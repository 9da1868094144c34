"""Rewards and values as distributions: two-hot targets over bins that are evenly spaced in symlog space.

Regression by cross-entropy keeps gradients of one size whatever the size of the return (TD-MPC2, section 3.1).
TorchRL's functions of similar name interpolate in raw value space over unevenly spaced bins, which is another target.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


def _widened(logits: Tensor) -> Tensor:
    """Logits in at least single precision: bins lie 0.2 apart in symlog space, where half precision sees steps."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


class TwoHot(nn.Module):
    """Codec between numbers and distributions over bins.

    Args:
        num_bins: number B of bins.
        low: first bin in symlog space; smaller values count as this.
        high: last bin in symlog space.
        mean: decode the mean of the values that the bins stand for, which is what a return that comes by chance is
            worth; else, as in TD-MPC2, the value at the mean bin, at which 300 by a chance of a half counts as 16.
    """

    bins: Tensor

    def __init__(self, num_bins: int = 101, low: float = -10.0, high: float = 10.0, mean: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.low, self.high, self.width = low, high, (high - low) / (num_bins - 1)
        self.register_buffer("bins", torch.linspace(low, high, num_bins), persistent=False)

    def _position(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Lower neighbour bin `[...]` and the share `[...]` of the upper one."""
        position = (symlog(value).clamp(self.low, self.high) - self.low) / self.width
        lower = position.floor().clamp(max=len(self.bins) - 2)
        index = lower.nan_to_num(0.0).long()
        if self.mean:  # the share by value, so that the mean of both bins is the value again
            below, above = symexp(self.bins[index]), symexp(self.bins[index + 1])
            return index, (value.clamp(symexp(self.bins[0]), symexp(self.bins[-1])) - below) / (above - below)
        return index, position - lower  # NaN stays in the share, and so in the loss

    def encode(self, value: Tensor) -> Tensor:
        """Two-hot distributions `[..., B]` of values `[...]`."""
        lower, share = self._position(value)
        target = value.new_zeros(*value.shape, len(self.bins))
        target.scatter_(-1, lower.unsqueeze(-1), (1 - share).unsqueeze(-1))
        return target.scatter_(-1, lower.unsqueeze(-1) + 1, share.unsqueeze(-1))

    def decode(self, logits: Tensor) -> Tensor:
        """Values `[...]`: the expected bin in symlog space, mapped back."""
        with torch.autocast(logits.device.type, enabled=False):
            shares = _widened(logits).softmax(dim=-1)
            return shares @ symexp(self.bins) if self.mean else symexp(shares @ self.bins)

    def loss(self, logits: Tensor, value: Tensor) -> Tensor:
        """Cross-entropy `[...]` between logits `[..., B]` and the two-hot target of values `[...]`.

        Only the two bins that the target touches are read, so the target is never written out.
        """
        lower, share = self._position(value)
        log_probs = F.log_softmax(_widened(logits), dim=-1)
        below = log_probs.gather(-1, lower.unsqueeze(-1)).squeeze(-1)
        above = log_probs.gather(-1, lower.unsqueeze(-1) + 1).squeeze(-1)
        return -((1 - share) * below + share * above)
