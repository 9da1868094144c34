"""Every kind of fault that `mwl doctor` is to find, made on purpose; each finding names a remedy."""

import importlib.metadata
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mwl.app.cli import main
from mwl.core.artifact import write_artifact
from mwl.doctor import Finding, installation, storage


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the default store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def wrong(check: Callable[[], Iterator[Finding]], *expected: str) -> Finding:
    """The one thing that a check finds wrong; it says what and what to do."""
    found = [finding for finding in check() if not finding.ok]
    assert len(found) == 1, found
    assert found[0].remedy
    for text in expected:
        assert text in found[0].state + found[0].remedy
    return found[0]


def right(check: Callable[[], Iterator[Finding]]) -> None:
    assert all(finding.ok for finding in check())


def agent(folder: str) -> Path:
    checkpoint = {"hyper_parameters": {}, "state_dict": {"w": torch.zeros(1)}}
    return write_artifact(folder, stage="expert", name="walk", checkpoint=checkpoint, robot="unitree_h1")


def test_a_broken_store() -> None:
    right(storage.mlflow_store)
    Path("mlflow").mkdir()
    with sqlite3.connect("mlflow/mlflow.db") as database:
        database.execute("CREATE TABLE experiments (name TEXT)")
    wrong(storage.mlflow_store, "broken off", "mv mlflow/mlflow.db")
    Path("mlflow/mlflow.db").write_bytes(b"no database" * 100)
    wrong(storage.mlflow_store, "no SQLite database")


def test_a_store_that_no_server_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("http://me:hunter2@127.0.0.1:9", "./mlruns"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert "hunter2" not in wrong(storage.mlflow_store, "MLFLOW_TRACKING_URI").state


@pytest.mark.parametrize("folder", ["runs", "data"])
def test_unsound_and_foreign_manifests(folder: str) -> None:
    check = getattr(storage, folder)
    agent(f"{folder}/sound")
    right(check)
    damaged = agent(f"{folder}/damaged")
    (damaged / "model.ckpt").write_bytes(b"other")
    wrong(check, "damaged", "sha256")
    shutil.rmtree(damaged)
    foreign = Path(folder) / "deep" / "foreign"
    foreign.mkdir(parents=True)
    for content in ('{"name": "a web app"}', "[]", "[" * 100_000, '{"files": 3}', "\x00"):
        (foreign / "manifest.json").write_text(content)
        wrong(check, "foreign")
    shutil.rmtree(foreign)
    right(check)


def test_a_damaged_recording() -> None:
    Path("data").mkdir()
    Path("data/walk.npz").write_bytes(b"damaged")
    Path("data/walk.json").write_text(json.dumps({"sha256": "0" * 64}))
    wrong(storage.data, "walk.npz", "git checkout")


def test_what_a_kill_left() -> None:
    agent("runs/demo/walk")
    right(storage.left_over_files)
    Path("runs/demo/.walk.ab12_c9z").mkdir()
    wrong(storage.left_over_files, ".walk.ab12_c9z", "rm -r")
    shutil.rmtree("runs/demo/.walk.ab12_c9z")
    Path("runs/demo/.follow.x1y2z3a4.part.json").touch()
    wrong(storage.left_over_files, ".part.json")


def test_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    wrong(storage.disk_space, "free some", "TMPDIR")


@pytest.mark.parametrize("value", ["many", "0", "-2", "999"])
def test_threads_that_do_not_fit(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    right(installation.threads)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    wrong(installation.threads, value, "OMP_NUM_THREADS=1")


def test_fewer_cores_than_the_machine_has_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(installation, "cpu_cores", lambda: torch.get_num_threads())
    (finding,) = installation.threads()
    assert finding.ok
    assert "of 64 cores" in finding.state
    assert finding.remedy


def test_a_torchvision_made_for_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    right(installation.torch_pair)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numpy", "torch (==2.9.0)"])
    wrong(installation.torch_pair, "made for torch 2.9.0", "pip install")


def test_a_torchvision_that_can_not_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(f"{name}: undefined symbol")

    monkeypatch.setattr(installation.importlib, "import_module", fail)
    wrong(installation.torch_pair, "undefined symbol", "pip install")


def test_a_missing_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    right(installation.renderer)
    monkeypatch.setenv("MWL_RENDERER", "vulkan")
    wrong(installation.renderer, "vulkan", "MWL_RENDERER")
    monkeypatch.setenv("MWL_RENDERER", "osmesa")
    monkeypatch.setattr("mwl.simulation.rendering.renderer.works", lambda _: False)
    wrong(installation.renderer, "osmesa", "unset MWL_RENDERER")


def test_a_missing_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    right(installation.films)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_version", lambda: (_ for _ in ()).throw(RuntimeError("No ffmpeg")))
    wrong(installation.films, "No ffmpeg", "imageio-ffmpeg")


def test_the_exit_code_says_that_something_is_wrong(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mwl.doctor._CHECKS", (storage.mlflow_store, storage.runs))
    assert main(["doctor", "--json"]) == 0
    Path("runs/[red]").mkdir(parents=True)
    Path("runs/[red]/manifest.json").write_text("{}")
    capfd.readouterr()
    assert main(["doctor"]) == 1
    assert "runs/[red]" in capfd.readouterr().out, "names are printed as they are"
