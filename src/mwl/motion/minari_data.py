"""Demonstrations as a Minari data set (HDF5), as Gymnasium's offline tools read it.

Minari's `actions` are the clean labels; what else was recorded lies in `infos`. Minari wants one observation more than
actions and a reward per step: the last observation is repeated, and a reward that was not kept is NaN.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from mwl.errors import MissingDependency
from mwl.motion.demonstrations import Demonstrations
from mwl.motion.exchange import OPTIONAL, Episode, manifest_text, split

_MANIFEST = "mwl_manifest"
_VERSION = "v0"


def write(demonstrations: Demonstrations, folder: Path, name: str) -> None:
    """Write a Minari data set into an empty folder."""
    minari, storage_class = _minari()
    size, actions = demonstrations.observation.shape[-1], demonstrations.action.shape[-1]
    storage = storage_class.new(
        folder, Box(-np.inf, np.inf, (size,), np.float32), Box(-1.0, 1.0, (actions,), np.float32), data_format="hdf5"
    )
    storage.update_episodes([_buffer(minari, number, episode) for number, episode in enumerate(split(demonstrations))])
    storage.update_metadata(
        {
            "dataset_id": f"mwl/{name}-{_VERSION}",
            "minari_version": minari.__version__,
            "algorithm_name": str(demonstrations.manifest.get("demonstrator", "")),
            "description": f"demonstrations of {demonstrations.manifest['task']}; infos hold what else was recorded",
            _MANIFEST: manifest_text(demonstrations),
        }
    )


def read(folder: Path) -> tuple[list[Episode], dict[str, Any]]:
    """Episodes and manifest (empty where somebody else wrote it) of a Minari data set."""
    _, storage_class = _minari()
    storage = storage_class.read(folder)
    episodes = []
    for entry in storage.get_episodes(range(storage.total_episodes)):
        steps = len(entry["actions"])
        infos = entry["infos"] or {}
        optional = {name: np.asarray(infos[name])[:steps] for name in OPTIONAL if name in infos}
        rewards = np.asarray(entry["rewards"])
        if not np.isnan(rewards).any():
            optional["reward"] = rewards
        episodes.append(Episode(np.asarray(entry["observations"])[:steps], np.asarray(entry["actions"]), optional))
    return episodes, json.loads(storage.metadata.get(_MANIFEST, "{}"))


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
