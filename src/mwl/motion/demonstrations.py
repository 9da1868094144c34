"""State-action motion data: the file format, and how a demonstrator's behaviour is recorded.

Noise is added to the executed action while the label stays the demonstrator's clean answer, so that the data show how
to come back from states the demonstrator alone would never visit. Without that a cloned policy drifts off and falls.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mwl import keys
from mwl.errors import BadInput, CorruptFile, MissingFile
from mwl.handoff import sha256_of
from mwl.simulation import HumanoidEnv

SCHEMA = 1
_ARRAYS = ("observation", "action", "episode")
Pilot = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"""Actions `[N, A]` to execute at observations `[N, O]` under commands `[N, C]`, given the demonstrator's answers."""


class Demonstrator(Protocol):
    """A source of good behaviour on N robots at once.

    Attributes:
        name: kind of demonstrator, for example `lqr_stand`.
    """

    name: str

    @property
    def noise_scale(self) -> Tensor:
        """What one unit of injected noise means for each action of the benchmark, `[A]` or `[N, A]`."""
        ...

    @property
    def command(self) -> Tensor | None:
        """What the N robots were told `[N, C]`; None for a skill without command."""
        ...

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew from observations `[N, O]` where `mask` `[N]` holds (None: everywhere)."""
        ...

    def act(self, observation: Tensor) -> Tensor:
        """The demonstrator's answer `[N, A]` in [-1, 1] to benchmark observations `[N, O]`."""
        ...

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, A]` was executed instead of its answer."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain entries for the data's provenance: source, licence, environment steps spent on training."""
        ...


@runtime_checkable
class SkilledDemonstrator(Demonstrator, Protocol):
    """One that shows several skills in turn, and says which.

    Attributes:
        skills: their names, S of them.
        skill: `[N]` in [0, S), the one whose turn it is for each robot, since it was last asked for its answer.
    """

    skills: tuple[str, ...]
    skill: Tensor

    def acted(self, skill: Tensor) -> None:
        """Hear which skills `[N]` were shown instead of its own."""
        ...


@dataclass
class Demonstrations:
    """Recorded steps of one task.

    Attributes:
        observation: `[T, O]` of the benchmark task.
        action: clean labels `[T, A]` in [-1, 1].
        episode: `[T]` number of the episode each step belongs to.
        command: `[T, C]`, or None for a skill without command.
        executed_action: `[T, A]` what moved the robot, or None where it was not kept.
        reward: `[T]` of the task for the executed step, or None where it was not kept.
        skill: `[T]` which of the manifest's `skills` a step shows, or None for a demonstrator of one skill.
        manifest: task, demonstrator, noise, seeds, licence and environment steps spent.
    """

    observation: Tensor
    action: Tensor
    episode: Tensor
    manifest: dict[str, Any]
    command: Tensor | None = None
    executed_action: Tensor | None = None
    reward: Tensor | None = None
    skill: Tensor | None = None

    def __len__(self) -> int:
        return len(self.action)

    def of(self, name: str) -> "Demonstrations":
        """The steps that show a skill; all of them where the recording does not tell skills of that name apart."""
        skills = self.manifest.get("skills", [])
        if self.skill is None or name not in skills:
            return self
        kept = self.skill == skills.index(name)
        arrays = {key: getattr(self, key) for key in ("command", "executed_action", "reward", "skill")}
        rest = {key: None if value is None else value[kept] for key, value in arrays.items()}
        return Demonstrations(self.observation[kept], self.action[kept], self.episode[kept], self.manifest, **rest)

    def save(self, path: Path | str, *, half: bool = True) -> Path:
        """Write `path` (.npz, compressed, no pickles) and beside it a manifest (.json) with its sha256.

        Half precision keeps joint angles to half a milliradian, far below the injected noise, at half the size.
        """
        path = Path(path).with_suffix(".npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = np.float16 if half else np.float32
        arrays = {"observation": self.observation, "action": self.action, "command": self.command}
        arrays |= {"executed_action": self.executed_action, "reward": self.reward}
        plain = {name: value.numpy().astype(kind) for name, value in arrays.items() if value is not None}
        plain["episode"] = self.episode.numpy().astype(np.int32)
        if self.skill is not None:
            plain["skill"] = self.skill.numpy().astype(np.int8)
        scratch = path.with_suffix(".tmp.npz")
        np.savez_compressed(scratch, allow_pickle=False, **plain)
        scratch.replace(path)
        manifest = {"schema": SCHEMA, **self.manifest, "steps": len(self), "sha256": sha256_of(path)}
        path.with_suffix(".json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path | str) -> "Demonstrations":
        """Read and verify a file written by `save`.

        Raises:
            MissingFile: the data or their manifest do not exist.
            CorruptFile: content differs from the manifest's sha256, or isn't demonstration data.
        """
        path = Path(path).with_suffix(".npz")
        for file in (path, path.with_suffix(".json")):
            if not file.is_file():
                raise MissingFile(f"{file}: no such demonstrations; record them with `mwl motion demonstrate`")
        try:
            manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            expected = manifest["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptFile(f"{path.with_suffix('.json')}: not a manifest of demonstrations ({error})") from error
        if sha256_of(path) != expected:
            raise CorruptFile(f"{path}: content differs from the sha256 in its manifest; record it again")
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in _ARRAYS if name not in arrays]
            if missing:
                raise CorruptFile(f"{path}: lacks {', '.join(missing)}")
            tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        episode, skill = tensors.pop("episode").long(), tensors.pop("skill", None)
        if any(len(value) != len(episode) for value in tensors.values()):
            raise CorruptFile(f"{path}: its arrays differ in length")
        floats = {name: value.float() for name, value in tensors.items()}
        return cls(episode=episode, skill=None if skill is None else skill.long(), manifest=manifest, **floats)


@dataclass(frozen=True)
class RecordingConfig:
    """How much to record, and with how much noise."""

    episodes: int = 64
    steps: int = 300
    noise_levels: Sequence[float] = (0.0, 0.1, 0.2, 0.4)
    """Standard deviations in units of the demonstrator's `noise_scale`; episodes take turns."""
    kick_std: float = 0.0
    """Velocity kicks to the root in x and y, m/s, every `kick_interval` seconds."""
    turn_kick_std: float = 0.0
    """With each of them a kick to the root's turning about its long axis, rad/s, so that headings differ."""
    kick_interval: float = 1.0
    kicked_share: float = 0.5
    """Share of the episodes that are kicked."""
    drop_before_fall: int = 25
    """Steps left out before a fall: what led there is no example to follow."""
    lowest_root: float = 0.7
    """Height in m below which a robot is falling, whatever the task's own limit."""
    keep_executed: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.steps < 1 or not self.noise_levels:
            raise BadInput("a recording needs at least one episode, one step and one noise level")


def record_demonstrations(
    demonstrator: Demonstrator, env: HumanoidEnv, config: RecordingConfig, pilot: Pilot | None = None
) -> Demonstrations:
    """Record `config.episodes` short episodes at once from the benchmark's own resets.

    Args:
        demonstrator: its clean answers become the labels.
        env: batched task environment of `config.episodes` robots.
        config: amount and noise.
        pilot: what acts instead of the demonstrator, which then only says what it would do.

    Returns:
        the steps of all episodes that stayed on their feet, and of the others up to shortly before the fall.
    """
    generator = torch.Generator().manual_seed(config.seed)
    count = config.episodes
    levels = torch.tensor([config.noise_levels[i % len(config.noise_levels)] for i in range(count)]).unsqueeze(-1)
    kicked = torch.arange(count) // len(config.noise_levels) % 100 < 100 * config.kicked_share
    kicks = config.kick_std > 0 or config.turn_kick_std > 0
    kicked = kicked[torch.randperm(count, generator=generator)] if kicks else torch.zeros_like(kicked)
    frames = _play(demonstrator, env, config, levels, kicked, generator, pilot)
    alive = frames.pop("alive")
    length = alive.sum(dim=0)
    length = torch.where(length < config.steps, length - config.drop_before_fall, length).clamp(min=0)
    keep = torch.arange(config.steps).unsqueeze(-1) < length
    flat = {name: value.transpose(0, 1)[keep.T] for name, value in frames.items()}
    manifest = {
        "task": env.task.name,
        "demonstrator": demonstrator.name,
        "noise_levels": list(config.noise_levels),
        "kick_std": config.kick_std,
        "turn_kick_std": config.turn_kick_std,
        "episodes": count,
        "episode_steps": config.steps,
        "falls": int((alive.sum(dim=0) < config.steps).sum()),
        "seed": config.seed,
        "recording_env_steps": count * config.steps,
        **demonstrator.describe(),
    }
    if isinstance(demonstrator, SkilledDemonstrator):
        manifest["skills"] = list(demonstrator.skills)
    return Demonstrations(
        observation=flat["observation"],
        action=flat["action"],
        episode=torch.arange(count).unsqueeze(-1).expand(count, config.steps)[keep.T],
        command=flat.get("command"),
        executed_action=flat["executed"] if config.keep_executed else None,
        reward=flat["reward"],
        skill=flat.get("skill"),
        manifest=manifest,
    )


def _play(
    demonstrator: Demonstrator,
    env: HumanoidEnv,
    config: RecordingConfig,
    levels: Tensor,
    kicked: Tensor,
    generator: torch.Generator,
    pilot: Pilot | None,
) -> dict[str, Tensor]:
    """Time-major frames `[T, N, ...]` of one batch of episodes."""
    state = env.reset()
    observation = state[keys.OBSERVATION]
    demonstrator.reset(observation)
    alive = torch.ones(config.episodes, dtype=torch.bool)
    gathered: dict[str, list[Tensor]] = {"observation": [], "action": [], "executed": [], "alive": []}
    for _ in range(config.steps):
        answer = demonstrator.act(observation)
        skill = demonstrator.skill if isinstance(demonstrator, SkilledDemonstrator) else None
        noise = levels * demonstrator.noise_scale * torch.randn(answer.shape, generator=generator)
        flown = answer if pilot is None else pilot(observation, demonstrator.command, answer)
        executed = (flown + noise).clamp(-1, 1)
        demonstrator.executed(executed)
        now = {"observation": observation, "action": answer, "executed": executed, "alive": alive}
        if demonstrator.command is not None:
            now["command"] = demonstrator.command
        if skill is not None:
            now["skill"] = skill
        for name, value in now.items():
            gathered.setdefault(name, []).append(value.clone())
        state = env.step(state.set(keys.ACTION, executed))[keys.NEXT]
        gathered.setdefault("reward", []).append(state[keys.REWARD].squeeze(-1).clone())
        alive = alive & ~state[keys.TERMINATED].squeeze(-1) & (state[keys.OBSERVATION][:, 2] > config.lowest_root)
        push = kicked & (torch.rand(config.episodes, generator=generator) < 0.02 / config.kick_interval)
        observation = state[keys.OBSERVATION]
        if push.any():
            observation = kick(env, push, config.kick_std, generator, config.turn_kick_std)
        state = state.set(keys.OBSERVATION, observation)
    return {name: torch.stack(values) for name, values in gathered.items()}


def kick(env: HumanoidEnv, mask: Tensor, std: float, generator: torch.Generator, turn_std: float = 0.0) -> Tensor:
    """Push roots where `mask` `[N]` holds; returns the observation `[N, O]` after it.

    By N(0, std) m/s in x and y, and by N(0, turn_std) rad/s about the body's z axis.
    """
    qpos, qvel = env.state
    push = std * torch.randn(len(mask), 2, generator=generator, dtype=qvel.dtype)
    qvel[:, :2] += torch.where(mask.unsqueeze(-1), push, 0.0)
    if turn_std > 0:
        turn = turn_std * torch.randn(len(mask), generator=generator, dtype=qvel.dtype)
        qvel[:, 5] += torch.where(mask, turn, 0.0)
    return env.set_state(qpos.numpy(), qvel.numpy(), env.simulation.warmstart)[keys.OBSERVATION]
