"""State-action motion data: the file format, and how a demonstrator's behaviour is recorded.

Noise is added to the executed action while the label stays the demonstrator's clean answer, so that the data show how
to come back from states the demonstrator alone would never visit. Without that a cloned policy drifts off and falls.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mwl._places import find
from mwl._renamed import present_keys
from mwl.core import keys
from mwl.core.artifact import sha256_of
from mwl.core.errors import BadInput, CorruptFile, MissingFile, SpecMismatch
from mwl.core.files import output_file, read_json, read_npz, shown, with_ending, without_ending, write_json, writing
from mwl.core.plain import from_plain
from mwl.robot import frames
from mwl.robot.h1 import ACTION_SIZE
from mwl.rollouts.falls import RECORDED_ROOT
from mwl.rollouts.pushes import at_random, push
from mwl.simulation import HumanoidEnv, get_task, make_env
from mwl.simulation.shift import draw_shifts

SCHEMA: Literal[1] = 1
MAX_MANIFEST_BYTES = 8 * 2**20
_FLOATS = {"observation": 2, "action": 2, "command": 2, "executed_action": 2, "reward": 1}  # and their dimensions
_INTEGERS = ("episode", "skill")
BehaviourPolicy = Callable[[Tensor, Tensor | None, Tensor], Tensor]
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


@runtime_checkable
class InterruptibleDemonstrator(SkilledDemonstrator, Protocol):
    """One that goes on rightly after a skill of another's choice was shown."""

    def acted(self, skill: Tensor) -> None:
        """Hear which skills `[N]` were shown instead of its own."""
        ...


@dataclass(frozen=True)
class _Manifest:
    """The entries of a recording's manifest that anything here reads, for their types; others may stand beside them."""

    task: str
    sha256: str
    schema: Literal[1] = SCHEMA
    steps: int | None = None
    demonstrator: str = ""
    teacher: str = ""
    skills: list[str] = field(default_factory=list)
    episodes: int | None = None
    recording_env_steps: int = 0
    training_env_steps: int = 0
    trainings: dict[str, int] = field(default_factory=dict)


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
        path = with_ending(path, ".npz")
        plain = self._plain(np.float16 if half else np.float32)
        check_arrays(plain, self.manifest, shown(path))
        with writing(path) as scratch:
            np.savez_compressed(scratch, allow_pickle=False, **plain)
            digest = sha256_of(scratch)
        write_json(manifest_of(path), {"schema": SCHEMA, **self.manifest, "steps": len(self), "sha256": digest})
        return path

    def _plain(self, kind: type[np.floating]) -> dict[str, NDArray[Any]]:
        """The arrays as a file holds them, floating numbers in a given precision."""
        arrays = {"episode": self.episode.numpy().astype(np.int32)}
        if self.skill is not None:
            arrays["skill"] = self.skill.numpy().astype(np.int8)
        with np.errstate(over="ignore"):  # what overflows is refused as not finite
            for name in _FLOATS:
                if (value := getattr(self, name)) is not None:
                    arrays[name] = value.numpy().astype(kind)
        return arrays

    @classmethod
    def load(cls, path: Path | str) -> "Demonstrations":
        """Read and verify a file written by `save`.

        Raises:
            MissingFile: the data or their manifest do not exist.
            CorruptFile: content differs from the manifest's sha256, or isn't demonstration data.
            SpecMismatch: see `check_arrays`.
        """
        path = find(with_ending(path, ".npz"))
        for file in (path, manifest_of(path)):
            if not file.is_file():
                raise MissingFile(f"{shown(file)}: no such demonstrations; record them with `mwl motion demonstrate`")
        manifest: dict[str, Any] = present_keys(read_json(manifest_of(path), limit=MAX_MANIFEST_BYTES))
        entries = from_plain(_Manifest, manifest, shown(manifest_of(path)), unknown=True)
        if sha256_of(path) != entries.sha256:
            raise CorruptFile(f"{shown(path)}: content differs from the sha256 in its manifest; record it again")
        arrays = read_npz(path)
        check_arrays(arrays, manifest, shown(path))
        if entries.steps is not None and entries.steps != len(arrays["action"]):
            raise CorruptFile(f"{shown(path)}: holds {len(arrays['action'])} of {entries.steps} steps")
        tensors = {
            name: torch.from_numpy(value.astype(np.float32 if name in _FLOATS else np.int64))
            for name, value in arrays.items()
        }
        return cls(manifest=manifest, **tensors)


