"""Inputs of networks in standard deviations: from a mean and spread taken once, or from all that was seen so far."""

import torch
from torch import Tensor, nn

INPUT_LIMIT = 5.0  # standard deviations; what was never seen in training can't push a network further
_LEAST = 1e-3  # standard deviation of what hardly moves, which would be blown up


def mean_and_std(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `[F]` of training data `[T, F]`."""
    return rows.mean(0), rows.std(0).clamp(min=_LEAST)


def normalise(features: Tensor, mean: Tensor, std: Tensor, limit: float = INPUT_LIMIT) -> Tensor:
    """Features `[..., F]` in standard deviations from the mean, cut at `limit`."""
    return ((features - mean) / std).clamp(-limit, limit)


class RunningNormaliser(nn.Module):
    """Normalises features by the mean and spread of everything seen so far.

    Args:
        size: number F of features.
        limit: as of `normalise`.
        least: standard deviation that a feature has at least, so that one which barely moves is not blown up.
        added: to the variance, to the same end.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, size: int, limit: float = 8.0, least: float = 1e-2, added: float = 0.0) -> None:
        super().__init__()
        self.limit, self.least, self.added = limit, least, added
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Take features `[N, F]` into account (parallel form of Welford's algorithm)."""
        new, old = float(len(features)), float(self.count)
        mean, variance = features.mean(0), features.var(0, unbiased=False)
        share, gap = new / (old + new), mean - self.mean
        if old == 0:
            self.mean.copy_(mean)
            self.variance.copy_(variance)
        else:
            self.variance.mul_(1 - share).add_(share * variance + share * (1 - share) * gap**2)
            self.mean.add_(share * gap)
        self.count.add_(new)

    def forward(self, features: Tensor) -> Tensor:
        """Normalised features, same shape."""
        return normalise(features, self.mean, (self.variance + self.added).sqrt().clamp(min=self.least), self.limit)
