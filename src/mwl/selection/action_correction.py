"""Affine corrections of experts' actions, joint by joint: what a task rewards and a demonstration did not show."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mwl.core.checkpoints import check_weights
from mwl.core.errors import CorruptFile
from mwl.experts.features import Layout, robot_state
from mwl.robot.h1 import CTRL_LOW, RADIANS_PER_ACTION

_OFFSET = 0.02  # rad per unit of its coefficient; chosen so that a unit of each coefficient matters about equally
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


class ActionCorrection(nn.Module):
    """Adjusts the actions of some experts by four coefficients per joint.

    These are an offset, a gain on the movement around the expert's mean action, a stiffness (how far the target moves
    to where the joint is: a position servo's force is proportional to their distance) and a damping (share of the
    joint's velocity). Zero leaves an expert as it is. Left and right share their coefficients, offsets mirrored, which
    halves what is to be found; a trunk joint that mirrors onto its own negative gets no offset.

    What speeds up a robot that starts is not what keeps it going, so the start phase may have coefficients of its own:
    they hold for the first half of `start_phase` steps of an episode and fade out over the second.

    Args:
        chosen: `[K]` bool, the experts that are adjusted, all alike.
        unit: `[A]` action per radian.
        mirror: index and sign `[A]` as of `mwl.robot.joint_mirror.joint_mirror`; None for actions without sides.
        start_phase: steps from the beginning of an episode; 0 for the same coefficients throughout.

    Attributes:
        coefficients: `[P]`; those of the main phase before those of the start phase, where there are such.
        size: how many there are of the main phase.
    """

    coefficients: Tensor
    mean_action: Tensor

    def __init__(
        self, chosen: Tensor, unit: Tensor, mirror: tuple[Tensor, Tensor] | None = None, start_phase: int = 0
    ) -> None:
        super().__init__()
        own = torch.arange(len(unit))
        index, sign = mirror or (own, torch.ones(len(unit)))
        groups, self._group = torch.minimum(own, index).unique(return_inverse=True)
        side = torch.where(index < own, sign, torch.ones_like(sign))
        self._side = side.masked_fill((index == own) & (sign < 0), 0.0)
        self.chosen, self.unit, self.mirror, self.start_phase = chosen, unit, mirror, start_phase
        self.size = _KINDS * len(groups)
        self.register_buffer("coefficients", torch.zeros(self.size * (2 if start_phase else 1)))
        self.register_buffer("mean_action", torch.zeros(len(chosen), len(unit)))

    def forward(
        self, action: Tensor, joints: Joints | None, coefficients: Tensor | None = None, age: Tensor | None = None
    ) -> Tensor:
        """Adjusted actions `[N, K, A]`.

        Args:
            action: `[N, K, A]` of the experts.
            joints: None where a task shows none; stiffness and damping then do nothing.
            coefficients: `[N, P]` to try, one row per environment; None takes those found.
            age: steps since the episode began `[N]`; None where the start phase is over everywhere.
        """
        coefficients = self._at(age, self.coefficients.unsqueeze(0) if coefficients is None else coefficients)
        per_joint = coefficients.view(coefficients.shape[0], _KINDS, 1, -1)[..., self._group]
        offset, gain, stiffness, damping = per_joint.unbind(dim=1)
        change = _OFFSET * offset * self._side * self.unit + _GAIN * gain * (action - self.mean_action)
        if joints is not None:
            change = change + _STIFFNESS * stiffness * (joints.position.unsqueeze(1) - action)
            change = change + _DAMPING * damping * joints.velocity.unsqueeze(1)
        return torch.where(self.chosen[:, None], (action + change).clamp(-1, 1), action)

    def _at(self, age: Tensor | None, coefficients: Tensor) -> Tensor:
        """Of coefficients `[N, P]` or `[1, P]` those that hold at an age `[N]`."""
        main = coefficients[:, : self.size]
        if not self.start_phase or age is None:
            return main
        share = (2 - 2 * age / self.start_phase).clamp(0, 1).to(coefficients.dtype)
        return main.lerp(coefficients[:, self.size :], share.unsqueeze(-1))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain values and tensors, to be read back by `from_plain`."""
        return {
            "chosen": self.chosen,
            "unit": self.unit,
            "mirror": None if self.mirror is None else list(self.mirror),
            "start_phase": self.start_phase,
            "state_dict": self.state_dict(),
        }

    @classmethod
    def from_plain(cls, entries: Mapping[str, Any]) -> "ActionCorrection":
        """The correction that `to_plain` described.

        Raises:
            CorruptFile, SpecMismatch: entries are of another shape or do not fit each other.
        """
        chosen, unit = entries["chosen"], entries["unit"]
        if chosen.ndim != 1 or chosen.dtype != torch.bool or unit.ndim != 1 or not (unit > 0).all():
            raise CorruptFile("correction: it does not say by how much it adjusts which experts")
        mirror = None if entries["mirror"] is None else (entries["mirror"][0], entries["mirror"][1])
        correction = cls(chosen, unit, mirror, entries.get("start_phase", 0))
        check_weights(correction.state_dict(), entries["state_dict"], "correction")
        correction.load_state_dict(entries["state_dict"])
        return correction