def manifest_of(path: Path) -> Path:
    """The manifest beside a recording."""
    return with_ending(without_ending(path, ".npz"), ".json")


def recording_file(out: Path | str, force: bool) -> Path:
    """Where a recording is to go, checked together with its manifest."""
    target = output_file(with_ending(out, ".npz"), force=force)
    output_file(manifest_of(target), force=force)
    return target


def check_arrays(arrays: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any], where: str) -> None:
    """Refuse arrays that are no recording of the manifest's task.

    Args:
        arrays: by the names of `Demonstrations`' fields.
        manifest: names the skills where the arrays tell them apart.
        where: begins the message.

    Raises:
        CorruptFile: an array is missing, unknown, of another shape or type, or not finite.
        SpecMismatch: actions lie outside [-1, 1].
    """
    unknown = arrays.keys() - {*_FLOATS, *_INTEGERS}
    missing = {"observation", "action", "episode"} - arrays.keys()
    if unknown or missing:
        what = f"lacks {', '.join(sorted(missing))}" if missing else f"holds {shown(sorted(unknown))}"
        raise CorruptFile(f"{where}: {what}, so it is no recording that this version reads")
    steps = arrays["action"].shape[:1]
    if steps == (0,):
        raise CorruptFile(f"{where}: holds no step")
    for name, value in arrays.items():
        kinds, dimensions = ("f", _FLOATS[name]) if name in _FLOATS else ("iu", 1)
        if value.dtype.kind not in kinds or value.ndim != dimensions or value.shape[:1] != steps:
            raise CorruptFile(f"{where}: {name} is {value.dtype} of shape {list(value.shape)}, as no recording has it")
        if value.dtype.kind == "f":
            with np.errstate(over="ignore"):
                finite = np.isfinite(value.astype(np.float32, copy=False).reshape(len(value), -1)).all(axis=1)
            if not finite.all():
                raise CorruptFile(f"{where}: {name} is not finite at step {finite.argmin()}")
    for name in ("action", "executed_action"):
        if name in arrays and arrays[name].shape != arrays["action"].shape:
            raise CorruptFile(
                f"{where}: {name} has {arrays[name].shape[1]} numbers, action {arrays['action'].shape[1]}"
            )
        if name in arrays and np.abs(arrays[name]).max(initial=0.0) > 1 + 1e-3:
            raise SpecMismatch(f"{where}: {name} lies outside [-1, 1]; scale it to the benchmark's actions first")
    _check_numbers(arrays, manifest, where)


def check_sizes(demonstrations: Demonstrations, where: str) -> None:
    """Refuse a recording that is not of its task and this robot; `where` begins the message.

    Raises:
        UnknownTask: no task of that name.
        SpecMismatch: it has other observations or actions.
    """
    observed, actions = demonstrations.observation.shape[1], demonstrations.action.shape[1]
    task = str(demonstrations.manifest["task"])
    size = get_task(task).layout.size
    if (observed, actions) != (size, ACTION_SIZE):
        raise SpecMismatch(
            f"{where}: {observed} observations and {actions} actions; {task} has {size} and {ACTION_SIZE}"
        )


def _check_numbers(arrays: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any], where: str) -> None:
    """Episodes one after the other, and skills that the manifest names."""
    episode = arrays["episode"]
    if episode[0] < 0 or (episode[1:] < episode[:-1]).any() or episode[-1] >= 2**31:
        raise CorruptFile(f"{where}: its episodes are not numbered upwards from 0")
    skills = manifest.get("skills", [])
    if "skill" in arrays and not (arrays["skill"].min() >= 0 and arrays["skill"].max() < len(skills)):
        raise CorruptFile(f"{where}: shows skills beyond the {len(skills)} that its manifest names")


