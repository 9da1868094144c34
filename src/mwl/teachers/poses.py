"""A teacher that goes through a few poses, one after the other: searched by CMA-ES on what a task pays."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mwl.core.artifact import write_artifact
from mwl.core.checkpoints import load_checkpoint, refuse_changed, save_checkpoint
from mwl.core.errors import ConfigError, CorruptFile
from mwl.core.terminal import tell
from mwl.robot.h1 import CONTROL_DT, RADIANS_PER_ACTION, ROBOT
from mwl.simulation import get_task, make_env
from mwl.simulation.embedded import EmbeddedWorld
from mwl.simulation.task import Array
from mwl.teachers.config import artifact_of, plain
from mwl.training.cmaes import Evolution

STAGE = "pose_teacher"
_STRETCH = 0.4  # of the logarithm of a duration, per unit of the search
_SHORTEST = 0.06  # s
_NOISE = 0.05  # rad of a joint target per unit of injected noise


@dataclass(frozen=True, kw_only=True)
class PosesConfig:
    """Poses, and how fast they follow one another."""

    joints: tuple[str, ...] = ("hip_pitch", "knee", "ankle", "shoulder_pitch", "elbow")
    """Moved on both sides alike; the other joints stay as in the robot's default pose."""
    poses: tuple[tuple[float, ...], ...] = ()
    """Targets in rad, a row per pose, a number per joint of `joints`."""
    seconds: tuple[float, ...] = ()
    """How long each pose takes to be reached from the one before, s."""


@dataclass(frozen=True)
class PoseTeacherConfig(PosesConfig):
    """On what the poses are searched, which are the first guess, and how long."""

    name: str = "sit"
    task: str = "h1-sit_simple"
    step_size: ClassVar[float] = 0.4
    """First standard deviation of a target, rad."""
    generations: int = 60
    population: int = 16
    rollouts: int = 6
    """Episodes from different starts that judge a candidate: by their mean reward, less half their spread."""
    steps: int = 250
    """Control steps of each."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.poses or any(len(pose) != len(self.joints) for pose in self.poses):
            raise ConfigError(f"{STAGE}: poses needs rows of {len(self.joints)} numbers, one for each of its joints")
        if len(self.seconds) != len(self.poses) or min(self.seconds) < _SHORTEST:
            raise ConfigError(f"{STAGE}: seconds needs a time of {_SHORTEST} s or more for each of its poses")
        if min(self.generations, self.rollouts, self.steps) < 1 or self.population < 4:
            raise ConfigError(f"{STAGE}: numbers must be above 0, and population 4 or more")
        known = get_task(self.task).robot.joints
        if missing := [name for name in self.joints for side in _SIDES if side + name not in known]:
            raise ConfigError(f"{STAGE}: the robot has no joint {', '.join(missing)} on both sides")


_SIDES = ("left_", "right_")


class PoseSequence:
    """Joint targets along poses, smoothly from each to the next; the last one is held.

    Args:
        config: task and joints.
        poses: targets `[L, K, J]` in rad of L sequences.
        seconds: `[L, K]` to get there.
    """

    def __init__(self, config: PoseTeacherConfig, poses: Array, seconds: Array) -> None:
        robot = get_task(config.task).robot
        self._rest, self._robot = robot.qpos0[7:], robot
        self._index = [[robot.joints.index(side + name) for side in _SIDES] for name in config.joints]
        first = np.broadcast_to([self._rest[both[0]] for both in self._index], (len(poses), 1, len(self._index)))
        self._poses = np.concatenate([first, poses], axis=1)
        self._times = np.concatenate([np.zeros((len(poses), 1)), seconds.cumsum(axis=1)], axis=1)

    def action(self, which: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Actions `[N, A]` in [-1, 1] of sequences `which` `[N]`, so many control steps `[N]` after they began."""
        now = age * CONTROL_DT
        times, last = self._times[which], self._times.shape[1] - 2
        part = np.clip((times <= now[:, None]).sum(axis=1) - 1, 0, last)
        begin, end = times[np.arange(len(now)), part], times[np.arange(len(now)), part + 1]
        share = 0.5 - 0.5 * np.cos(np.pi * np.clip((now - begin) / (end - begin), 0, 1))[:, None]
        target = (1 - share) * self._poses[which, part] + share * self._poses[which, part + 1]
        joints = np.tile(self._rest, (len(now), 1))
        for column, both in enumerate(self._index):
            joints[:, both] = target[:, [column]]
        return self._robot.ctrl_to_action(joints)


def _decoded(config: PoseTeacherConfig, candidates: Array) -> tuple[Array, Array]:
    """Poses `[L, K, J]` and seconds `[L, K]` of candidates `[L, P]`, zeros being the first guess."""
    guess, seconds = np.array(config.poses), np.array(config.seconds)
    moved = guess + config.step_size * candidates[:, : guess.size].reshape(-1, *guess.shape)
    return moved, np.maximum(seconds * np.exp(_STRETCH * candidates[:, guess.size :]), _SHORTEST)


