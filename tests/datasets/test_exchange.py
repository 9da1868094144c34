"""Demonstrations go to other projects' formats and come back bit by bit; foreign data are checked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mwl.app.commands.motion import export_data, import_data
from mwl.core.errors import BadInput, CorruptFile, MissingFile, SpecMismatch
from mwl.datasets.demonstrations import Demonstrations
from mwl.datasets.exchange import FORMATS, export_demonstrations, import_demonstrations
from mwl.robot.h1 import JOINT_NAMES

pytest.importorskip("minari", reason="the datasets extra is not installed")
pytest.importorskip("h5py", reason="the datasets extra is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="the datasets extra is not installed")


def recording(*, full: bool = True) -> Demonstrations:
    """Three episodes of 4, 2 and 3 steps, numbered 0, 2 and 5: others were dropped."""
    generator = torch.Generator().manual_seed(0)
    episode = torch.tensor([0, 0, 0, 0, 2, 2, 5, 5, 5])
    manifest = {"task": "h1-walk", "demonstrator": "test", "recording_env_steps": 9, "licence": "MIT", "source": "x"}
    manifest["skills"] = ["run", "walk"]
    optional = {
        "skill": torch.tensor([0, 0, 1, 1, 0, 1, 1, 1, 0]),
        "command": torch.randn(9, 3, generator=generator),
        "executed_action": torch.rand(9, 19, generator=generator),
        "reward": torch.rand(9, generator=generator),
    }
    return Demonstrations(
        torch.randn(9, 51, generator=generator), 2 * torch.rand(9, 19, generator=generator) - 1, episode, manifest,
        **(optional if full else {}),
    )  # fmt: skip


def assert_equal(first: Demonstrations, second: Demonstrations) -> None:
    for name in ("observation", "action", "episode", "command", "executed_action", "reward", "skill"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None), name
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("full", [True, False], ids=["all arrays", "least arrays"])
def test_there_and_back_without_loss(format, full, tmp_path):
    original = recording(full=full)
    file = original.save(tmp_path / "demo.npz", half=False)
    folder = export_data(file, format, tmp_path / "out")
    again = Demonstrations.load(import_data(folder, format, tmp_path / "again.npz"))
    assert_equal(again, original)
    before, after = Demonstrations.load(file).manifest, again.manifest
    assert {key: after[key] for key in before if key != "sha256"} == {
        key: value for key, value in before.items() if key != "sha256"
    }


def test_minari_itself_reads_it(tmp_path):
    import minari

    original = recording()
    export_demonstrations(original.save(tmp_path / "demo.npz", half=False), "minari", tmp_path / "out")
    dataset = minari.MinariDataset(tmp_path / "out")
    assert (dataset.total_episodes, dataset.total_steps) == (3, 9)
    episode = dataset[1]
    np.testing.assert_array_equal(episode.observations[:-1], original.observation[4:6].numpy())
    np.testing.assert_array_equal(episode.rewards, original.reward[4:6].numpy())
    np.testing.assert_array_equal(episode.infos["command"], original.command[4:6].numpy())
    assert episode.truncations.tolist() == [False, True]
    assert dataset.action_space.contains(episode.actions[0])


def test_lerobot_finds_its_files_columns_and_counters(tmp_path):
    pandas = pytest.importorskip("pandas")
    original = recording()
    folder = export_demonstrations(original.save(tmp_path / "demo.npz", half=False), "lerobot", tmp_path / "out")
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 50, 9)
    steps = pq.read_table(folder / info["data_path"].format(chunk_index=0, file_index=0))
    assert set(steps.column_names) == set(info["features"])
    assert steps["frame_index"].to_pylist() == [0, 1, 2, 3, 0, 1, 0, 1, 2]
    assert steps["next.done"].to_pylist() == [False] * 3 + [True, False, True, False, False, True]
    assert steps["timestamp"].to_pylist() == pytest.approx([0, 0.02, 0.04, 0.06, 0, 0.02, 0, 0.02, 0.04])
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["dataset_from_index"] == [0, 4, 6]
    assert episodes["dataset_to_index"] == [4, 6, 9]
    tasks = pandas.read_parquet(folder / "meta/tasks.parquet")  # LeRobot looks tasks up by the index
    assert tasks.loc["walk forward"].task_index == 0
    stats = json.loads((folder / "meta/stats.json").read_text())
    assert stats["next.reward"]["mean"] == pytest.approx([float(original.reward.mean())], rel=1e-5)


def test_foreign_data_need_a_task_that_fits(tmp_path):
    folder = export_demonstrations(recording().save(tmp_path / "demo.npz"), "lerobot", tmp_path / "out")
    (folder / "meta/mwl_manifest.json").unlink()  # as if somebody else had written it
    with pytest.raises(BadInput, match="--task"):
        import_demonstrations(folder, "lerobot")
    with pytest.raises(SpecMismatch, match="51 observations and 19 actions; h1-reach has 57"):
        import_demonstrations(folder, "lerobot", "h1-reach")
    data = import_demonstrations(folder, "lerobot", "h1-walk")
    assert data.manifest["demonstrator"] == "imported_lerobot"
    assert data.manifest["licence"] == "unknown"
    assert data.episode.unique().tolist() == [0, 1, 2]


def test_actions_out_of_range_are_refused(tmp_path):
    folder = lerobot(tmp_path)
    change_column(folder, "action", lambda values: 3 * values)
    with pytest.raises(SpecMismatch, match=r"outside \[-1, 1\]"):
        import_demonstrations(folder, "lerobot", "h1-walk")


@pytest.mark.parametrize(
    ("format", "name"),
    [("minari", "main_data.hdf5"), ("minari", "metadata.json"), ("lerobot", "data/chunk-000/file-000.parquet"),
     ("lerobot", "meta/info.json")],
)  # fmt: skip
def test_damaged_data_sets_are_refused(format, name, tmp_path):
    folder = export_demonstrations(recording().save(tmp_path / "demo.npz"), format, tmp_path / "out")
    file = folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CorruptFile, match=rf"{folder.name}(/|:)"):
        import_demonstrations(folder, format)


def test_bad_requests_are_refused(tmp_path):
    file = recording().save(tmp_path / "demo.npz")
    with pytest.raises(BadInput, match="unknown format"):
        export_demonstrations(file, "zarr", tmp_path / "out")
    (tmp_path / "there").mkdir()
    (tmp_path / "there/x").touch()
    with pytest.raises(BadInput, match="exists already; --force"):
        export_demonstrations(file, "minari", tmp_path / "there")
    export_demonstrations(file, "minari", tmp_path / "there", force=True)
    assert not (tmp_path / "there/x").exists()
    with pytest.raises(MissingFile):
        import_demonstrations(tmp_path / "none", "minari")
    with pytest.raises(MissingFile):
        export_demonstrations(tmp_path / "none.npz", "minari", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def lerobot(place: Path, task: str | None = None) -> Path:
    """A data set as somebody else has it: without this project's manifest."""
    folder = export_demonstrations(recording().save(place / "demo.npz", half=False), "lerobot", place / "set")
    (folder / "meta/mwl_manifest.json").unlink()
    change_features(folder, "skill", None)
    table = pq.read_table(next((folder / "data").glob("*/*.parquet")))
    write_table(folder, table.drop_columns(["skill"]))
    return folder


