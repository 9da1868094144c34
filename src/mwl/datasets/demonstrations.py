"""State-action motion data: what a demonstrator is, and the file format of what it showed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mwl._places import find
from mwl._renamed import present_keys
from mwl.core.artifact import sha256_of
from mwl.core.errors import CorruptFile, MissingFile, SpecMismatch
from mwl.core.files import output_file, read_json, read_npz, shown, with_ending, without_ending, write_json, writing
from mwl.core.plain import from_plain
from mwl.robot.h1 import ACTION_SIZE
from mwl.simulation import get_task

SCHEMA: Literal[1] = 1
MAX_MANIFEST_BYTES = 8 * 2**20
_FLOATS = {"observation": 2, "action": 2, "command": 2, "executed_action": 2, "reward": 1}  # and their dimensions
_INTEGERS = ("episode", "skill")


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
