"""What an expert is: its robot, its inputs, its command and its actions, as written in its manifest."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mwl.core.errors import SpecMismatch
from mwl.core.files import shown
from mwl.core.plain import from_plain
from mwl.experts import features
from mwl.experts.features import Layout
from mwl.robot.h1 import JOINT_NAMES, ROBOT
from mwl.simulation import get_task

FEATURES = "egocentric/1"  # name and version of the feature set; an expert of another version is refused


@dataclass(frozen=True)
class CommandKind:
    """A kind of command: its meaning, and how a task's observation tells it and features are made of it."""

    size: int
    feature_size: int
    meaning: str
    from_observation: str | None
    """Part of the observation that tells the command where a task shows it; None if no task does."""
    read: Callable[[Tensor, Layout], Tensor] | None
    featurise: Callable[[Tensor, Layout, Tensor], Tensor]
    by_default: Callable[[Tensor, Layout, Tensor], Tensor] | None = None
    """What the declared default command comes to in a state; None takes it as it is."""
    ignored: tuple[int, ...] = ()
    """Features of the robot's state that a skill of this kind must not depend on."""


_VELOCITY = CommandKind(
    size=3,
    feature_size=3,
    meaning="forward and sideways speed in m/s and turning rate in rad/s, in the heading frame",
    from_observation=None,
    read=None,
    featurise=lambda observation, layout, command: command,
    by_default=features.along_x,
    ignored=features.HEADING,
)
COMMANDS = {
    "hand_target": CommandKind(
        size=3,
        feature_size=features.HAND_TARGET_SIZE,
        meaning="target of the left hand relative to the pelvis, x forward, y left, z up in the heading frame, m",
        from_observation="goal",
        read=features.hand_target_command,
        featurise=features.hand_target,
    ),
    "door": CommandKind(
        size=features.DOOR_STATE_SIZE,
        feature_size=features.DOOR_SIZE,
        meaning="pelvis from the middle of the shut leaf (x through the doorway, y to the free edge, m), angles of "
        "hinge and hatch in rad, their rates in rad/s",
        from_observation="door_qpos",
        read=features.door_state,
        featurise=features.door,
    ),
    "arm": CommandKind(
        size=1,
        feature_size=1,
        meaning="which arm: 1 the left one, -1 the right one, 0 both",
        from_observation=None,
        read=None,
        featurise=lambda observation, layout, command: command,
    ),
    "velocity": _VELOCITY,
    "velocity_over_ground": replace(
        _VELOCITY,
        feature_size=4,
        meaning=f"{_VELOCITY.meaning}, on any ground",
        featurise=features.over_ground,
        ignored=(features.ROOT_HEIGHT, *features.HEADING),
    ),
}
SCENE = tuple(name for name, kind in COMMANDS.items() if kind.read is not None)
"""Kinds of command that are read from the scene."""
VELOCITIES = ("velocity", "velocity_over_ground")
"""Kinds of command that are a velocity; the second does not see how high above z = 0 the robot is."""


