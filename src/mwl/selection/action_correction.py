"""Small, steady adjustments of experts' actions, joint by joint: what a task pays for and a demonstration did not."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mwl.core.artifact import check_weights
from mwl.core.errors import CorruptFile
from mwl.experts.features import Layout, robot_state
from mwl.robot.h1 import CTRL_LOW, RADIANS_PER_ACTION

_OFFSET = 0.02  # rad per unit of its number; chosen so that a unit of each number matters about equally
_GAIN, _STIFFNESS = 0.1, 0.1  # shares
_DAMPING = 0.004  # s
_KINDS = 4


class Joints(NamedTuple):
    """Where the joints are and how fast they move, `[N, A]` in units of action (and per second)."""

    position: Tensor
    velocity: Tensor


def joints_of(observation: Tensor, layout: Layout) -> Joints:
    """Joints as the servos would be commanded to where they are."""
    qpos, qvel = robot_state(observation, layout)
    unit = torch.as_tensor(1 / RADIANS_PER_ACTION)
    return Joints((qpos[:, 7:26] - torch.as_tensor(CTRL_LOW)) * unit - 1, qvel[:, 6:25] * unit)


class Tuning(nn.Module):
    """Adjusts the actions of some experts by four numbers per joint.

    These are an offset, a gain on the movement around the expert's mean action, a stiffness (how far the target moves
    to where the joint is: a position servo's force is proportional to their distance) and a damping (share of the
    joint's velocity). Zero leaves an expert as it is. Left and right share their numbers, offsets mirrored, which
    halves what is to be found; a trunk joint that mirrors onto its own negative gets no offset.

    What speeds up a robot that sets off is not what keeps it going, so setting off may have numbers of its own: they
    hold for the first half of `setting_off` steps of an episode and fade out over the second.

    Args:
        chosen: `[K]` bool, the experts that are adjusted, all alike.
        unit: `[A]` action per radian.
        mirror: index and sign `[A]` as of `mwl.robot.symmetry.joint_mirror`; None for actions without sides.
        setting_off: steps from the beginning of an episode; 0 for the same numbers throughout.

    Attributes:
        numbers: `[P]`; those of going on before those of setting off, where there are such.
        size: how many there are of going on.
    """

    numbers: Tensor
    centre: Tensor

    def __init__(
        self, chosen: Tensor, unit: Tensor, mirror: tuple[Tensor, Tensor] | None = None, setting_off: int = 0
    ) -> None:
        super().__init__()
        own = torch.arange(len(unit))
        index, sign = mirror or (own, torch.ones(len(unit)))
        groups, self._group = torch.minimum(own, index).unique(return_inverse=True)
        side = torch.where(index < own, sign, torch.ones_like(sign))
        self._side = side.masked_fill((index == own) & (sign < 0), 0.0)
        self.chosen, self.unit, self.mirror, self.setting_off = chosen, unit, mirror, setting_off
        self.size = _KINDS * len(groups)
        self.register_buffer("numbers", torch.zeros(self.size * (2 if setting_off else 1)))
        self.register_buffer("centre", torch.zeros(len(chosen), len(unit)))

    def forward(
        self, action: Tensor, joints: Joints | None, numbers: Tensor | None = None, age: Tensor | None = None
    ) -> Tensor:
        """Adjusted actions `[N, K, A]`.

        Args:
            action: `[N, K, A]` of the experts.
            joints: None where a task shows none; stiffness and damping then do nothing.
            numbers: `[N, P]` to try, one row per environment; None takes those found.
            age: steps since the episode began `[N]`; None where all have long set off.
        """
        numbers = self._at(age, self.numbers.unsqueeze(0) if numbers is None else numbers)
        per_joint = numbers.view(len(numbers), _KINDS, 1, -1)[..., self._group]
        offset, gain, stiffness, damping = per_joint.unbind(dim=1)
        change = _OFFSET * offset * self._side * self.unit + _GAIN * gain * (action - self.centre)
        if joints is not None:
            change = change + _STIFFNESS * stiffness * (joints.position.unsqueeze(1) - action)
            change = change + _DAMPING * damping * joints.velocity.unsqueeze(1)
        return torch.where(self.chosen[:, None], (action + change).clamp(-1, 1), action)

    def _at(self, age: Tensor | None, numbers: Tensor) -> Tensor:
        """Of numbers `[N, P]` or `[1, P]` those that hold at an age `[N]`."""
        going_on = numbers[:, : self.size]
        if not self.setting_off or age is None:
            return going_on
        share = (2 - 2 * age / self.setting_off).clamp(0, 1).to(numbers.dtype)
        return going_on.lerp(numbers[:, self.size :], share.unsqueeze(-1))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain values and tensors, to be read back by `from_plain`."""
        return {
            "chosen": self.chosen,
            "unit": self.unit,
            "mirror": None if self.mirror is None else list(self.mirror),
            "setting_off": self.setting_off,
            "state_dict": self.state_dict(),
        }

    @classmethod
    def from_plain(cls, entries: Mapping[str, Any]) -> "Tuning":
        """The tuning that `to_plain` described.

        Raises:
            CorruptFile, SpecMismatch: entries are of another shape or do not fit each other.
        """
        chosen, unit = entries["chosen"], entries["unit"]
        if chosen.ndim != 1 or chosen.dtype != torch.bool or unit.ndim != 1 or not (unit > 0).all():
            raise CorruptFile("tuning: it does not say by how much it adjusts which experts")
        mirror = None if entries["mirror"] is None else (entries["mirror"][0], entries["mirror"][1])
        tuning = cls(chosen, unit, mirror, entries.get("setting_off", 0))
        check_weights(tuning.state_dict(), entries["state_dict"], "tuning")
        tuning.load_state_dict(entries["state_dict"])
        return tuning
