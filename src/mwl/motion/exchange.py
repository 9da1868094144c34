"""Demonstrations in the formats that other projects use, there and back without loss."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mwl.errors import BadInput, CorruptFile, MissingFile, MwlError, SpecMismatch
from mwl.handoff import atomic_folder
from mwl.motion.demonstrations import Demonstrations
from mwl.simulation import get_task
from mwl.simulation.robot import ACTION_SIZE

FORMATS = ("minari", "lerobot")
OPTIONAL = ("command", "executed_action", "reward")
_OF_THE_FILE = ("schema", "steps", "sha256")  # manifest entries that belong to the file, not to the recording


@dataclass(frozen=True)
class Episode:
    """One recorded episode as arrays over its T steps, named like the fields of `Demonstrations`."""

    observation: np.ndarray
    action: np.ndarray
    optional: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.action)


def export_demonstrations(file: Path | str, format: str, out: Path | str) -> Path:
    """Write a recording as a data set of another format; nothing is left half-written.

    Args:
        file: recording (.npz) with its manifest beside it.
        format: `minari` or `lerobot`.
        out: folder to create; it must not exist.

    Raises:
        BadInput: unknown format, or the folder exists.
        MissingFile, CorruptFile: no such recording, or it was changed.
        MissingDependency: the `datasets` extra is not installed.
    """
    write, _ = _format(format)
    out = Path(out)
    if out.exists():
        raise BadInput(f"{out}: exists; name a folder that is to be created")
    demonstrations = Demonstrations.load(file)
    with atomic_folder(out) as folder:
        write(demonstrations, folder, out.name)
    return out


def import_demonstrations(folder: Path | str, format: str, task: str | None = None) -> Demonstrations:
    """Read a data set of another format.

    Args:
        folder: the data set.
        format: `minari` or `lerobot`.
        task: benchmark task whose observations it holds; None takes what the data set says, if this project wrote it.

    Raises:
        MissingFile, CorruptFile: no such data set, or it cannot be read.
        BadInput: the data set does not say its task, and nobody else does.
        SpecMismatch: observations or actions are not those of the task and this robot.
        MissingDependency: the `datasets` extra is not installed.
    """
    _, read = _format(format)
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFile(f"{folder}: no such data set")
    try:
        episodes, manifest = read(folder)
    except MwlError:
        raise
    except Exception as error:  # h5py, pyarrow and minari each have a dozen kinds for damaged files
        raise CorruptFile(f"{folder}: cannot be read as {format} ({' '.join(str(error).split())[:160]})") from error
    name = task or manifest.get("task")
    if name is None:
        raise BadInput(f"{folder}: does not say which task its observations are of; give --task, for example h1-walk")
    return join(episodes, {**_foreign(folder, format, episodes), **manifest, "task": name}, f"{folder}")


def _format(name: str) -> tuple[Callable[..., None], Callable[[Path], tuple[list[Episode], dict[str, Any]]]]:
    if name not in FORMATS:
        raise BadInput(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
    if name == "minari":
        from mwl.motion import minari_data as module
    else:
        from mwl.motion import lerobot_data as module  # type: ignore[no-redef]
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
    size = get_task(manifest["task"]).layout.size
    shown, actions = episodes[0].observation.shape[-1], episodes[0].action.shape[-1]
    if shown != size or actions != ACTION_SIZE:
        raise SpecMismatch(
            f"{where}: {shown} observations and {actions} actions; {manifest['task']} has {size} and {ACTION_SIZE}"
        )
    if max(np.abs(episode.action).max() for episode in episodes) > 1 + 1e-3:
        raise SpecMismatch(f"{where}: actions lie outside [-1, 1]; scale them to the benchmark's actions first")

    def together(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))

    kept = [name for name in OPTIONAL if all(name in episode.optional for episode in episodes)]
    numbers = manifest.get("episode_numbers") or list(range(len(episodes)))
    return Demonstrations(
        observation=together([episode.observation for episode in episodes]),
        action=together([episode.action for episode in episodes]),
        episode=torch.cat([torch.full((len(e),), int(n)) for n, e in zip(numbers, episodes, strict=True)]),
        manifest={key: value for key, value in manifest.items() if key != "episode_numbers"},
        **{name: together([episode.optional[name] for episode in episodes]) for name in kept},
    )


def manifest_text(demonstrations: Demonstrations) -> str:
    """The recording's manifest as JSON, with the numbers of its episodes, for the metadata of another format."""
    manifest = {key: value for key, value in demonstrations.manifest.items() if key not in _OF_THE_FILE}
    return json.dumps({**manifest, "episode_numbers": demonstrations.episode.unique().tolist()})
