"""Every configuration in conf/ fits the classes it names."""

from pathlib import Path

import pytest
import yaml

from mwl.pipeline.config import FitStage, load, stage_config
from mwl.pipeline.fit import resolved_config

CONF = Path(__file__).parents[1] / "conf"
STAGES = sorted(
    path
    for path in CONF.rglob("*.yaml")
    if path.name != "default.yaml" and "class_path" in path.read_text() and path.parent.name != "pipelines"
)
PIPELINES = sorted((CONF / "pipelines").glob("*.yaml"))


@pytest.mark.parametrize("path", STAGES, ids=lambda path: str(path.relative_to(CONF)))
def test_stage_configuration(path: Path) -> None:
    complete = resolved_config(["--config", str(path)])
    written = yaml.safe_load(path.read_text())
    assert complete["model"]["class_path"] == written["model"]["class_path"]
    assert complete["trainer"]["log_every_n_steps"] == 1, "default.yaml was not read"


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_pipeline_configuration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF.parent)
    pipeline, stages = load(path)
    for stage in stages.values():
        if isinstance(stage, FitStage):
            resolved_config(stage_config(stage, pipeline.folder), files=[path, Path(stage.config)])


def test_there_is_something_to_test() -> None:
    assert STAGES
    assert PIPELINES
