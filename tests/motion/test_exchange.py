"""Demonstrations go to other projects' formats and come back bit by bit; foreign data are checked."""

import json

import numpy as np
import pytest
import torch

from mwl.errors import BadInput, CorruptFile, MissingFile, SpecMismatch
from mwl.motion.commands import export_data, import_data
from mwl.motion.demonstrations import Demonstrations
from mwl.motion.exchange import FORMATS, export_demonstrations, import_demonstrations

pytest.importorskip("minari", reason="the datasets extra is not installed")
pytest.importorskip("h5py", reason="the datasets extra is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="the datasets extra is not installed")


def recording(*, full: bool = True) -> Demonstrations:
    """Three episodes of 4, 2 and 3 steps, numbered 0, 2 and 5: others were dropped."""
    generator = torch.Generator().manual_seed(0)
    episode = torch.tensor([0, 0, 0, 0, 2, 2, 5, 5, 5])
    manifest = {"task": "h1-walk", "demonstrator": "test", "recording_env_steps": 9, "licence": "MIT", "source": "x"}
    optional = {
        "command": torch.randn(9, 3, generator=generator),
        "executed_action": torch.rand(9, 19, generator=generator),
        "reward": torch.rand(9, generator=generator),
    }
    return Demonstrations(
        torch.randn(9, 51, generator=generator), 2 * torch.rand(9, 19, generator=generator) - 1, episode, manifest,
        **(optional if full else {}),
    )  # fmt: skip


def assert_equal(first: Demonstrations, second: Demonstrations) -> None:
    for name in ("observation", "action", "episode", "command", "executed_action", "reward"):
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
    data = recording()
    data.action *= 3
    folder = export_demonstrations(data.save(tmp_path / "demo.npz"), "minari", tmp_path / "out")
    with pytest.raises(SpecMismatch, match=r"outside \[-1, 1\]"):
        import_demonstrations(folder, "minari")


@pytest.mark.parametrize(
    ("format", "name"),
    [("minari", "main_data.hdf5"), ("minari", "metadata.json"), ("lerobot", "data/chunk-000/file-000.parquet"),
     ("lerobot", "meta/info.json")],
)  # fmt: skip
def test_damaged_data_sets_are_refused(format, name, tmp_path):
    folder = export_demonstrations(recording().save(tmp_path / "demo.npz"), format, tmp_path / "out")
    file = folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CorruptFile, match=str(folder)):
        import_demonstrations(folder, format)


def test_bad_requests_are_refused(tmp_path):
    file = recording().save(tmp_path / "demo.npz")
    with pytest.raises(BadInput, match="unknown format"):
        export_demonstrations(file, "zarr", tmp_path / "out")
    with pytest.raises(BadInput, match="exists"):
        export_demonstrations(file, "minari", tmp_path)
    with pytest.raises(MissingFile):
        import_demonstrations(tmp_path / "none", "minari")
    with pytest.raises(MissingFile):
        export_demonstrations(tmp_path / "none.npz", "minari", tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
