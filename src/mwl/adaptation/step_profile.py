"""What is earned at each step of an episode, to compare what acts at different steps."""

import torch
from torch import Tensor, nn

CERTAINTY = 2.0  # standard errors by which a difference has to exceed what chance makes of it


class StepProfile(nn.Module):
    """Mean reward per step since the episode began.

    Args:
        episode_steps: longest episode.
    """

    total: Tensor
    count: Tensor

    def __init__(self, episode_steps: int) -> None:
        super().__init__()
        for name in ("total", "count"):
            self.register_buffer(name, torch.zeros(episode_steps, dtype=torch.float64))

    def record(self, reward: Tensor, step: Tensor) -> None:
        """Take rewards `[M]` at steps `[M]` into account."""
        self.total.index_add_(0, step, reward.double())
        self.count.index_add_(0, step, torch.ones_like(reward, dtype=torch.float64))

    def expectation(self, step: Tensor) -> Tensor:
        """Mean reward `[M]` at steps `[M]`; at steps that were not reached, that of the latest half of those reached.

        Episodes begin with a start-up that later steps do not have.
        """
        reached = self.count > 0
        late = reached & (reached.cumsum(0) > reached.sum() // 2)
        overall = self.total[late].sum() / self.count[late].sum().clamp(min=1)
        return torch.where(reached, self.total / self.count.clamp(min=1), overall)[step]
