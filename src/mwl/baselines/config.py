"""The settings of the baselines; defaults are those that their authors published."""

from dataclasses import dataclass
from typing import ClassVar

from mwl.core.errors import BadInput
from mwl.core.ranges import Between0And1, Count, Positive, Whole

QUANTILES = 25  # of every critic of TQC


@dataclass(frozen=True)
class OffPolicyConfig:
    """Of SAC (arXiv 1812.05905) and TQC (arXiv 2005.04269)."""

    hidden: tuple[Count, ...] = (256, 256)
    """Widths of the hidden layers of policy and critics."""
    critics: Count = 2
    """SAC has two and takes the lower value, TQC five with 25 quantiles each."""
    dropped: ClassVar[int] = 2
    """TQC: highest quantiles per critic that targets leave out."""
    lr: Positive = 3e-4
    batch_size: Count = 256
    updates_per_step: Positive = 1.0
    """Counted over all environments."""
    learning_starts: Count = 5000
    """Environment steps acted at random, before the first update."""
    discount: Between0And1 = 0.99


@dataclass(frozen=True)
class PPOConfig:
    """Of PPO (arXiv 1707.06347); what is constant is as its authors have it."""

    hidden: tuple[Count, ...] = (64, 64)
    """Widths of the hidden layers of policy and critic."""
    lr: Positive = 3e-4
    epochs: Count = 10
    """Passes over the steps of a round."""
    batch_size: Count = 64
    clip: ClassVar[float] = 0.2
    """How far the probability of an action may move from 1 in ratio."""
    discount: Between0And1 = 0.99
    trace: ClassVar[float] = 0.95
    """Lambda of the generalised advantages."""
    entropy_weight: ClassVar[float] = 0.0
    start_std: ClassVar[float] = 1.0
    """Standard deviation of the actions at first, before the squashing."""


@dataclass(frozen=True)
class DreamerConfig:
    """Of DreamerV3 (arXiv 2301.04104); what is not here is fixed as in the authors' code."""

    units: Count = 64
    """Width: 64 is the authors' size1m, 256 their size12m; belief and classes grow with it."""
    batch_size: Count = 16
    """Sequences per update."""
    length: Count = 64
    """Steps of a sequence."""
    train_ratio: Positive = 1024.0
    """Steps replayed per environment step."""
    lr: Positive = 4e-5
    warmup: Whole = 1000
    """Updates over which the learning rate rises to `lr`."""
    learning_starts: Count = 1024
    """Environment steps acted at random, before the first update."""

    def __post_init__(self) -> None:
        if self.units % 16 or self.length < 2:
            raise BadInput(
                f"learning.units is {self.units} and learning.length {self.length}; units are a multiple of 16, and a "
                "sequence has at least 2 steps"
            )