@dataclass(frozen=True)
class RecordingConfig:
    """How much to record, and with how much noise."""

    episodes: int = 64
    steps: int = 300
    noise_levels: Sequence[float] = (0.0, 0.1, 0.2, 0.4)
    """Standard deviations in units of the demonstrator's `noise_scale`; episodes take turns."""
    push_std: float = 0.0
    """Velocity pushes to the root in x and y, m/s, every `push_interval` seconds."""
    turn_push_std: float = 0.0
    """With each of them a push to the root's turning about its long axis, rad/s, so that headings differ."""
    push_interval: float = 1.0
    pushed_share: float = 0.5
    """Share of the episodes that are pushed."""
    drop_before_fall: int = 25
    """Steps left out before a fall: what led there is no example to follow."""
    lowest_root: float = RECORDED_ROOT
    """Height in m below which a robot is falling, whatever the task's own limit."""
    least_upright: float = -1.0
    """Cosine of the trunk's lean beyond which a robot is falling, where its height does not tell."""
    keep_executed: bool = False
    shifts: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Ranges of the changes of the world (`payload`, `motors`, ...) that robots meet, as in a teacher's training."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.steps < 1 or not self.noise_levels:
            raise BadInput("a recording needs at least one episode, one step and one noise level")


def recording_env(task: str, config: RecordingConfig) -> HumanoidEnv:
    """The robots of a recording, one for each of its episodes, with the shifts that they meet."""
    shifts = draw_shifts(config.shifts, config.episodes, config.seed)
    return make_env(task, num_envs=config.episodes, seed=config.seed, shift=shifts)


def record_demonstrations(
    demonstrator: Demonstrator, env: HumanoidEnv, config: RecordingConfig, behaviour: BehaviourPolicy | None = None
) -> Demonstrations:
    """Record `config.episodes` short episodes at once from the benchmark's own resets.

    Args:
        demonstrator: its clean answers become the labels.
        env: batched task environment of `config.episodes` robots.
        config: amount and noise.
        behaviour: what acts instead of the demonstrator, which then only says what it would do.

    Returns:
        the steps of all episodes that stayed on their feet, and of the others up to shortly before the fall.
    """
    generator = torch.Generator().manual_seed(config.seed)
    count = config.episodes
    levels = torch.tensor([config.noise_levels[i % len(config.noise_levels)] for i in range(count)]).unsqueeze(-1)
    exposed = torch.arange(count) // len(config.noise_levels) % 100 < 100 * config.pushed_share
    pushes = config.push_std > 0 or config.turn_push_std > 0
    exposed = exposed[torch.randperm(count, generator=generator)] if pushes else torch.zeros_like(exposed)
    frames = _play(demonstrator, env, config, levels, exposed, generator, behaviour)
    alive = frames.pop("alive")
    length = alive.sum(dim=0)
    length = torch.where(length < config.steps, length - config.drop_before_fall, length).clamp(min=0)
    keep = torch.arange(config.steps).unsqueeze(-1) < length
    flat = {name: value.transpose(0, 1)[keep.T] for name, value in frames.items()}
    manifest = {
        "task": env.task.name,
        "demonstrator": demonstrator.name,
        "noise_levels": list(config.noise_levels),
        "push_std": config.push_std,
        "turn_push_std": config.turn_push_std,
        **({"shifts": {name: list(ends) for name, ends in config.shifts.items()}} if config.shifts else {}),
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
    exposed: Tensor,
    generator: torch.Generator,
    behaviour: BehaviourPolicy | None,
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
        acted = answer if behaviour is None else behaviour(observation, demonstrator.command, answer)
        executed = (acted + noise).clamp(-1, 1)
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
        high = state[keys.OBSERVATION][:, 2] > config.lowest_root
        upright = frames.rotation_matrix(state[keys.OBSERVATION][:, 3:7])[:, 2, 2] >= config.least_upright
        alive = alive & ~state[keys.TERMINATED].squeeze(-1) & high & upright
        pushed = exposed & at_random(config.episodes, config.push_interval, generator)
        if pushed.any():
            push(env.simulation, pushed, config.push_std, generator, config.turn_push_std)
            state[keys.OBSERVATION] = torch.from_numpy(env.world.observation())
        observation = state[keys.OBSERVATION]
    return {name: torch.stack(values) for name, values in gathered.items()}