@dataclass(frozen=True)
class ExpertSpec:
    """Inputs and outputs of one expert; everything that must agree before it may act.

    Args:
        name: expert, for example `walk`.
        task: benchmark task it was measured on.
        command: kind of command it takes, a key of `COMMANDS`, or None.
        default_command: what it is told where neither caller nor task gives a command.
        hidden: widths of its hidden layers.
        memory: width M of what it remembers from step to step; 0 is a stateless expert.
    """

    name: str
    task: str
    command: str | None = None
    default_command: tuple[float, ...] = ()
    hidden: tuple[int, ...] = (256, 256)
    robot: str = ROBOT
    features: str = FEATURES
    joints: tuple[str, ...] = tuple(JOINT_NAMES)
    memory: int = 0

    def __post_init__(self) -> None:
        if self.robot != ROBOT or tuple(self.joints) != tuple(JOINT_NAMES):
            raise SpecMismatch(
                f"expert {self.name}: made for robot {self.robot!r} ({len(self.joints)} joints), not {ROBOT}"
            )
        if self.features != FEATURES:
            raise SpecMismatch(f"expert {self.name}: needs features {self.features!r}, this version has {FEATURES!r}")
        get_task(self.task)
        if not self.hidden or min(self.hidden) < 1 or (self.memory and len(self.hidden) < 2):
            raise SpecMismatch(f"expert {self.name}: hidden is {shown(self.hidden)}; it must be widths above 0")
        if not isinstance(self.memory, int) or self.memory < 0:
            raise SpecMismatch(f"expert {self.name}: memory is {self.memory!r}; it must be a width, 0 without memory")
        if self.command is not None and self.command not in COMMANDS:
            raise SpecMismatch(f"expert {self.name}: unknown command {self.command!r}; known: {', '.join(COMMANDS)}")
        if len(self.default_command) != self.command_size:
            raise SpecMismatch(
                f"expert {self.name}: default command has {len(self.default_command)} numbers, "
                f"{self.command or 'no command'} takes {self.command_size}"
            )

    @property
    def command_size(self) -> int:
        """Length C of the command; 0 without one."""
        return COMMANDS[self.command].size if self.command else 0

    @property
    def input_size(self) -> int:
        """Length F of the features."""
        return features.EGOCENTRIC_SIZE + (COMMANDS[self.command].feature_size if self.command else 0)

    @property
    def ignored(self) -> tuple[int, ...]:
        """Features that the network must not see."""
        return COMMANDS[self.command].ignored if self.command else ()

    @property
    def action_size(self) -> int:
        """Number A of actions."""
        return len(self.joints)

    def resolve_command(self, observation: Tensor, layout: Layout, command: Tensor | None = None) -> Tensor:
        """The command `[N, C]` that holds: the caller's, else the task's own where it shows one, else the default."""
        if self.command is None:
            return observation.new_zeros(observation.shape[0], 0)
        if command is not None:
            if command.shape[-1] != self.command_size:
                raise SpecMismatch(
                    f"expert {self.name}: command has {command.shape[-1]} numbers, not {self.command_size}"
                )
            return command.to(observation).expand(observation.shape[0], -1)
        kind = COMMANDS[self.command]
        if kind.read is not None and kind.from_observation in layout.slices:
            return kind.read(observation, layout)
        default = observation.new_tensor(self.default_command).expand(observation.shape[0], -1)
        return default if kind.by_default is None else kind.by_default(observation, layout, default)

    def featurise(self, observation: Tensor, layout: Layout, command: Tensor | None = None) -> Tensor:
        """Features `[N, F]` of observations `[N, O]` under commands `[N, C]` (None: the task's or the default)."""
        state = features.egocentric(observation, layout)
        if self.command is None:
            return state
        resolved = self.resolve_command(observation, layout, command)
        return torch.cat([state, COMMANDS[self.command].featurise(observation, layout, resolved)], dim=-1)

    def to_manifest(self) -> dict[str, Any]:
        """The specification as plain manifest entries `robot`, `task`, `observation`, `action` and `memory`."""
        command = None
        if self.command is not None:
            command = {
                "kind": self.command,
                "meaning": COMMANDS[self.command].meaning,
                "default": list(self.default_command),
            }
        return {
            "robot": self.robot,
            "task": self.task,
            "observation": {"features": self.features, "size": self.input_size, "command": command},
            "action": {"size": self.action_size, "low": -1.0, "high": 1.0, "joints": list(self.joints)},
            "memory": self.memory,
        }

    def to_plain(self) -> dict[str, Any]:
        """The specification as hyperparameters of a checkpoint: strings, numbers and lists alone."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, entries: Any, where: str = "expert") -> "ExpertSpec":
        """The specification in a checkpoint's hyperparameters.

        Raises:
            CorruptFile: entries are missing or unknown, or have a wrong type.
            SpecMismatch: they name another robot, feature set or command.
        """
        return from_plain(cls, entries, where)
