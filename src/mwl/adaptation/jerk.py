"""How jerkily joints move, measured step by step against how they move under the experts as they are."""

import torch
from torch import Tensor, nn

from mwl.rollouts.metrics import second_difference


class JerkCost(nn.Module):
    """Mean square jerk of the joints, in units of its mean over the steps in which it was `learning`.

    Args:
        num_envs: N.
        joints: number J of joints.
    """

    before: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, num_envs: int, joints: int) -> None:
        super().__init__()
        self.register_buffer("before", torch.zeros(2, num_envs, joints))
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def observe(self, velocity: Tensor, step: Tensor, *, learning: bool = False) -> Tensor:
        """Cost `[N]` of one step; 1 in the first two steps of an episode, which have no past.

        Args:
            velocity: of the joints after the step, rad/s, `[N, J]`.
            step: steps since the episode began, before this one, `[N]`.
            learning: whether this step counts towards the unit.
        """
        earlier, last = self.before
        square = second_difference(earlier, last, velocity).square().mean(dim=-1).double()
        self.before.copy_(torch.stack([last, velocity]))
        known = step >= 2  # a second difference needs three velocities
        if learning:
            self.total += square[known].sum()
            self.count += known.sum()
        unit = self.total / self.count.clamp(min=1)
        return torch.where(known & (unit > 0), square / unit.clamp(min=torch.finfo(torch.float64).tiny), 1.0)
