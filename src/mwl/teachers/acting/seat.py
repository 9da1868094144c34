"""A teacher that sits down on a chair that may stand anywhere near: a walking one is steered before it, then poses."""

from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from mwl.core.artifact import read_checkpoint, write_artifact
from mwl.core.errors import ConfigError
from mwl.robot import frames
from mwl.robot.h1 import JOINT_NAMES, RADIANS_PER_ACTION, ROBOT
from mwl.simulation import get_task
from mwl.teachers.acting.base import ActingTeacher, SearchedConfig
from mwl.teachers.config import artifact_of, plain
from mwl.teachers.poses import Poses, PosesConfig, PoseTeacherConfig
from mwl.teachers.teacher import TrackingPolicy

STAGE = "seat_teacher"
TASK = "h1-sit_hard"
LAYOUT = get_task(TASK).layout
_MOST = 10.0  # of a figure of the steering
_LEAN = 0.3  # rad that hips roll at most
_HIPS = [JOINT_NAMES.index(f"{side}_hip_roll") for side in ("left", "right")]


@dataclass(frozen=True)
class SteeringConfig:
    """How the robot gets before the chair, and from where it sits down."""

    standoff: float = 0.25
    """m that the pelvis should come to stand ahead of the middle of the chair."""
    facing: float = 0.5
    """rad that the robot may look aside of where one on the chair looks, and step back or aside."""
    gain: float = 1.5
    """Speed per distance, 1/s."""
    turning_gain: float = 1.0
    """Turning rate per angle, 1/s."""
    most: tuple[float, float, float, float] = (0.5, 0.35, 0.35, 1.0)
    """Forward, back and aside in m/s, turning in rad/s."""
    change: tuple[float, float, float] = (0.015, 0.015, 0.02)
    """By which what the walker is told may change in a control step; faster and it stumbles."""
    near: tuple[float, float] = (0.06, 0.05)
    """m along and across the chair within which it sits down."""
    turned: float = 1.0
    """rad within which it does."""
    speed: float = 0.3
    """m/s below which it does: pelvis and sway together."""
    hips: float = 3.0
    """rad that both hips roll while it sits down, per m that the spot will lie aside."""
    ahead: float = 0.1
    """s for which the sway at that moment goes on."""

    def __post_init__(self) -> None:
        figures = [x for value in vars(self).values() for x in (value if isinstance(value, tuple) else [value])]
        if not all(0 < x <= _MOST for x in figures):
            raise ConfigError(f"{STAGE}.steering: every figure must be above 0 and at most {_MOST:g}")


@dataclass(frozen=True)
class SeatTeacherConfig(PosesConfig, SearchedConfig):
    """Who walks, how it is steered, and the poses in which it sits down."""

    name: str = "sit_hard"
    walker: str = "data/teachers/walk"
    """Artifact of a commanded walking teacher."""
    steering: SteeringConfig = field(default_factory=SteeringConfig)

    def __post_init__(self) -> None:
        self.sitting()
        if not all(isfinite(x) for row in (self.seconds, *self.poses) for x in row):
            raise ConfigError(f"{STAGE}: poses and seconds must be finite")

    def sitting(self) -> PoseTeacherConfig:
        """The poses as of a teacher of their own."""
        return PoseTeacherConfig(name=self.name, task=TASK, joints=self.joints, poses=self.poses, seconds=self.seconds)


def compose_seat_teacher(config: SeatTeacherConfig, out: Path | str) -> Path:
    """Write the artifact of a walker and poses, put together; nothing is trained.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: the walker is none.
    """
    walker, checkpoint = TrackingPolicy.load(config.walker), read_checkpoint(config.walker)
    told = walker.describe()
    steps = {walker.name: told["env_steps"], **config.searches}
    return write_artifact(
        out,
        stage=STAGE,
        name=config.name,
        checkpoint={
            "hyper_parameters": plain(asdict(config)),
            "walker": checkpoint["hyper_parameters"],
            "state_dict": checkpoint["state_dict"],
        },
        robot=ROBOT,
        task=TASK,
        observation={"size": LAYOUT.size, "layout": LAYOUT.sizes},
        action={"size": get_task(TASK).robot.action_size, "low": -1.0, "high": 1.0},
        provenance={
            "method": "a tracking teacher steered before the chair, then a few poses",
            "source": told["source"],
            "licence": told["licence"],
            "env_steps": sum(steps.values()),
            "training_env_steps": steps,
        },
    )