def write_table(folder: Path, table: Any) -> None:
    pq.write_table(table, next((folder / "data").glob("*/*.parquet")))


def change_table(folder: Path, change: Callable[[Any], Any]) -> None:
    write_table(folder, change(pq.read_table(next((folder / "data").glob("*/*.parquet")))))


def change_column(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    import pyarrow as pa

    table = pq.read_table(next((folder / "data").glob("*/*.parquet")))
    values = change(
        np.array(table[name].to_pylist()).astype(np.float32 if name in ("action", "timestamp") else np.int64)
    )
    column = (
        pa.array(values) if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])
    )
    write_table(folder, table.set_column(table.column_names.index(name), name, column))


def change_info(folder: Path, **entries: Any) -> None:
    info = json.loads((folder / "meta/info.json").read_text()) | entries
    (folder / "meta/info.json").write_text(json.dumps({key: value for key, value in info.items() if value is not ...}))


def change_features(folder: Path, column: str, feature: dict[str, Any] | None) -> None:
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    features[column] = {**features[column], **(feature or {})}
    change_info(folder, features={name: value for name, value in features.items() if feature or name != column})


def spoiled(values: np.ndarray, row: int, value: float) -> np.ndarray:
    values[row] = value
    return values


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: change_info(f, fps=30), "fps is 30"),
        (lambda f: change_info(f, fps=...), "fps is None"),
        (lambda f: change_info(f, robot_type="unitree_g1"), "robot_type is 'unitree_g1'"),
        (lambda f: change_info(f, robot_type=...), "robot_type is None"),
        (lambda f: change_info(f, total_episodes=4), "holds 3 of 4 episodes"),
        (lambda f: change_info(f, total_frames=10), "holds 9 of 10 steps"),
        (lambda f: change_info(f, features=[]), "no mapping"),
        (lambda f: change_features(f, "action", {"names": ["a"] * 19}), "names of action are not the benchmark's"),
        (lambda f: change_features(f, "action", {"names": list(JOINT_NAMES[1:])}), "names of action"),
        (lambda f: change_features(f, "action", {"names": None}), "names of action are missing"),
        (lambda f: change_features(f, "observation.state", {"names": ["x"] * 51}), "names of observation.state"),
        (lambda f: change_features(f, "action", {"shape": [18]}), "action has shape"),
        (lambda f: change_features(f, "action", {"dtype": "float64"}), "action holds float32"),
        (lambda f: change_column(f, "action", lambda a: spoiled(a, 4, np.nan)), "action is not finite at step 4"),
        (lambda f: change_column(f, "timestamp", lambda t: t * 50 / 30), "timestamps contradict"),
        (lambda f: change_column(f, "frame_index", lambda i: spoiled(i, 2, 1)), "episode 0 lacks frame 2"),
        (lambda f: change_column(f, "episode_index", lambda i: np.where(i == 2, 3, i)), "of 3 episodes"),
        (lambda f: change_column(f, "task_index", lambda i: spoiled(i, 8, 1)), "holds 2 tasks"),
        (lambda f: change_table(f, lambda table: table.slice(0, 8)), "holds 8 of 9 steps"),
        (lambda f: change_table(f, lambda table: table.drop_columns(["frame_index"])), "lacks frame_index"),
    ],
)  # fmt: skip
def test_data_sets_that_are_not_what_they_say_are_refused(change, match, tmp_path):
    folder = lerobot(tmp_path)
    assert_equal(import_demonstrations(folder, "lerobot", "h1-walk"), renumbered(recording()))
    change(folder)
    with pytest.raises(BadInput, match=match):
        import_demonstrations(folder, "lerobot", "h1-walk")


