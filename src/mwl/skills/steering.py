"""Velocities in the world as a command: the walking skill turns to where it shall go, and stands once it stopped."""

import torch
from torch import Tensor

from mwl.experts.features import Layout, robot_state
from mwl.robot import frames
from mwl.skills.commands import Command

_FACES = 0.5  # rad, within which walking may begin
_GAIN = 2.0  # rad/s of turning per rad that the way lies aside
_CHANGE = 0.03  # m/s by which the speed may change in a control step: 1.5 m/s2, at which the walker does not fall
RESTS = 0.4  # m/s: slower is told to stand
STANDS = 0.3  # m/s at which standing may take over from walking
STANDS_FACING = 0.5  # rad from the x axis within which it may: `stand` learned to face along x and falls turned away


def steering(walker: Command) -> Command:
    """What a walker is told where it is steered: a velocity in the world, as fast as its own command goes forward."""
    fastest = walker.high[0]
    return Command(("along x", "along y"), ("m/s", "m/s"), (-fastest, -fastest), (fastest, fastest))


def pose(observation: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """World x and y `[N, 2]` in m, heading `[N]` in rad and speed `[N]` in m/s."""
    qpos, qvel = robot_state(observation, layout)
    return qpos[:, :2], frames.heading(frames.rotation_matrix(qpos[:, 3:7])), qvel[:, :2].norm(dim=-1)


def steered(velocity: Tensor, yaw: Tensor, walker: Command, pace: Tensor | None = None) -> Tensor:
    """Commands `[N, 3]` to the walker (forward m/s, sideways m/s, turning rad/s) that lead to a velocity.

    Args:
        velocity: `[N, 2]` in the world, m/s; one too slow to walk at stops.
        yaw: heading `[N]`, rad.
        walker: the walker's own command, whose ranges hold.
        pace: forward speed `[N]` that was told a control step ago; None takes up any speed at once.
    """
    speed = velocity.norm(dim=-1)
    moves = speed >= RESTS
    error = (torch.atan2(velocity[:, 1], velocity[:, 0]) - yaw).masked_fill(~moves, 0.0)
    error = torch.atan2(error.sin(), error.cos())
    wanted = torch.where(moves & (error.abs() < _FACES), speed.clamp(max=walker.high[0]) * error.cos(), 0.0)
    forward = wanted if pace is None else pace + (wanted - pace).clamp(-_CHANGE, _CHANGE)
    turning = (_GAIN * error).clamp(walker.low[2], walker.high[2])
    return torch.stack([forward, torch.zeros_like(forward), turning], dim=-1)
