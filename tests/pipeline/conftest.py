"""A small repository of toy stages in a temporary folder, with an MLflow store of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
sys.path.append(str(HERE))
LINE = {"class_path": "toy.Line", "init_args": {"lr": 0.05}}
ROUNDS = {"class_path": "toy.Rounds", "init_args": {"rounds": 20}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, where child processes can import `toy` as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.fixture
def stage(place: Path) -> Path:
    """A stage's configuration file."""
    trainer = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "log_every_n_steps": 1}
    path = place / "stage.yaml"
    path.write_text(yaml.safe_dump({"seed_everything": 1, "model": LINE, "data": ROUNDS, "trainer": trainer}))
    return path


@pytest.fixture
def mwl(place: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command in a process of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mwl", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=place, env=os.environ, timeout=300)

    return run
