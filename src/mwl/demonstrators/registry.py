"""The demonstrators by name, built from their configuration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import torch

from mwl._extensions import import_class
from mwl._renamed import parser_mode
from mwl.core.errors import BadInput, ConfigError
from mwl.datasets.demonstrations import Demonstrations, Demonstrator
from mwl.datasets.recording import RecordingConfig, record_demonstrations, recording_env
from mwl.demonstrators.approach import Approach
from mwl.demonstrators.capture_steps import Stepping
from mwl.demonstrators.external import UserPolicy, UserPolicyConfig
from mwl.demonstrators.lqr import LQRConfig, LQRStand
from mwl.demonstrators.posture.gesture import MOVES, Gesture
from mwl.demonstrators.reach import Reach, ReachConfig
from mwl.demonstrators.slow_down import SlowDown, SlowDownConfig
from mwl.demonstrators.touch import Touch, TouchConfig
from mwl.robot.h1 import FRAME_SKIP
from mwl.simulation import HumanoidEnv
from mwl.teachers.door.teacher import HandlePull
from mwl.teachers.env import CommandConfig
from mwl.teachers.poses import Poses
from mwl.teachers.teacher import TrackingPolicy
from mwl.training.constants import without_constants
from mwl.training.schedule import read_part, split


@dataclass(frozen=True)
class DemonstrationConfig:
    """Who demonstrates what, and how it is recorded."""

    kind: Literal[
        "stand",
        "reach",
        "stepping",
        "approach",
        "touch",
        "tracking",
        "slow_down",
        "handle_pull",
        "poses",
        "raise_arm",
        "wave",
        "policy",
    ] = "stand"
    class_path: str | None = None
    """Instead of a kind, a demonstrator class of one's own, as `my_tasks.Wave`; it is made of the environment."""
    init_args: dict[str, Any] = field(default_factory=dict)
    """What it takes besides."""
    task: str = "h1-stand"
    teacher: str | None = None
    """Artifact of the teacher, for all kinds but `stand`, `reach`, `stepping` and `policy`."""
    starter: str | None = None
    """Artifact of a teacher of the same gait that acts first, for the kinds `tracking` and `slow_down`."""
    starter_seconds: float = 2.0
    """For how long."""
    walker: str | None = None
    """Artifact of the walking teacher that goes on after a run, for the kind `slow_down`."""
    command: tuple[float, float, float] | None = None
    """What the teacher is told: forward, sideways in m/s, turning in rad/s; None takes its preferred speed."""
    commands: CommandConfig | None = None
    """Random commands within ranges instead, for a student that takes commands."""
    command_gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """What the teacher is told per unit of command, for one that gives less than it is told."""
    turning_drift: float = 0.0
    """Sideways speed out of a turn, per forward speed and turning rate, that the teacher is told to make up for."""
    balance: LQRConfig = field(default_factory=LQRConfig)
    reach: ReachConfig = field(default_factory=ReachConfig)
    touch: TouchConfig = field(default_factory=TouchConfig)
    slow_down: SlowDownConfig = field(default_factory=SlowDownConfig)
    policy: UserPolicyConfig | None = None
    """A policy of your own, for `kind: policy`."""
    recording: RecordingConfig = field(default_factory=RecordingConfig)


_OF_A_TEACHER = {"teacher", "starter", "starter_seconds", "command", "commands", "command_gain", "turning_drift"}
_USED = {  # fields by kind; `kind`, `task` and `recording` are of all
    "stand": {"balance"},
    "reach": {"reach"},
    "stepping": set(),
    "policy": {"policy"},
    "handle_pull": {"teacher"},
    "poses": {"teacher"},
    "approach": {"teacher"},
    "raise_arm": {"teacher"},
    "wave": {"teacher"},
    "touch": {"teacher", "reach", "touch"},
    "slow_down": {*_OF_A_TEACHER, "walker", "slow_down"},
    "tracking": _OF_A_TEACHER,
}


def load_demonstration_config(path: Path | str) -> DemonstrationConfig:
    """Read a YAML of the kind in `conf/demonstrators/`, or a variant in it (`FILE#VARIANT`).

    Raises:
        MissingFile: no such file.
        ConfigError: not YAML, or an entry that the configuration doesn't know or that its kind doesn't use.
    """
    return parse_demonstration_config(read_part(path), str(path))