def renumbered(data: Demonstrations) -> Demonstrations:
    """As a data set without this project's manifest gives it back."""
    data.episode, data.skill = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2]), None
    return data


@pytest.mark.parametrize("what", ["rows", "joints", "observations"])
def test_rows_and_columns_in_another_order_are_refused_or_put_in_ours(what, tmp_path):
    folder, shuffled = lerobot(tmp_path), np.random.default_rng(0).permutation
    if what == "rows":
        change_table(folder, lambda table: table.take(shuffled(9)))
    elif what == "joints":
        order = shuffled(19)
        change_column(folder, "action", lambda values: values[:, order])
        change_features(folder, "action", {"names": {"motors": [f"{JOINT_NAMES[i]}.pos" for i in order]}})
    else:
        import pyarrow as pa

        order, features = shuffled(51), json.loads((folder / "meta/info.json").read_text())["features"]
        names = [features["observation.state"]["names"][i] for i in order]
        change_features(folder, "observation.state", {"names": names})
        values = recording().observation.numpy()[:, order]
        column = pa.FixedSizeListArray.from_arrays(values.ravel(), 51)
        name = "observation.state"
        change_table(folder, lambda table: table.set_column(table.column_names.index(name), name, column))
    with pytest.raises(SpecMismatch, match="--reorder"):
        import_demonstrations(folder, "lerobot", "h1-walk")
    assert_equal(import_demonstrations(folder, "lerobot", "h1-walk", reorder=True), renumbered(recording()))


