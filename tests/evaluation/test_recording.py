"""An evaluation is worth more than its store and its film: it is printed and written whatever becomes of those."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mwl.app.cli import main
from mwl.core.errors import WriteFailed
from mwl.evaluation import run as room
from mwl.evaluation.agents import NamedAgent
from mwl.evaluation.record import Record
from mwl.experiments import tracking
from mwl.simulation import HumanoidEnv
from mwl.simulation.rendering.films import Film


class Still:
    """Holds every joint in the middle of its range."""

    last = None

    def reset(self, done: torch.Tensor | None = None) -> None: ...

    def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
        return torch.zeros(len(observation), 19)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An agent that needs no files, on an episode of ten steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(room, "resolve", lambda *_: NamedAgent(Still(), "a/b", "x"))  # type: ignore[arg-type]
    monkeypatch.setattr(room, "FILM", {"every": 5, "size": (32, 24), "max_steps": 10})
    make = room.make_env

    def short(*arguments: Any) -> HumanoidEnv:
        env = make(*arguments)
        env.world.task = replace(env.task, max_episode_steps=10)
        return env

    monkeypatch.setattr(room, "make_env", short)
    return tmp_path


EVALUATE = ["evaluate", "--task", "h1-stand", "--agent", "class:x.Still", "--episodes", "2", "--json"]


def broken_store(kind: str, place: Path) -> str:
    """Address of a store that can't take a run."""
    file = place / "store.db"
    if kind == "nonsense":
        return "./mlruns"
    if kind == "nobody there":
        return "http://127.0.0.1:9"
    if kind == "no database":
        file.write_bytes(b"hello" * 100)
    if kind == "folder":
        file.mkdir()
    if kind == "foreign":
        with sqlite3.connect(file) as database:
            database.execute("CREATE TABLE recipes (name TEXT)")
    if kind == "half made":
        with sqlite3.connect(file) as database:
            database.execute("CREATE TABLE experiments (name TEXT)")
    return f"sqlite:///{file}"


@pytest.mark.parametrize("kind", ["nonsense", "nobody there", "no database", "folder", "foreign", "half made"])
def test_figures_are_printed_and_written_whatever_the_store_says(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path, kind: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", broken_store(kind, place))
    for name in ("h1-stand_a_b", "h1-stand_a_b_2"):  # nothing that exists is overwritten
        assert main(EVALUATE) == 0
        shown = capfd.readouterr()
        figures = json.loads(shown.out)
        assert len(figures["returns"]) == 2
        before, after = shown.err.strip().splitlines()
        assert "goes on without MLflow" in before
        assert f"runs/evaluations/{name}.json" in after
        assert Record.read(place / "runs" / "evaluations" / f"{name}.json").returns == figures["returns"]
        assert (place / "runs" / "evaluations" / f"{name}.mp4").is_file(), "the film that was for MLflow"


def test_a_store_that_fails_after_the_episodes_costs_nothing_either(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setattr(tracking, "trouble", lambda: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", broken_store("folder", place))
    (place / "runs").write_text("in the way of the folder for records")
    assert main(EVALUATE) == 0
    shown = capfd.readouterr()
    assert len(json.loads(shown.out)["returns"]) == 2
    assert "no file could be written" in shown.err


def test_bad_input_is_told_before_the_store_is_touched(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/store/mlflow.db")
    assert main([*EVALUATE, "--seed", "-1"]) == 2
    assert not list(place.iterdir())


def test_a_film_that_fails_costs_no_figures(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    def full(self: Film, picture: object) -> None:
        raise WriteFailed("film.mp4: no space left on device")

    monkeypatch.setattr(Film, "add", full)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", broken_store("nonsense", place))
    assert main([*EVALUATE, "--video", "film.mp4"]) == 1
    shown = capfd.readouterr()
    assert len(json.loads(shown.out)["returns"]) == 2
    assert shown.err.strip().endswith("no space left on device")
    assert not (place / "film.mp4").exists()
