"""What configurations of teachers share, and how teachers read them and their artifacts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jsonargparse

from mwl._renamed import parser_mode
from mwl.core.artifact import checkpoint_of, read_checkpoint, read_manifest
from mwl.core.errors import ConfigError
from mwl.robot.h1 import ROBOT
from mwl.teachers.ppo import PPOConfig
from mwl.training.constants import without_constants

Config = TypeVar("Config")


@dataclass(frozen=True)
class PPOTeacherConfig:
    """How a teacher is trained by PPO."""

    iterations: int = 1000
    """Of `ppo.num_envs * ppo.rollout_steps` environment steps each."""
    seed: int = 0
    ppo: PPOConfig = field(default_factory=PPOConfig)


def parse_config(kind: type[Config], key: str, content: dict[str, Any], where: str) -> Config:
    """A configuration dataclass from plain values, as a YAML or a checkpoint holds them under `key`.

    Raises:
        ConfigError: `where` has an entry that the configuration doesn't know.
    """
    content = {**content, key: without_constants(kind, content.get(key, {}), where)}
    parser = jsonargparse.ArgumentParser(exit_on_error=False, parser_mode=parser_mode())
    parser.add_class_arguments(kind, key)
    try:
        return getattr(parser.instantiate_classes(parser.parse_object(content)), key)
    except (jsonargparse.ArgumentError, OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


class Artifact(NamedTuple):
    """What the folder of a teacher holds.

    Attributes:
        checkpoint: settings and weights, as they were written.
        provenance: of the manifest, its environment steps as a demonstration counts them.
    """

    checkpoint: dict[str, Any]
    provenance: dict[str, Any]

    def config(self, kind: type[Config], stage: str) -> Config:
        """Its settings.

        Raises:
            ConfigError: an entry that they don't know.
        """
        return parse_config(kind, stage, {stage: self.checkpoint["hyper_parameters"]}, "teacher checkpoint")


@contextmanager
def artifact_of(folder: Path | str, stage: str) -> Iterator[Artifact]:
    """A teacher's artifact; what goes wrong with it within is the folder's fault.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: see `mwl.core.artifact.read_manifest` and `checkpoint_of`.
    """
    manifest = read_manifest(folder, stage=stage, robot=ROBOT)
    with checkpoint_of("a teacher", folder):
        checkpoint, steps = read_checkpoint(folder), int(manifest["provenance"]["env_steps"])
        yield Artifact(checkpoint, {**manifest["provenance"], "env_steps": steps, "training_env_steps": steps})


def plain(value: Any) -> Any:
    """A value with lists for tuples, as YAML and checkpoints hold them."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value
