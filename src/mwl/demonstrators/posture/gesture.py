"""Gestures of the arms: a teacher balances with legs and trunk, the arms follow key poses in joint space.

The arms are told from where they are, not by a clock: along a path of least jerk by how far up it they have come, and
to and fro by where in the swing they are. So a student can read the same off the robot's state, from whichever pose it
takes over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mwl.robot.h1 import JOINT_NAMES, ctrl_to_action
from mwl.robot.joint_mirror import mirror_joints
from mwl.teachers.teacher import TrackingPolicy

SIDES = (-1.0, 0.0, 1.0)  # right arm, both, left arm
LEAD = 0.06  # share of the rise's time by which the servos' targets run ahead: it then takes about a second
LEAST_LEAD = 0.05  # share of its way, at its ends; with less the arm's weight holds it back
_SWINGS_FROM, _SWINGS = 0.6, 0.9  # share of the way up from which on the arm swings, and swings fully
_PATH = 256  # points of the path of least jerk that are tabled


@dataclass(frozen=True)
class Move:
    """What the right arm does; the left one does the mirror image.

    Args:
        raised: joint angles at the end of the way up, rad; joints that are not named stay as the teacher poses them.
        swings: greatest way from there to both sides of two joints, rad, the second a quarter behind the first. Two
            tell where in the swing they are without their speeds, which a student with late senses misjudges: one
            that saw a single joint swing came to rest.
        phase_lead: rad by which the servos' targets run ahead of the swing; more swings faster.
    """

    raised: Mapping[str, float]
    swings: Mapping[str, float]
    phase_lead: float = 0.3


MOVES = {
    "raise_arm": Move({"shoulder_pitch": 0.0, "shoulder_roll": -2.6, "shoulder_yaw": -1.5, "elbow": 1.3}, {}),
    "wave": Move(
        {"shoulder_pitch": 0.0, "shoulder_roll": -2.0, "shoulder_yaw": -1.5, "elbow": 0.2},
        {"elbow": 0.5, "shoulder_yaw": 0.25},
    ),
}


class Gesture:
    """Demonstrator that raises or waves an arm while a teacher keeps the robot on its feet.

    The teacher is shown arms that are where it would have them, so that it balances as it was trained to; what an arm
    weighs elsewhere it makes up for as for a load.

    Args:
        teacher: a standing teacher, which poses all joints that the gesture does not.
        move: which gesture, a key of `MOVES`.
        arm: 1 the left one, -1 the right one, 0 both; None draws one of these for each robot.
        seed: of the arms drawn.
    """

    def __init__(self, teacher: TrackingPolicy, move: str, arm: float | None = None, seed: int = 0) -> None:
        self._teacher, self._told = teacher, arm
        self.name, self._move = move, MOVES[move]
        self._generator = torch.Generator().manual_seed(seed)
        self._arm = torch.zeros(0, 1)
        self._own = torch.zeros(0, len(JOINT_NAMES))
        self.noise_scale = teacher.noise_scale

    @property
    def command(self) -> Tensor:
        """Which arm each robot raises, `[N, 1]`: 1 the left one, -1 the right one, 0 both."""
        return self._arm

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew, with other arms if they are drawn, where `mask` `[N]` holds."""
        count = len(observation)
        self._teacher.reset(observation, mask)
        if self._told is None:
            drawn = torch.tensor(SIDES)[torch.randint(len(SIDES), (count, 1), generator=self._generator)]
        else:
            drawn = torch.full((count, 1), self._told)
        everywhere = mask is None or len(self._arm) != count
        self._arm = drawn if everywhere or mask is None else torch.where(mask.unsqueeze(-1), drawn, self._arm)

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at observations `[N, O]` that begin with the robot's qpos and qvel."""
        rest = self._teacher.reference()
        posed = moved_joints(self._move, self._arm)
        seen = observation.clone()
        seen[:, 7:26] = torch.where(posed, rest, observation[:, 7:26])
        seen[:, 32:51] = observation[:, 32:51].masked_fill(posed, 0.0)
        self._own = self._teacher.act(seen)
        arms = arm_targets(self._move, observation[:, 7:26], rest)
        action = torch.from_numpy(ctrl_to_action(arms.numpy())).float().clamp(-1, 1)
        return torch.where(posed, action, self._own)

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed; of the arms the teacher hears its own."""
        self._teacher.executed(torch.where(moved_joints(self._move, self._arm), self._own, action))

    def describe(self) -> dict[str, Any]:
        """Provenance of the teacher."""
        told = self._teacher.describe()
        del told["command"]
        return {**told, "method": f"arms along key poses; legs and trunk: {told['method']}"}


def moved_joints(move: Move, arm: Tensor) -> Tensor:
    """Mask `[N, 19]` of the joints that a gesture poses, by arms `[N, 1]`."""
    right, left = (torch.tensor([name in named for name in JOINT_NAMES]) for named in _by_side(move))
    return (right & (arm <= 0)) | (left & (arm >= 0))


def _by_side(move: Move) -> list[list[str]]:
    """Names of the joints that a gesture poses, of the right arm and of the left one."""
    return [[f"{side}_{name}" for name in move.raised] for side in ("right", "left")]


def arm_targets(move: Move, joints: Tensor, rest: Tensor) -> Tensor:
    """Servo targets `[N, 19]` in rad of both arms; those of other joints mean nothing.

    Args:
        move: the gesture.
        joints: joint angles `[N, 19]`, rad.
        rest: where the arms hang, `[N, 19]`, rad.
    """
    right = _right_arm(move, joints, rest)
    left = mirror_joints(_right_arm(move, mirror_joints(joints), mirror_joints(rest)))
    is_left = torch.tensor([name.startswith("left") for name in JOINT_NAMES])
    return torch.where(is_left, left, right)


def _right_arm(move: Move, joints: Tensor, rest: Tensor) -> Tensor:
    index = [JOINT_NAMES.index(f"right_{name}") for name in move.raised]
    swings = torch.tensor([name in move.swings for name in move.raised])
    end, begin, now = torch.tensor(list(move.raised.values())), rest[:, index], joints[:, index]
    way = (end - begin) * ~swings  # a swinging joint does not tell how far the arm is up
    done = (((now - begin) * way).sum(dim=-1) / way.square().sum(dim=-1)).clamp(0, 1).unsqueeze(-1)
    targets = joints.clone()
    targets[:, index] = begin + (end - begin) * _ahead(done)
    if move.swings:
        moving = [JOINT_NAMES.index(f"right_{name}") for name in move.swings]
        most = torch.tensor(list(move.swings.values()))
        along, across = ((joints[:, moving] - torch.tensor([move.raised[name] for name in move.swings])) / most).T
        phase = torch.atan2(across, along) + move.phase_lead
        fully = ((done - _SWINGS_FROM) / (_SWINGS - _SWINGS_FROM)).clamp(0, 1)
        targets[:, moving] += fully * most * torch.stack([phase.cos(), phase.sin()], dim=-1)
    return targets


def _ahead(done: Tensor) -> Tensor:
    """The share of the way up `[N, 1]` to tell the servos where so much is done, on a path of least jerk."""
    time = torch.linspace(0, 1, _PATH)
    path = 10 * time**3 - 15 * time**4 + 6 * time**5
    place = torch.searchsorted(path, done.contiguous()).clamp(max=_PATH - 1)
    ahead = path[(place + round(LEAD * (_PATH - 1))).clamp(max=_PATH - 1)]
    return torch.maximum(ahead, (done + LEAST_LEAD).clamp(max=1))
