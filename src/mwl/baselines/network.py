"""The actor of the baselines: what is seen, standardised, to a squashed Gaussian over actions."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchrl.modules import MLP

from mwl.core.normaliser import RunningNormaliser

_LOG_STD = (-5.0, 2.0)  # bounds


class Head(nn.Module):
    """Mean and standard deviation of actions before the squashing.

    Args:
        feature_size: F.
        action_size: A.
        hidden: widths of the hidden layers.
        start_std: of all actions alike, whatever is seen, and learned; None lets it depend on what is seen.
    """

    def __init__(
        self, feature_size: int, action_size: int, hidden: Sequence[int], start_std: float | None = None
    ) -> None:
        super().__init__()
        activation = nn.ReLU if start_std is None else nn.Tanh
        outputs = 2 * action_size if start_std is None else action_size
        self.net = MLP(feature_size, outputs, num_cells=list(hidden), activation_class=activation)
        self.log_std = None if start_std is None else nn.Parameter(torch.full((action_size,), math.log(start_std)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations `[..., A]` for features `[..., F]`."""
        if self.log_std is None:
            mean, log_std = self.net(features).chunk(2, dim=-1)
        else:
            mean = self.net(features)
            log_std = self.log_std.expand_as(mean)
        return mean, log_std.clamp(*_LOG_STD).exp()


class Actor(nn.Module):
    """Everything acting needs.

    Args:
        feature_size: F.
        action_size: A.
        hidden: widths of the hidden layers.
        start_std: see `Head`.
    """

    def __init__(
        self, feature_size: int, action_size: int, hidden: Sequence[int], start_std: float | None = None
    ) -> None:
        super().__init__()
        self.norm, self.head = RunningNormaliser(feature_size), Head(feature_size, action_size, hidden, start_std)

    def forward(self, features: Tensor, explore: bool) -> Tensor:
        """Actions `[N, A]` in [-1, 1] for features `[N, F]`; without exploring their squashed means."""
        mean, std = self.head(self.norm(features))
        return torch.tanh(mean + std * torch.randn_like(mean) if explore else mean)