def test_a_data_set_of_one_task_is_no_data_set_of_another(tmp_path):
    folder = export_demonstrations(recording().save(tmp_path / "demo.npz"), "lerobot", tmp_path / "out")
    with pytest.raises(SpecMismatch, match="was recorded on h1-walk"):
        import_demonstrations(folder, "lerobot", "h1-stand")


@pytest.mark.parametrize("name", ["walk set", "walk.v2", "läuft", "..a..", "stand-v3", "-v1", "a/b c"])
def test_minari_finds_what_is_named_as_one_of_its_own(name, tmp_path, monkeypatch):
    import minari
    from minari.dataset.minari_dataset import parse_dataset_id

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    file = recording().save("demo.npz", half=False)
    folder = export_demonstrations(file, "minari", Path("mwl") / name)  # relative, as users name them
    identifier = minari.MinariDataset(folder).id
    assert parse_dataset_id(identifier)[0] == "mwl"
    if name == "stand-v3":
        assert (identifier, minari.load_dataset(identifier).total_steps) == ("mwl/stand-v3", 9)
    assert_equal(import_demonstrations(Path("mwl") / name, "minari"), recording())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: spoil_hdf5(f, "observations", np.nan), "observation is not finite"),
        (lambda f: spoil_hdf5(f, "actions", np.inf), "action is not finite"),
        (lambda f: spoil_hdf5(f, "rewards", np.nan), "reward is not finite"),
        (lambda f: change_metadata(f, total_episodes=2), "holds 3 of 2 episodes"),
        (lambda f: change_metadata(f, total_steps=8), "holds 9 of 8 steps"),
        (lambda f: change_metadata(f, observation_space=None, env_spec="{}"), "does not say its observation_space"),
        (lambda f: change_metadata(f, mwl_manifest="[]"), "object"),
        (lambda f: change_metadata(f, mwl_manifest='{"task": "h1-walk", "episode_numbers": [1]}'), "3 of 1 episodes"),
        (lambda f: change_metadata(f, mwl_manifest='{"task": "h1-walk", "skills": ["run"]}'), "skills beyond the 1"),
    ],
)  # fmt: skip
def test_minari_data_that_are_not_sound_are_refused(change, match, tmp_path):
    folder = export_demonstrations(recording().save(tmp_path / "demo.npz", half=False), "minari", tmp_path / "out")
    change(folder)
    with pytest.raises(BadInput, match=match):
        import_demonstrations(folder, "minari")


def spoil_hdf5(folder: Path, name: str, value: float) -> None:
    import h5py

    with h5py.File(folder / "main_data.hdf5", "r+") as file:
        file["episode_1"][name][1] = value


def change_metadata(folder: Path, **entries: Any) -> None:
    file = folder / "metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def test_a_minari_file_may_not_point_elsewhere_or_fill_the_memory(tmp_path):
    import h5py

    folder = export_demonstrations(recording().save(tmp_path / "demo.npz", half=False), "minari", tmp_path / "out")
    with h5py.File(folder / "main_data.hdf5", "r+") as file:
        file.create_dataset("zeros", (10**10,), "f4", chunks=(10**6,), compression="gzip")
    with pytest.raises(CorruptFile, match="would unpack to 38"):
        import_demonstrations(folder, "minari")
    with h5py.File(folder / "main_data.hdf5", "r+") as file:
        del file["zeros"]
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = h5py.ExternalLink("other.hdf5", "x")
    with pytest.raises(CorruptFile, match="lies in another file"):
        import_demonstrations(folder, "minari")


def test_lerobot_itself_reads_it(tmp_path):
    lerobot_dataset = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="lerobot is not installed")
    original = recording()
    folder = export_demonstrations(original.save(tmp_path / "demo.npz", half=False), "lerobot", tmp_path / "out")
    dataset = lerobot_dataset.LeRobotDataset("mwl/test", root=folder)
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (3, 9, 50)
    step = dataset[5]
    torch.testing.assert_close(step["observation.state"], original.observation[5], rtol=0, atol=0)
    torch.testing.assert_close(step["action"], original.action[5], rtol=0, atol=0)
    assert step["task"] == "walk forward"
