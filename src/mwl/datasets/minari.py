"""Demonstrations as a Minari data set (HDF5), as Gymnasium's offline tools read it.

Minari's `actions` are the clean labels; what else was recorded lies in `infos`. Minari wants one observation more than
actions and a reward per step: the last observation is repeated, and a reward that was not kept is NaN.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from mwl.core.errors import CorruptFile, MissingDependency
from mwl.core.files import MAX_NPZ_BYTES, parse_json, read_json, shown
from mwl.datasets.demonstrations import Demonstrations
from mwl.datasets.exchange import OPTIONAL, Episode, manifest_text, split

_MANIFEST = "mwl_manifest"
_NUMBERED = re.compile(r"(.+)-v(\d+)")


def write(demonstrations: Demonstrations, folder: Path, name: str) -> Path:
    """Write a Minari data set into an empty folder; named as one (`walk-v0`), where `minari.load_dataset` looks in it.

    Returns:
        the folder that holds it.
    """
    minari, storage_class = _minari()
    size, actions = demonstrations.observation.shape[-1], demonstrations.action.shape[-1]
    numbered = _NUMBERED.fullmatch(name)
    place = folder / "data" if numbered else folder
    # an absolute path, as Minari makes the folder of its file with a relative one
    storage = storage_class.new(
        place.absolute(),
        Box(-np.inf, np.inf, (size,), np.float32),
        Box(-1.0, 1.0, (actions,), np.float32),
        data_format="hdf5",
    )
    storage.update_episodes([_buffer(minari, number, episode) for number, episode in enumerate(split(demonstrations))])
    storage.update_metadata(
        {
            "dataset_id": f"mwl/{_plain_name(numbered[1] if numbered else name)}-v{numbered[2] if numbered else 0}",
            "minari_version": minari.__version__,
            "algorithm_name": str(demonstrations.manifest.get("demonstrator", "")),
            "description": f"demonstrations of {demonstrations.manifest['task']}; infos hold what else was recorded",
            _MANIFEST: manifest_text(demonstrations),
        }
    )
    return place


def _plain_name(name: str) -> str:
    """A folder's name as Minari allows one: letters, digits, hyphen and underscore."""
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "demonstrations"


def read(folder: Path, task: str | None = None, reorder: bool = False) -> tuple[list[Episode], dict[str, Any]]:
    """Episodes and manifest (empty where somebody else wrote it) of a Minari data set, or of the one in its `data`.

    Its episodes are in order and its columns have no names, so there is nothing to `reorder`.

    Raises:
        CorruptFile: it does not say its spaces, is too large, or lacks steps.
    """
    _, storage_class = _minari()
    if not (folder / "metadata.json").is_file() and (folder / "data/metadata.json").is_file():
        folder = folder / "data"
    metadata = read_json(folder / "metadata.json")
    if not isinstance(metadata, dict):
        raise CorruptFile(f"{folder}: its metadata are no mapping")
    for space in ("observation_space", "action_space"):  # without them Minari imports what the file names
        if not isinstance(metadata.get(space), str):
            raise CorruptFile(f"{folder}: does not say its {space}")
    if (folder / "main_data.hdf5").is_file():
        _check_hdf5(folder / "main_data.hdf5", metadata.get("total_episodes"))
    storage = storage_class.read(folder)
    episodes = [
        _episode(entry, folder, i) for i, entry in enumerate(storage.get_episodes(range(storage.total_episodes)))
    ]
    if sum(map(len, episodes)) != storage.total_steps:
        raise CorruptFile(f"{folder}: holds {sum(map(len, episodes))} of {storage.total_steps} steps")
    return episodes, parse_json(metadata.get(_MANIFEST, "{}"), f"{folder}: its manifest")


def _episode(entry: Any, folder: Path, number: int) -> Episode:
    where = f"{folder}: episode {number}"
    if isinstance(entry["observations"], dict | tuple) or isinstance(entry["actions"], dict | tuple):
        raise CorruptFile(f"{where}: observations and actions must be one array each")
    observations, actions, rewards = (np.asarray(entry[name]) for name in ("observations", "actions", "rewards"))
    steps = len(actions)
    if steps == 0 or len(observations) != steps + 1 or len(rewards) != steps:
        raise CorruptFile(
            f"{where}: {len(observations)} observations and {len(rewards)} rewards do not belong to {steps} actions"
        )
    infos = entry["infos"] or {}
    optional = {name: np.asarray(infos[name])[:steps] for name in OPTIONAL if name in infos}
    if not np.isnan(rewards).all():  # as a recording without rewards is written
        optional["reward"] = rewards
    return Episode(observations[:steps], actions, optional)


def _check_hdf5(file: Path, episodes: Any) -> None:
    """Refuse a file that would fill the memory, points outside itself, or holds another number of episodes.

    Raises:
        CorruptFile: it does.
    """
    import h5py

    size = 0

    def look(name: str, item: Any) -> None:
        nonlocal size
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise CorruptFile(f"{file}: {shown(name)} lies in another file")
            size += item.size * item.dtype.itemsize if item.size else 0

    def links(group: Any) -> None:
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                raise CorruptFile(f"{file}: {shown(name)} lies in another file")

    with h5py.File(file, "r") as content:
        content.visititems(look)
        links(content)
        for group in content.values():
            if isinstance(group, h5py.Group):
                links(group)
        if size > MAX_NPZ_BYTES:
            raise CorruptFile(
                f"{file}: would unpack to {size / 2**20:.0f} MiB; {MAX_NPZ_BYTES / 2**20:.0f} are allowed"
            )
        held = sum(name.startswith("episode_") for name in content)
    if held != episodes:
        raise CorruptFile(f"{file}: holds {held} of {shown(episodes)} episodes")


def _buffer(minari: Any, number: int, episode: Episode) -> Any:
    steps = len(episode)
    ended = np.zeros(steps, dtype=bool)
    truncated = ended.copy()
    truncated[-1] = True
    return minari.data_collector.EpisodeBuffer(
        id=number,
        observations=np.concatenate([episode.observation, episode.observation[-1:]]),
        actions=episode.action,
        rewards=episode.optional.get("reward", np.full(steps, np.nan, dtype=np.float32)),
        terminations=ended,
        truncations=truncated,
        infos={name: value for name, value in episode.optional.items() if name != "reward"},
    )


def _minari() -> tuple[Any, Any]:
    try:
        import h5py  # noqa: F401  Minari's storage needs it
        import minari
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise MissingDependency("Minari data sets need minari and h5py: pip install 'mwl[datasets]'") from error
    return minari, MinariStorage
