"""What was done in some environments, step by step, and which steps a dynamics model can be learned from."""

from typing import NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from mwl.core import keys
from mwl.experts import features
from mwl.experts.features import EGOCENTRIC_SIZE, ROOT_HEIGHT, Layout
from mwl.robot.h1 import ACTION_SIZE

_SUNK = 0.1  # m; a root so much lower than it is at work belongs to a fall, which no expert is to go on from
_LOWEST_SHARE = 0.01


class Steps(NamedTuple):
    """Steps of the robot: states `[B, 50]` as of `egocentric`, actions `[B, A]`, and the states that followed."""

    state: Tensor
    action: Tensor
    after: Tensor


class Recording(nn.Module):
    """Steps of N environments in order, as far as there are any.

    Args:
        num_envs: N.
        steps: how many of each environment there will be, T.
    """

    state: Tensor
    action: Tensor
    after: Tensor
    age: Tensor
    length: Tensor

    def __init__(self, num_envs: int, steps: int) -> None:
        super().__init__()
        for name, size in (("state", EGOCENTRIC_SIZE), ("action", ACTION_SIZE), ("after", EGOCENTRIC_SIZE)):
            self.register_buffer(name, torch.zeros(num_envs, steps, size))
        self.register_buffer("age", torch.zeros(num_envs, steps, dtype=torch.int64))
        self.register_buffer("length", torch.zeros((), dtype=torch.int64))

    def add(self, frames: TensorDictBase, layout: Layout) -> None:
        """Take a round of transitions `[N, k]` in."""
        now = slice(int(self.length), int(self.length) + frames.shape[1])

        def told(observation: Tensor) -> Tensor:
            return features.egocentric(observation.flatten(0, 1), layout).view(*observation.shape[:2], -1)

        self.state[:, now], self.action[:, now] = told(frames[keys.OBSERVATION]), frames[keys.ACTION]
        self.after[:, now] = told(frames[keys.NEXT, keys.OBSERVATION])
        self.age[:, now] = frames[keys.STEP_COUNT].squeeze(-1)
        self.length += frames.shape[1]

    def lowest_at_work(self) -> float:
        """Height of the root in m below which a robot falls, by the first environment, which acts without noise."""
        heights = self.state[0, : int(self.length), ROOT_HEIGHT]
        return float(heights.quantile(_LOWEST_SHARE)) - _SUNK

    def steps(self, lowest: float, delay: int = 0) -> Steps:
        """Those in which the root was no lower than `lowest` m, with the actions of `delay` steps before.

        Where observations come late by so much, it is those actions that led from one to the next.
        """
        until = int(self.length)
        fit = (self.state[:, :until, ROOT_HEIGHT] > lowest) & (self.age[:, :until] > delay)
        fit[:, :delay] = False
        return Steps(
            self.state[:, :until][fit], self.action[:, :until].roll(delay, dims=1)[fit], self.after[:, :until][fit]
        )
