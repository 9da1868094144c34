"""Demonstrations in the layout of LeRobotDataset v3.0: parquet files for steps, episodes and tasks, JSON for the rest.

Source of the layout: huggingface/lerobot, `datasets/dataset_metadata.py` and `datasets/io_utils.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mwl.errors import CorruptFile, MissingDependency
from mwl.motion.demonstrations import Demonstrations
from mwl.motion.exchange import Episode, manifest_text, split
from mwl.simulation import get_task
from mwl.simulation.robot import CONTROL_DT, JOINT_NAMES, ROBOT

_VERSION = "v3.0"
_MANIFEST = "meta/mwl_manifest.json"  # a file of its own: LeRobot warns of entries of info.json that it doesn't know
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_COLUMNS = {
    "observation.state": "observation",
    "action": "action",
    "observation.command": "command",
    "action_executed": "executed_action",
    "next.reward": "reward",
}
# LeRobot reads the tasks with pandas and looks them up by the index
_INDEXED_BY_TASK = json.dumps(
    {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": stored, "metadata": None}
            for name, kind, stored in (("task", "unicode", "object"), ("task_index", "int64", "int64"))
        ],
        "pandas_version": "2.0.0",
    }
)


def write(demonstrations: Demonstrations, folder: Path, name: str) -> None:
    """Write a LeRobotDataset into an empty folder."""
    pa, pq = _pyarrow()
    episodes = split(demonstrations)
    columns = {column: _stack(episodes, field) for column, field in _COLUMNS.items() if _has(episodes, field)}
    columns |= _counters([len(episode) for episode in episodes])
    table = pa.table({column: _array(pa, values) for column, values in columns.items()})
    _write_parquet(pq, table, folder / _DATA.format(chunk_index=0, file_index=0))
    instruction = get_task(demonstrations.manifest["task"]).instruction
    tasks = pa.table({"task_index": pa.array([0]), "task": pa.array([instruction])})
    _write_parquet(pq, tasks.replace_schema_metadata({"pandas": _INDEXED_BY_TASK}), folder / "meta/tasks.parquet")
    _write_parquet(
        pq, pa.table(_episode_rows(episodes, instruction)), folder / _EPISODES.format(chunk_index=0, file_index=0)
    )
    _write_json(folder / "meta/stats.json", {column: _statistics(values) for column, values in columns.items()})
    _write_json(folder / "meta/info.json", _info(demonstrations, columns, len(episodes)))
    (folder / _MANIFEST).write_text(manifest_text(demonstrations), encoding="utf-8")


def read(folder: Path) -> tuple[list[Episode], dict[str, Any]]:
    """Episodes and manifest (empty where somebody else wrote it) of a LeRobotDataset v3.0.

    Raises:
        CorruptFile: another version, or steps, states or actions are missing.
    """
    _, pq = _pyarrow()
    info = json.loads((folder / "meta/info.json").read_text(encoding="utf-8"))
    if info.get("codebase_version") != _VERSION:
        raise CorruptFile(f"{folder}: version {info.get('codebase_version')!r}; this reads {_VERSION}")
    files = sorted((folder / "data").glob("*/*.parquet"))
    if not files:
        raise CorruptFile(f"{folder}: no parquet files in its data folder")
    tables = [pq.read_table(file) for file in files]
    held = [column for column in _COLUMNS if all(column in table.column_names for table in tables)]
    missing = {"observation.state", "action"} - set(held)
    if missing or any("episode_index" not in table.column_names for table in tables):
        raise CorruptFile(f"{folder}: lacks {', '.join(sorted(missing)) or 'episode_index'}")
    arrays = {_COLUMNS[column]: np.concatenate([_rows(table[column]) for table in tables]) for column in held}
    if len(arrays["action"]) != info["total_frames"]:
        raise CorruptFile(f"{folder}: holds {len(arrays['action'])} of {info['total_frames']} steps")
    numbers = np.concatenate([table["episode_index"].to_numpy() for table in tables])
    episodes = []
    for number in np.unique(numbers):
        chosen = {name: values[numbers == number] for name, values in arrays.items()}
        episodes.append(Episode(chosen.pop("observation"), chosen.pop("action"), chosen))
    manifest = folder / _MANIFEST
    return episodes, json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}


def _has(episodes: list[Episode], field: str) -> bool:
    return field in ("observation", "action") or field in episodes[0].optional


def _stack(episodes: list[Episode], field: str) -> np.ndarray:
    parts = [getattr(e, field) if field in ("observation", "action") else e.optional[field] for e in episodes]
    return np.concatenate(parts).astype(np.float32)


def _counters(lengths: list[int]) -> dict[str, np.ndarray]:
    """The columns that every step of a LeRobotDataset has, for episodes of the given lengths."""
    frame = np.concatenate([np.arange(length) for length in lengths])
    done = np.zeros(len(frame), dtype=bool)
    done[np.cumsum(lengths) - 1] = True
    return {
        "next.done": done,
        "timestamp": (frame * CONTROL_DT).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(len(frame)),
        "task_index": np.zeros(len(frame), dtype=np.int64),
    }


def _episode_rows(episodes: list[Episode], instruction: str) -> dict[str, list]:
    """One row per episode: where its steps lie."""
    ends = np.cumsum([len(episode) for episode in episodes]).tolist()
    count = len(episodes)
    return {
        "episode_index": list(range(count)),
        "tasks": [[instruction]] * count,
        "length": [len(episode) for episode in episodes],
        "data/chunk_index": [0] * count,
        "data/file_index": [0] * count,
        "dataset_from_index": [0, *ends[:-1]],
        "dataset_to_index": ends,
        "meta/episodes/chunk_index": [0] * count,
        "meta/episodes/file_index": [0] * count,
    }


def _info(demonstrations: Demonstrations, columns: dict[str, np.ndarray], episodes: int) -> dict[str, Any]:
    return {
        "codebase_version": _VERSION,
        "robot_type": ROBOT,
        "total_episodes": episodes,
        "total_frames": len(demonstrations),
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": round(1 / CONTROL_DT),
        "splits": {"train": f"0:{episodes}"},
        "data_path": _DATA,
        "video_path": None,
        "features": {column: _feature(column, values) for column, values in columns.items()},
    }


def _feature(column: str, values: np.ndarray) -> dict[str, Any]:
    names = list(JOINT_NAMES) if column in ("action", "action_executed") else None
    return {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": names}


def _statistics(values: np.ndarray) -> dict[str, list]:
    """Minimum, maximum, mean and spread of every number of a column."""
    numbers = values.reshape(len(values), -1).astype(np.float64)
    return {
        "min": numbers.min(axis=0).tolist(),
        "max": numbers.max(axis=0).tolist(),
        "mean": numbers.mean(axis=0).tolist(),
        "std": numbers.std(axis=0).tolist(),
        "count": [len(numbers)],
    }


def _array(pa: Any, values: np.ndarray) -> Any:
    """An arrow column; vectors as lists of fixed size."""
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _rows(column: Any) -> np.ndarray:
    """A column as an array `[T]` or `[T, D]`."""
    if str(column.type).startswith(("fixed_size_list", "list")):
        return np.array(column.to_pylist(), dtype=np.float32)
    return column.to_numpy()


def _write_parquet(pq: Any, table: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency("LeRobot data sets need pyarrow: pip install 'mwl[datasets]'") from error
    return pyarrow, pyarrow.parquet