class SeatTeacher(ActingTeacher):
    """Acts on h1-sit_hard: a walker that is steered before the chair, then poses that sit down, once and for all.

    Args:
        config: how it is steered, and the poses.
        walker: a commanded walking teacher.
    """

    def __init__(self, config: SeatTeacherConfig, walker: TrackingPolicy) -> None:
        super().__init__(TASK)
        self.config, self._walker = config.steering, walker
        self._poses = Poses.of(config.sitting())
        self._sits = torch.zeros(0, dtype=torch.bool)
        self._told, self._lean = torch.zeros(0, 3), torch.zeros(0)

    @classmethod
    def load(cls, folder: Path | str) -> "SeatTeacher":
        """Load an artifact that `compose_seat_teacher` wrote.

        Raises:
            MissingFile, CorruptFile, SpecMismatch: see `mwl.core.artifact.read_manifest`.
        """
        with artifact_of(folder, STAGE) as held:
            walker = TrackingPolicy.from_parts(held.checkpoint["walker"], held.checkpoint["state_dict"], {})
            return cls(held.config(SeatTeacherConfig, STAGE), walker)

    def _act(self, observation: Tensor, begins: Tensor) -> Tensor:
        robot, velocity = observation[:, LAYOUT.slices["robot_qpos"]], observation[:, LAYOUT.slices["robot_qvel"]]
        seen = torch.cat([robot, velocity], dim=-1)  # as on tasks without a chair
        self._begin(seen, begins)
        self._walker.steer(self._steered(robot, velocity, observation[:, LAYOUT.slices["chair_qpos"]]))
        sitting = self._poses.act(seen)
        lean = self._lean.unsqueeze(-1) / torch.from_numpy(RADIANS_PER_ACTION[_HIPS])
        sitting[:, _HIPS] = (sitting[:, _HIPS] + lean).clamp(-1, 1)
        action = torch.where(self._sits.unsqueeze(-1), sitting, self._walker.act(seen))
        self._walker.executed(action)
        return action

    def _begin(self, seen: Tensor, begins: Tensor) -> None:
        """Start from standing where episodes begin, `begins` `[N]`, from observations `[N, 51]`."""
        if len(self._sits) != len(seen):
            self._sits, self._told = torch.zeros_like(begins), torch.zeros(len(seen), 3)
            self._lean = torch.zeros(len(seen))
        self._sits = self._sits & ~begins
        self._told = self._told.masked_fill(begins.unsqueeze(-1), 0.0)
        self._walker.reset(seen, begins)
        self._poses.reset(seen, ~self._sits)

    def _steered(self, robot: Tensor, velocity: Tensor, chair: Tensor) -> Tensor:
        """What the walker is told `[N, 3]`, of positions and velocities; those that have arrived begin to sit down."""
        config = self.config
        yaw, looks = (frames.heading(frames.rotation_matrix(part[:, 3:7])) for part in (robot, chair))
        turn = frames.wrap_angle(looks - yaw)
        spot = frames.to_heading(looks, chair[:, :3] - robot[:, :3]) + torch.tensor([config.standoff, 0.0, 0.0])
        way = frames.to_heading(-turn, spot)
        faces = turn.abs() < config.facing
        forward, back, aside, turning = config.most
        wanted = torch.stack(
            [
                (config.gain * way[:, 0]).clamp(max=forward).maximum(torch.where(faces, -back, 0.0)),
                (config.gain * way[:, 1]).clamp(-aside, aside).masked_fill(~faces, 0.0),
                (config.turning_gain * turn).clamp(-turning, turning),
            ],
            dim=-1,
        )
        change = torch.tensor(config.change)
        self._told = self._told + (wanted - self._told).clamp(-change, change)
        there = (spot[:, :2].abs() < torch.tensor(config.near)).all(dim=-1) & (turn.abs() < config.turned)
        begins = there & (velocity[:, :2].norm(dim=-1) < config.speed) & ~self._sits
        off = way[:, 1] - config.ahead * frames.to_heading(yaw, velocity[:, :3])[:, 1]
        self._lean = torch.where(begins, (-config.hips * off).clamp(-_LEAN, _LEAN), self._lean)
        self._sits = self._sits | begins
        return self._told
