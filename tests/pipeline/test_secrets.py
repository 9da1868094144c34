"""No secret of the environment gets into a file, a log, the store or a message."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mwl.training.fit import fit

SECRETS = {"MWL_CHAT_KEY": "sk-hush-1", "MLFLOW_TRACKING_PASSWORD": "hush-2", "MLFLOW_TRACKING_TOKEN": "hush-3"}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def telling(place: Path) -> list[str]:
    """Files that hold a secret."""
    files = [path for path in place.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if b"hush" in path.read_bytes()]


def test_a_stage_that_is_logged(stage: Path, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(stage.read_text())
    config["trainer"]["logger"] = {"class_path": "mwl.experiments.logger.StageLogger"}
    stage.write_text(yaml.safe_dump(config))
    fit(["--config", str(stage), "--output", "runs/line"])
    assert not telling(place)
    assert "hush" not in "".join(capfd.readouterr())


def test_a_configuration_that_is_kept_holds_no_password(
    stage: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hush-4@127.0.0.1:9/x")
    config = yaml.safe_load(stage.read_text())
    config["trainer"]["default_root_dir"] = "https://me:hush-4@127.0.0.1:9/x"  # stands for the logger's address
    stage.write_text(yaml.safe_dump(config))
    fit(["--config", str(stage), "--output", "runs/line"])
    kept = (place / "runs" / "_work" / "line" / "config.yaml").read_text()
    assert "127.0.0.1:9/x" in kept
    assert "hush" not in kept


@pytest.mark.slow
def test_a_pipeline_whose_store_does_not_answer(
    mwl: Callable[..., "subprocess.CompletedProcess[str]"], stage: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hush-4@127.0.0.1:9")
    stages = {"line": {"kind": "fit", "config": "stage.yaml"}}
    (place / "pipeline.yaml").write_text(yaml.safe_dump({"name": "small", "stages": stages}))
    for debug in ("", "1"):
        monkeypatch.setenv("MWL_DEBUG", debug)
        done = mwl("run", "pipeline.yaml")
        assert done.returncode == 1
        assert "no server answers" in done.stderr
        assert "hush" not in done.stdout + done.stderr
    assert not telling(place / "runs")
