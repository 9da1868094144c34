"""Progress predicates: what an observation says about how far a step of a plan has come."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mwl.core.errors import BadInput
from mwl.robot import frames
from mwl.robot.standoff import STANDOFF
from mwl.rollouts.falls import AT_RISK, uprightness

if TYPE_CHECKING:
    from mwl.simulation.task import ObservationLayout

REACHED = 0.05  # m, hand to target
BESIDE, SLOW = 0.1, 0.15  # m off where a target is within reach; m/s
HANDLE_TURNED = 0.75  # rad
AJAR = 0.3  # rad, past the angle from which the sprung-back bolt keeps the leaf from shutting
DOOR_OPEN = 1.0  # rad
HELD, BEHIND_LEAF = 0.8, 0.2  # rad of the hinge; m along x: the leaf leans on who stands there
SEATED, ON_SEAT = (0.6, 0.8), 0.25  # m: height of a seated root; how far from the middle of the chair it may be
AT_DOOR, THROUGH_DOOR = 0.1, 1.2  # m along x: the handle is in reach (0.55 m ahead); the doorway lies behind


def part(observation: Tensor, layout: "ObservationLayout", name: str) -> Tensor:
    """One named part `[N, P]` of observations `[N, O]`.

    Raises:
        BadInput: the task's observation has no such part.
    """
    if name not in layout.slices:
        raise BadInput(f"the observation has no part {name!r}; parts: {', '.join(layout.slices)}")
    return observation[:, layout.slices[name]]


def position(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Root position `[N, 3]` in the world frame, m."""
    return part(observation, layout, "robot_qpos")[:, :3]


def fall_risk(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether the robot is going down or leans by more than 60 degrees `[N]`."""
    return AT_RISK.lost(part(observation, layout, "robot_qpos"))


def hand_at_goal(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether the left hand is at the target `[N]`."""
    gap = part(observation, layout, "left_hand") - part(observation, layout, "goal")
    return gap.norm(dim=-1) < REACHED


def at_goal(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether the robot has come to rest where its left hand reaches the target without a further step `[N]`."""
    root, velocity = part(observation, layout, "robot_qpos"), part(observation, layout, "robot_qvel")[:, :2]
    yaw = frames.heading(frames.rotation_matrix(root[:, 3:7]))
    off = frames.to_heading(yaw, part(observation, layout, "goal") - root[:, :3])[:, :2] - torch.tensor(STANDOFF)
    return (off.norm(dim=-1) < BESIDE) & (velocity.norm(dim=-1) < SLOW)


def at_door(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether the handle of the door is in reach `[N]`; who has turned it reached it, from wherever."""
    near = position(observation, layout)[:, 0] >= AT_DOOR
    return near | handle_turned(observation, layout) if "door_qpos" in layout.slices else near


def handle_turned(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether the latch no longer holds the door `[N]`."""
    hinge, hatch = part(observation, layout, "door_qpos").unbind(dim=-1)
    return (hatch >= HANDLE_TURNED) | (hinge >= AJAR)


def door_open(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether the door stands open `[N]`."""
    return part(observation, layout, "door_qpos")[:, 0] >= DOOR_OPEN


def behind_leaf(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether the robot stands between the open leaf and the doorway `[N]`."""
    hinge = part(observation, layout, "door_qpos")[:, 0]
    return (hinge >= HELD) & (position(observation, layout)[:, 0] >= BEHIND_LEAF)


def through_door(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether the doorway lies behind the robot `[N]`."""
    return position(observation, layout)[:, 0] >= THROUGH_DOOR


def seated(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether the robot sits at rest on the chair, upright `[N]`."""
    root, velocity = part(observation, layout, "robot_qpos"), part(observation, layout, "robot_qvel")[:, :2]
    off = (part(observation, layout, "chair_qpos")[:, :2] - root[:, :2]).norm(dim=-1)
    low = (root[:, 2] > SEATED[0]) & (root[:, 2] < SEATED[1]) & (uprightness(root[:, 3:7]) > 0.8)
    return low & (off < ON_SEAT) & (velocity.norm(dim=-1) < SLOW)


def never(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """A step that only time ends `[N]`."""
    return torch.zeros(len(observation), dtype=torch.bool)


NEEDS = {  # what an observation must show, by predicate
    "at_door": ("door_qpos",),
    "behind_leaf": ("door_qpos",),
    "through_door": ("door_qpos",),
    "hand_at_goal": ("left_hand", "goal"),
    "at_goal": ("goal",),
    "handle_turned": ("door_qpos",),
    "door_open": ("door_qpos",),
    "seated": ("chair_qpos",),
}


def known(name: str, layout: "ObservationLayout") -> bool:
    """Whether a task shows what a predicate asks about."""
    return all(needed in layout.slices for needed in NEEDS.get(name.removeprefix("not "), ()))


def met(name: str, observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Whether a predicate, or `not` a predicate, holds `[N]`; never, where the task does not show what it is about."""
    if not known(name, layout):
        return never(observation, layout)
    holds = PREDICATES[name.removeprefix("not ")](observation, layout)
    return ~holds if name.startswith("not ") else holds


PREDICATES: dict[str, "Callable[[Tensor, ObservationLayout], Tensor]"] = {
    "hand_at_goal": hand_at_goal,
    "at_goal": at_goal,
    "at_door": at_door,
    "handle_turned": handle_turned,
    "door_open": door_open,
    "behind_leaf": behind_leaf,
    "through_door": through_door,
    "seated": seated,
    "never": never,
}