def parse_demonstration_config(content: dict[str, Any], path: str) -> DemonstrationConfig:
    """The configuration of plain values; `path` is where they are from, for messages.

    Raises:
        ConfigError: an entry that the configuration doesn't know or that its kind doesn't use.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False, parser_mode=parser_mode())
    parser.add_class_arguments(DemonstrationConfig)
    try:
        entries = parser.parse_object(without_constants(DemonstrationConfig, content, path))
        config = DemonstrationConfig(**vars(parser.instantiate_classes(entries)))
    except (jsonargparse.ArgumentError, OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    plain = DemonstrationConfig()
    if config.class_path is not None:
        _check_own(config, str(path))
        return config
    for name in sorted(vars(config).keys() - {"kind", "task", "recording", "class_path"} - _USED[config.kind]):
        if getattr(config, name) != getattr(plain, name):
            raise ConfigError(f"{path}: kind {config.kind} does not use {name}; leave it out, or choose another kind")
    return config


def _check_own(config: DemonstrationConfig, where: str) -> None:
    """Refuse a class that isn't there, and settings beside it that only kinds take."""
    plain = DemonstrationConfig()
    for name in sorted(vars(config).keys() - {"class_path", "init_args", "task", "recording"}):
        if getattr(config, name) != getattr(plain, name):
            raise ConfigError(f"{where}: {name} means nothing beside class_path; leave it out, or use init_args")
    try:
        import_class(str(config.class_path))
    except BadInput as error:
        raise ConfigError(f"{where}: {error}") from error


def build_demonstrator(config: DemonstrationConfig, env: HumanoidEnv) -> Demonstrator:
    """The demonstrator that a configuration asks for, on an environment of its task.

    Raises:
        ConfigError: a teacher without its folder.
    """
    if config.class_path is not None:
        own: Demonstrator = import_class(config.class_path)(env, **config.init_args)
        return own
    if config.kind == "stand":
        return LQRStand(env.model, FRAME_SKIP, config.balance)
    if config.kind == "reach":
        return Reach(env.model, FRAME_SKIP, config.reach)
    if config.kind == "stepping":
        return Stepping(env.model)
    if config.kind == "policy":
        if config.policy is None:
            raise ConfigError("kind: policy needs policy: file, observations and actions (docs/guide/demonstrators.md)")
        return UserPolicy(config.policy)
    if config.teacher is None:
        raise ConfigError(f"kind: {config.kind} needs teacher: the folder that `mwl motion train` wrote")
    if config.kind == "handle_pull":
        return HandlePull.load(config.teacher)
    if config.kind == "poses":
        return Poses.load(config.teacher)
    if config.kind == "approach":
        return Approach(TrackingPolicy.load(config.teacher))
    if config.kind in MOVES:
        return Gesture(TrackingPolicy.load(config.teacher, torch.zeros(3)), config.kind, seed=config.recording.seed)
    if config.kind == "touch":
        walker = TrackingPolicy.load(config.teacher)
        return Touch(env.model, FRAME_SKIP, walker, reach=config.reach, config=config.touch)
    if config.kind == "slow_down":
        if config.walker is None:
            raise ConfigError("kind: slow_down needs walker: the folder of a walking teacher")
        walker = TrackingPolicy.load(config.walker, torch.tensor([config.slow_down.walk, 0.0, 0.0]))
        return SlowDown(_tracking_policy(config), walker, config.slow_down, config.recording.seed)
    return _tracking_policy(config)


def _tracking_policy(config: DemonstrationConfig) -> TrackingPolicy:
    assert config.teacher is not None
    command = None if config.command is None else torch.tensor(config.command)
    options: dict[str, Any] = {
        "commands": config.commands,
        "gain": config.command_gain,
        "drift": config.turning_drift,
        "seed": config.recording.seed,
    }
    if config.starter is None:
        return TrackingPolicy.load(config.teacher, command, **options)
    return TrackingPolicy.load_with_starter(config.teacher, config.starter, config.starter_seconds, command, **options)


def record(config: DemonstrationConfig) -> Demonstrations:
    """Record what a configuration asks for; the same configuration gives the same data."""
    env = recording_env(config.task, config.recording)
    return record_demonstrations(build_demonstrator(config, env), env, config.recording)


def load_demonstrations(
    file: Path | str, recorder: Callable[[DemonstrationConfig], Demonstrations] = record
) -> Demonstrations:
    """Demonstrations from a recording (.npz), or recorded now as a demonstrator's configuration (.yaml) says.

    Args:
        file: either of the two; of the latter also a variant, `FILE#VARIANT`.
        recorder: how the latter is recorded.

    Raises:
        MissingFile, CorruptFile: the recording does not exist or is damaged.
        ConfigError: the configuration is wrong.
    """
    if split(file)[0].suffix not in (".yaml", ".yml"):
        return Demonstrations.load(file)
    demonstrations = recorder(load_demonstration_config(file))
    demonstrations.manifest["config"] = str(file)
    return demonstrations
