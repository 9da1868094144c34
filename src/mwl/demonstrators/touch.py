"""Touching a target wherever it is: walking up to it, then reaching for it without a further step."""

from dataclasses import dataclass
from typing import Any, ClassVar

import mujoco
import torch
from torch import Tensor

from mwl.demonstrators.approach import GOAL, Approach, ApproachConfig, in_heading
from mwl.demonstrators.reach import Reach, ReachConfig
from mwl.teachers.teacher import TrackingPolicy

SKILLS = ("approach", "reach")
APPROACH, REACH = range(len(SKILLS))
_CHECK_INTERVAL = 10  # control steps between looks whether the goal is still within reach


@dataclass(frozen=True)
class TouchConfig:
    """When a walker stops to reach, and when it walks on."""

    nearness: float = 0.08
    """Horizontal distance in m from the standoff within which it has arrived."""
    stillness: float = 0.1
    """Speed of the pelvis in m/s below which it may stop."""
    precision: ClassVar[float] = 0.02
    """Distance in m to which inverse kinematics has to come from where the robot stands."""
    lost: float = 0.08
    """The same distance beyond which a reaching robot gives up and walks again."""
    pushed: float = 0.35
    """Horizontal speed of the pelvis in m/s beyond which it does so too."""


class Touch:
    """Demonstrator of h1-reach that shows two skills in turn; `skill` says which one each robot shows.

    Args:
        model: the benchmark's robot model; frame_skip: physics steps per control step.
        walker: a commanded walking teacher.
        approach: how it walks.
        reach: how it reaches; with a `retarget_interval`, once it has stopped, for one random target after the other.
        config: when it stops.
    """

    name = "touch"
    command: Tensor | None = None
    skills = SKILLS

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        walker: TrackingPolicy,
        approach: ApproachConfig | None = None,
        reach: ReachConfig | None = None,
        config: TouchConfig | None = None,
    ) -> None:
        approach = approach or ApproachConfig()
        self.config, self._standoff = config or TouchConfig(), torch.tensor(approach.standoff)
        self._approach = Approach(walker, approach)
        self._reach = Reach(model, frame_skip, reach, targets=torch.zeros(1, 3))
        self.skill = torch.zeros(0, dtype=torch.int64)
        self._step = 0

    @property
    def noise_scale(self) -> Tensor:
        """`[N, A]`, that of the skill each robot shows."""
        return torch.where(self._reaching, self._reach.noise_scale, self._approach.noise_scale)

    @property
    def _reaching(self) -> Tensor:
        return (self.skill == REACH).unsqueeze(-1)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew where `mask` `[N]` holds: who can reach from where it stands does, the others walk."""
        count = len(observation)
        if mask is None or len(self.skill) != count:
            mask, self.skill = torch.ones(count, dtype=torch.bool), torch.full((count,), APPROACH)
        self._approach.reset(observation, mask)
        self._reach.aim(observation[:, GOAL].clone())
        self._reach.reset(observation, mask)
        within = self._miss(observation, mask) < self.config.precision
        self.skill = torch.where(mask, torch.where(within, REACH, APPROACH), self.skill)

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at observations `[N, 57]` of h1-reach."""
        self._choose(observation)
        walking, reaching = self._approach.act(observation), self._reach.act(observation)
        assert self._reach.command is not None
        self.command = torch.where(self._reaching, self._reach.command, in_heading(observation))
        return torch.where(self._reaching, reaching, walking)

    def _choose(self, observation: Tensor) -> None:
        """Whose turn it is, robot by robot."""
        arrived = (self.skill == APPROACH) & self._arrived(observation)
        if arrived.any():
            arrived &= self._miss(observation, arrived) < self.config.precision
            self._reach.aim(observation[:, GOAL].clone(), arrived)
        lost = (self.skill == REACH) & (observation[:, 26:28].norm(dim=-1) > self.config.pushed)
        self._step += 1
        if self._step % _CHECK_INTERVAL == 0:
            reaching = self.skill == REACH
            lost |= reaching & (self._miss(observation, reaching) > self.config.lost)
        if lost.any():
            self._approach.reset(observation, lost)
        self.skill = torch.where(arrived, REACH, torch.where(lost, APPROACH, self.skill))

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed."""
        self._approach.executed(action)

    def acted(self, skill: Tensor) -> None:
        """Hear which skills `[N]` were shown instead of its own: who walked is still walking, and arrives anew."""
        self.skill = torch.where(skill == APPROACH, APPROACH, self.skill)

    def describe(self) -> dict[str, Any]:
        """Provenance of the walker; reaching is computed."""
        return self._approach.describe()

    def _arrived(self, observation: Tensor) -> Tensor:
        away = (in_heading(observation)[:, :2] - self._standoff).norm(dim=-1)
        return (away < self.config.nearness) & (observation[:, 26:29].norm(dim=-1) < self.config.stillness)

    def _miss(self, observation: Tensor, asked: Tensor) -> Tensor:
        """How far from the goal the hand would end, `[N]` in m; only of those who are asked `[N]`, as it costs much."""
        miss = torch.full((len(observation),), torch.inf)
        if asked.any():
            miss[asked] = self._reach.miss(observation[asked], observation[asked][:, GOAL])
        return miss