def train_pose_teacher(
    config: PoseTeacherConfig, out: Path | str, report: Callable[[dict[str, float]], None] = lambda metrics: None
) -> Path:
    """Search the poses and write them as an artifact; goes on from an interrupted search.

    Args:
        config: what to search.
        out: folder to write; the resumable checkpoint lies beside it until then.
        report: called with the metrics of every generation.
    """
    out = Path(out)
    file = out.with_name(f"{out.name}.training.ckpt")
    torch.manual_seed(config.seed)
    size = len(config.poses) * (len(config.joints) + 1)
    search, done, score = Evolution(size, config.population, 1.0), 0, 0.0
    if file.is_file():
        done, score = _resumed(search, config, file)
    robots = config.population * config.rollouts
    world = make_env(config.task, num_envs=robots, seed=config.seed, num_threads=1).world
    assert isinstance(world, EmbeddedWorld)
    for generation in range(done, config.generations):
        world.seed(config.seed + generation)
        returns = _returns(config, world, search.ask().double().numpy()).reshape(config.population, -1)
        judged = returns.mean(axis=1) - returns.std(axis=1) / 2
        search.tell(torch.from_numpy(judged))
        score = float(returns.mean())
        content = {"config": plain(asdict(config)), "search": search.state_dict(), "rng": torch.get_rng_state()}
        save_checkpoint(file, {**content, "generation": generation + 1, "score": score})
        report(
            {"iteration": generation + 1, "reward": score / config.steps, "best": float(judged.max()) / config.steps}
        )
    poses, seconds = _decoded(config, search.mean.double().numpy()[None])
    path = write_artifact(
        out,
        stage=STAGE,
        name=config.name,
        checkpoint={
            "hyper_parameters": plain(asdict(config)),
            "state_dict": {"poses": torch.from_numpy(poses[0]), "seconds": torch.from_numpy(seconds[0])},
        },
        robot=ROBOT,
        metrics={"reward": score / config.steps},
        provenance={
            "method": "CMA-ES over a few poses on the task's reward",
            "source": "made by this project from its robot model",
            "licence": "MIT",
            "env_steps": config.generations * robots * config.steps,
            "seed": config.seed,
        },
    )
    file.unlink(missing_ok=True)
    return path


def _resumed(search: Evolution, config: PoseTeacherConfig, file: Path) -> tuple[int, float]:
    """Generations done and the last score, the search put where its checkpoint left it; a damaged one is set aside."""
    try:
        content = load_checkpoint(file)
    except CorruptFile as error:
        file.replace(aside := file.with_name(file.name + ".damaged"))
        tell(f"{error}; set aside as {aside.name}, so the search begins anew")
        return 0, 0.0
    changed = [name for name in plain(asdict(config)) if name != "generations"]
    refuse_changed(f"{STAGE}.", content["config"], plain(asdict(config)), changed)
    search.load_state_dict(content["search"])
    torch.set_rng_state(content["rng"])
    return int(content["generation"]), float(content["score"])


def _returns(config: PoseTeacherConfig, world: EmbeddedWorld, candidates: Array) -> Array:
    """Rewards until the end `[N]` of all candidates `[L, P]`, each in N / L of the robots."""
    sequences = PoseSequence(config, *_decoded(config, candidates))
    which = np.repeat(np.arange(len(candidates)), world.num_envs // len(candidates))
    world.reset(np.ones(world.num_envs, dtype=bool))
    total, alive = np.zeros(world.num_envs), np.ones(world.num_envs, dtype=bool)
    for step in range(config.steps):
        outcome = world.step(sequences.action(which, np.full(world.num_envs, step)))
        alive &= ~outcome.terminated
        total += np.where(alive, outcome.reward, 0.0)
    return total


class Poses:
    """The finished teacher: a demonstrator with a clock.

    Args:
        config: what it was searched as.
        poses: targets `[K, J]`, rad.
        seconds: `[K]`.
        provenance: what `describe` tells.
    """

    command: Tensor | None = None

    def __init__(self, config: PoseTeacherConfig, poses: Array, seconds: Array, provenance: dict[str, Any]) -> None:
        self.name, self._provenance = f"poses_{config.name}", provenance
        self._sequence = PoseSequence(config, poses[None], seconds[None])
        self._age = np.zeros(0, dtype=np.int64)
        self.noise_scale = torch.from_numpy(_NOISE / RADIANS_PER_ACTION).float()

    @classmethod
    def of(cls, config: PoseTeacherConfig) -> "Poses":
        """The poses of a configuration as they are, without a search."""
        return cls(config, np.array(config.poses), np.array(config.seconds), {})

    @classmethod
    def load(cls, folder: Path | str) -> "Poses":
        """Load an artifact that `train_pose_teacher` wrote.

        Raises:
            MissingFile, CorruptFile, SpecMismatch: see `mwl.core.artifact.read_manifest`.
        """
        with artifact_of(folder, STAGE) as held:
            config = held.config(PoseTeacherConfig, STAGE)
            weights = {name: held.checkpoint["state_dict"][name].double().numpy() for name in ("poses", "seconds")}
            shape = len(config.poses), len(config.joints)
            if weights["poses"].shape != shape or weights["seconds"].shape != shape[:1]:
                raise CorruptFile(f"its poses are not {shape[0]} of {shape[1]} joints")
            if not all(np.isfinite(value).all() for value in weights.values()) or weights["seconds"].min() < _SHORTEST:
                raise CorruptFile("its poses or times are out of range")
            return cls(config, **weights, provenance=held.provenance)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew where `mask` `[N]` holds."""
        if mask is None or len(self._age) != len(observation):
            self._age = np.zeros(len(observation), dtype=np.int64)
        else:
            self._age[mask.numpy()] = 0

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, A]` in [-1, 1] by how long ago the episode began."""
        action = self._sequence.action(np.zeros(len(observation), dtype=np.int64), self._age)
        self._age += 1
        return torch.from_numpy(action).float().clamp(-1, 1)

    def executed(self, action: Tensor) -> None:
        """What was executed does not matter: servos take the joints to where they shall be."""

    def describe(self) -> dict[str, Any]:
        """Provenance of the teacher."""
        return dict(self._provenance)
