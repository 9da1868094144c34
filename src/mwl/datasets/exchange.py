"""Demonstrations in the formats that other projects use, there and back without loss."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mwl.core.artifact import atomic_folder
from mwl.core.errors import BadInput, CorruptFile, MissingFile, MwlError, SpecMismatch
from mwl.core.files import output_folder, shown
from mwl.core.plain import from_plain
from mwl.datasets.demonstrations import Demonstrations, check_arrays, check_sizes

FORMATS = ("minari", "lerobot")
OPTIONAL = ("command", "executed_action", "reward", "skill")
_OF_THE_FILE = ("schema", "steps", "sha256")  # manifest entries that belong to the file, not to the recording


@dataclass(frozen=True)
class _Manifest:
    """The entries of a recording's manifest that are read here, for their types."""

    task: str | None = None
    skills: list[str] = field(default_factory=list)
    episode_numbers: list[int] | None = None


@dataclass(frozen=True)
class Episode:
    """One recorded episode as arrays over its T steps, named like the fields of `Demonstrations`."""

    observation: np.ndarray
    action: np.ndarray
    optional: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.action)


def export_demonstrations(file: Path | str, format: str, out: Path | str, *, force: bool = False) -> Path:
    """Write a recording as a data set of another format; nothing is left half-written.

    Args:
        file: recording (.npz) with its manifest beside it.
        format: `minari` or `lerobot`.
        out: folder to create.
        force: whether what is there may be replaced.

    Returns:
        the folder that holds the data set: `out`, or for a Minari data set that is named as one (`walk-v0`) the folder
        `data` in it, where `minari.load_dataset` looks.

    Raises:
        BadInput: unknown format, or the folder exists.
        MissingFile, CorruptFile: no such recording, or it was changed.
        MissingDependency: the `datasets` extra is not installed.
    """
    write, _ = _format(format)
    out = output_folder(out, force=force)
    demonstrations = Demonstrations.load(file)
    with atomic_folder(out) as folder:
        where = write(demonstrations, folder, out.absolute().name).relative_to(folder)
    return out / where


def import_demonstrations(
    folder: Path | str, format: str, task: str | None = None, *, reorder: bool = False
) -> Demonstrations:
    """Read a data set of another format.

    Args:
        folder: the data set.
        format: `minari` or `lerobot`.
        task: benchmark task whose observations it holds; None takes what the data set says, if this project wrote it.
        reorder: put rows and named columns that are in another order into ours, instead of refusing them.

    Raises:
        MissingFile, CorruptFile: no such data set, or it cannot be read.
        BadInput: the data set does not say its task, and nobody else does.
        SpecMismatch: observations or actions are not those of the task and this robot.
        MissingDependency: the `datasets` extra is not installed.
    """
    _, read = _format(format)
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFile(f"{shown(folder)}: no such data set")
    try:
        episodes, manifest = read(folder, task, reorder)
    except MwlError:
        raise
    except Exception as error:  # h5py, pyarrow and minari each have a dozen kinds for damaged files
        why = " ".join(str(error).split())[:160]
        raise CorruptFile(f"{shown(folder)}: cannot be read as {format} ({why})") from error
    own = from_plain(_Manifest, manifest, f"{shown(folder)}: its manifest", unknown=True)
    if task is not None and own.task not in (None, task):
        raise SpecMismatch(f"{shown(folder)}: was recorded on {own.task}, not on {shown(task)}")
    name = task or own.task
    if name is None:
        raise BadInput(f"{folder}: does not say which task its observations are of; give --task, for example h1-walk")
    if not manifest:  # whose numbers of skills mean something only together with their names
        for episode in episodes:
            episode.optional.pop("skill", None)
    return join(episodes, {**_foreign(folder, format, episodes), **manifest, "task": name}, f"{folder}")


def _format(
    name: str,
) -> tuple[Callable[..., Path], Callable[[Path, str | None, bool], tuple[list[Episode], dict[str, Any]]]]:
    if name not in FORMATS:
        raise BadInput(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
    if name == "minari":
        from mwl.datasets import minari as module
    else:
        from mwl.datasets import lerobot as module  # type: ignore[no-redef]
    return module.write, module.read


def _foreign(folder: Path, format: str, episodes: list[Episode]) -> dict[str, Any]:
    """What the manifest says of a data set that this project did not write."""
    steps = sum(len(episode) for episode in episodes)
    unknown = {"source": folder.name, "licence": "unknown", "recording_env_steps": steps, "training_env_steps": 0}
    return {"demonstrator": f"imported_{format}", "episodes": len(episodes), **unknown}


def split(demonstrations: Demonstrations) -> list[Episode]:
    """The episodes of a recording, in order."""
    fields = {name: getattr(demonstrations, name) for name in ("observation", "action", *OPTIONAL)}
    arrays = {name: value.numpy() for name, value in fields.items() if value is not None}
    episodes = []
    for number in demonstrations.episode.unique():
        rows = (demonstrations.episode == number).numpy()
        optional = {name: arrays[name][rows] for name in OPTIONAL if name in arrays}
        episodes.append(Episode(arrays["observation"][rows], arrays["action"][rows], optional))
    return episodes


def join(episodes: list[Episode], manifest: dict[str, Any], where: str) -> Demonstrations:
    """One recording of episodes, checked against its task.

    Raises:
        SpecMismatch: see `import_demonstrations`.
    """
    if not episodes:
        raise CorruptFile(f"{where}: holds no episode")
    numbers = manifest.get("episode_numbers") or list(range(len(episodes)))
    if len(numbers) != len(episodes):
        raise CorruptFile(f"{where}: holds {len(episodes)} of {len(numbers)} episodes")
    kept = [name for name in OPTIONAL if name in episodes[0].optional]
    if any(sorted(episode.optional) != sorted(kept) for episode in episodes):
        raise CorruptFile(f"{where}: some episodes hold {', '.join(OPTIONAL)}, others do not")
    lengths = [len(episode) for episode in episodes]
    arrays = {
        "observation": _together([episode.observation for episode in episodes], "observation", where),
        "action": _together([episode.action for episode in episodes], "action", where),
        "episode": np.repeat(np.array(numbers, dtype=np.int64), lengths),
        **{name: _together([episode.optional[name] for episode in episodes], name, where) for name in kept},
    }
    told = {key: value for key, value in manifest.items() if key != "episode_numbers"}
    check_arrays(arrays, told, where)
    joined = Demonstrations(
        manifest=told,
        **{
            name: torch.from_numpy(value.astype(np.float32 if value.dtype.kind == "f" else np.int64))
            for name, value in arrays.items()
        },
    )
    check_sizes(joined, where)
    return joined


def _together(parts: list[np.ndarray], name: str, where: str) -> np.ndarray:
    """One array of all episodes.

    Raises:
        CorruptFile: they differ in width or type.
    """
    if len({(part.dtype, part.shape[1:]) for part in parts}) > 1:
        raise CorruptFile(f"{where}: {name} differs in shape or type between episodes")
    return np.concatenate(parts)


def manifest_text(demonstrations: Demonstrations) -> str:
    """The recording's manifest as JSON, with the numbers of its episodes, for the metadata of another format."""
    manifest = {key: value for key, value in demonstrations.manifest.items() if key not in _OF_THE_FILE}
    return json.dumps({**manifest, "episode_numbers": demonstrations.episode.unique().tolist()})
