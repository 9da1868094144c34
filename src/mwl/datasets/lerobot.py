"""Demonstrations in the layout of LeRobotDataset v3.0: parquet files for steps, episodes and tasks, JSON for the rest.

Source of the layout: huggingface/lerobot, `datasets/dataset_metadata.py` and `datasets/io_utils.py`.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mwl.core.errors import CorruptFile, MissingDependency, SpecMismatch
from mwl.core.files import MAX_NPZ_BYTES, read_json, shown
from mwl.datasets.demonstrations import Demonstrations
from mwl.datasets.exchange import Episode, manifest_text, split
from mwl.robot.h1 import CONTROL_DT, JOINT_NAMES, ROBOT
from mwl.simulation import get_task

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
    "skill": "skill",
}
_COUNTERS = ("episode_index", "frame_index", "timestamp", "task_index")
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


def write(demonstrations: Demonstrations, folder: Path, name: str) -> Path:
    """Write a LeRobotDataset into an empty folder, which is returned."""
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
    return folder


def read(folder: Path, task: str | None = None, reorder: bool = False) -> tuple[list[Episode], dict[str, Any]]:
    """Episodes and manifest (empty where somebody else wrote it) of a LeRobotDataset v3.0.

    Args:
        folder: the data set.
        task: whose observations it holds; None takes what the manifest says.
        reorder: put rows in the order of episodes and frames, and columns in that of their names, where they are not.

    Raises:
        CorruptFile: another version, or steps, columns or counters are missing or contradict each other.
        SpecMismatch: another rate, another robot, other joints, several tasks, or another order than `reorder` allows.
    """
    manifest = read_json(folder / _MANIFEST) if (folder / _MANIFEST).is_file() else {}
    if task is None and isinstance(manifest, dict):
        task = manifest.get("task")
    info = read_json(folder / "meta/info.json")
    features = _checked_info(info, folder)
    table = _table(folder, info)
    episode, frame = table["episode_index"].astype(np.int64), table["frame_index"].astype(np.int64)
    order = np.lexsort((frame, episode))
    if not reorder and (np.diff(order) < 0).any():
        raise SpecMismatch(f"{folder}: its rows are not in the order of episodes and frames; --reorder sorts them")
    table = {name: values[order] for name, values in table.items()}
    starts = _checked_counters(table, info, folder)
    arrays = {}
    for column in (name for name in table if name in _COLUMNS):
        names, own = _names(features.get(column)), _own_names(column, task)
        where = f"{folder}: the names of {column}"
        arrays[_COLUMNS[column]] = _by_name(table[column], names, own, reorder, where)
    episodes = []
    for begin, end in pairwise([*starts, len(order)]):
        chosen = {name: values[begin:end] for name, values in arrays.items()}
        episodes.append(Episode(chosen.pop("observation"), chosen.pop("action"), chosen))
    return episodes, manifest


def _checked_info(info: Any, folder: Path) -> dict[str, Any]:
    """The features that `info.json` declares.

    Raises:
        CorruptFile, SpecMismatch: see `read`.
    """
    if not isinstance(info, dict) or not isinstance(info.get("features", {}), dict):
        raise CorruptFile(f"{folder}: its meta/info.json is no mapping")
    if info.get("codebase_version") != _VERSION:
        raise CorruptFile(f"{folder}: version {shown(info.get('codebase_version'))}; this reads {_VERSION}")
    rate = round(1 / CONTROL_DT)
    if info.get("fps") != rate:
        raise SpecMismatch(
            f"{folder}: fps is {shown(info.get('fps'))}; the benchmark acts at {rate} Hz: resample it first"
        )
    robot = info.get("robot_type")
    if _plain(str(robot)).removeprefix("unitree") != _plain(ROBOT).removeprefix("unitree"):
        raise SpecMismatch(f"{folder}: robot_type is {shown(robot)}; this project moves {ROBOT}")
    features: dict[str, Any] = info.get("features", {})
    return features


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _table(folder: Path, info: dict[str, Any]) -> dict[str, np.ndarray]:
    """All rows of the columns that are read here, within bounds.

    Raises:
        CorruptFile: columns or rows are missing, too large, or not as declared.
    """
    _, pq = _pyarrow()
    files = sorted((folder / "data").glob("*/*.parquet"))
    if not files:
        raise CorruptFile(f"{folder}: no parquet files in its data folder")
    names = [set(pq.read_schema(file).names) for file in files]
    held = [name for name in (*_COLUMNS, *_COUNTERS) if all(name in own for own in names)]
    missing = {"observation.state", "action", "episode_index", "frame_index"} - set(held)
    if missing:
        raise CorruptFile(f"{folder}: lacks {', '.join(sorted(missing))}")
    rows = sum(_rows_within_bounds(pq.ParquetFile(file).metadata, file) for file in files)
    if rows != info.get("total_frames"):
        raise CorruptFile(f"{folder}: holds {rows} of {shown(info.get('total_frames'))} steps")
    tables = [pq.read_table(file, columns=held) for file in files]
    return {
        name: _as_declared(np.concatenate([_rows(t[name], name, folder) for t in tables]), name, info, folder)
        for name in held
    }


def _rows_within_bounds(metadata: Any, file: Path) -> int:
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    numbers = sum(group.column(j).num_values for group in groups for j in range(group.num_columns))
    if 8 * numbers > MAX_NPZ_BYTES:  # repeated numbers take next to no room in the file
        raise CorruptFile(f"{file}: holds {numbers} numbers; {MAX_NPZ_BYTES // 8} are allowed")
    return int(metadata.num_rows)


def _as_declared(values: np.ndarray, name: str, info: dict[str, Any], folder: Path) -> np.ndarray:
    """The column, if it is what the data set says.

    Raises:
        CorruptFile: no numbers, or another type or shape than declared.
    """
    kinds = "iu" if name in ("episode_index", "frame_index", "task_index", "skill") else "f"
    declared = info.get("features", {}).get(name, {})
    if not isinstance(declared, dict):
        raise CorruptFile(f"{folder}: feature {name} is no mapping")
    shape = list(values.shape[1:]) or [1]
    if values.dtype.kind not in kinds or declared.get("dtype", str(values.dtype)) != str(values.dtype):
        raise CorruptFile(f"{folder}: {name} holds {values.dtype}, declared is {shown(declared.get('dtype'))}")
    if declared.get("shape", shape) != shape:
        raise CorruptFile(f"{folder}: {name} has shape {shape}, declared is {shown(declared.get('shape'))}")
    return values


def _checked_counters(table: dict[str, np.ndarray], info: dict[str, Any], folder: Path) -> list[int]:
    """Where the episodes of the ordered table begin.

    Raises:
        CorruptFile: frames are missing or there twice, times contradict the rate, or episodes are missing.
        SpecMismatch: several tasks.
    """
    episode, frame = table["episode_index"], table["frame_index"]
    starts = np.flatnonzero(np.append(True, episode[1:] != episode[:-1]))
    lengths = np.diff(np.append(starts, len(episode)))
    counted = np.concatenate([np.arange(length) for length in lengths])
    if (frame != counted).any():
        row = int((frame != counted).argmax())
        raise CorruptFile(f"{folder}: episode {episode[row]} lacks frame {counted[row]}, or holds another one twice")
    if not np.array_equal(episode[starts], np.arange(len(starts))) or info.get("total_episodes") != len(starts):
        raise CorruptFile(f"{folder}: holds {len(starts)} of {shown(info.get('total_episodes'))} episodes")
    if "timestamp" in table and not np.abs(table["timestamp"] - frame * CONTROL_DT).max() < CONTROL_DT / 10:
        raise CorruptFile(f"{folder}: its timestamps contradict its rate of {info['fps']} Hz")
    tasks = np.unique(table.get("task_index", np.zeros(1, dtype=np.int64)))
    if len(tasks) > 1:
        raise SpecMismatch(f"{folder}: holds {len(tasks)} tasks; split it into one data set per task first")
    return starts.tolist()


def _by_name(
    values: np.ndarray, names: list[str] | None, own: list[str] | None, reorder: bool, where: str
) -> np.ndarray:
    """The column's numbers in the order of the benchmark's own names, where it has some; `where` begins the message.

    Raises:
        SpecMismatch: joints without names, names of something else, or in another order than `reorder` allows.
    """
    if own is None or (names is None and own != list(JOINT_NAMES)) or values.shape[1:] != (len(own),):
        return values  # another width is refused with the task's
    if names is None:
        raise SpecMismatch(f"{where} are missing, which tell the joints' order; add them to meta/info.json")
    names = [name.removesuffix(".pos").removesuffix("_joint") for name in names]
    if sorted(names) != sorted(own):
        other = ", ".join(name for name in names if name not in own) or f"{len(names)}, not {len(own)}"
        raise SpecMismatch(f"{where} are not the benchmark's ({shown(other)})")
    if names != own and not reorder:
        first = next(name for name, meant in zip(names, own, strict=True) if name != meant)
        raise SpecMismatch(f"{where} are in another order than ours ({first!r} first); --reorder sorts them")
    return values[:, [names.index(name) for name in own]]


def _own_names(column: str, task: Any) -> list[str] | None:
    """What the benchmark calls a column's numbers; None where it has no names for them."""
    if column in ("action", "action_executed"):
        return list(JOINT_NAMES)
    if column != "observation.state" or not isinstance(task, str):
        return None
    return [f"{part}.{i}" for part, size in get_task(task).layout.sizes.items() for i in range(size)]


def _names(feature: Any) -> list[str] | None:
    """Names of a feature's numbers, where it has some; LeRobot writes them as a list, or as lists by group."""
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, dict):
        names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
    return [str(name) for name in names] if isinstance(names, list) and names else None


def _has(episodes: list[Episode], field: str) -> bool:
    return field in ("observation", "action") or field in episodes[0].optional


def _stack(episodes: list[Episode], field: str) -> np.ndarray:
    parts = [getattr(e, field) if field in ("observation", "action") else e.optional[field] for e in episodes]
    return np.concatenate(parts).astype(np.int64 if field == "skill" else np.float32)


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
        "features": {
            column: _feature(values, _own_names(column, demonstrations.manifest["task"]))
            for column, values in columns.items()
        },
    }


def _feature(values: np.ndarray, names: list[str] | None) -> dict[str, Any]:
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


def _rows(column: Any, name: str, folder: Path) -> np.ndarray:
    """A column as an array `[T]` or `[T, D]`.

    Raises:
        CorruptFile: numbers are missing, or rows differ in width.
    """
    import pyarrow.types as types

    width = None
    if types.is_list(column.type) or types.is_large_list(column.type) or types.is_fixed_size_list(column.type):
        rows = column.combine_chunks()
        widths = {len(row) for row in rows} if rows.null_count == 0 else set()
        if len(widths) != 1:
            raise CorruptFile(f"{folder}: rows of {name} are missing or differ in width")
        width, column = widths.pop(), rows.flatten()
    if column.null_count:
        raise CorruptFile(f"{folder}: numbers of {name} are missing")
    values: np.ndarray = column.to_numpy()
    return values if width is None else values.reshape(-1, width)


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
