"""Every configuration in conf/ fits the classes it names."""

from pathlib import Path

import pytest
import yaml

from mwl.core.errors import ConfigError
from mwl.pipeline.config import FitStage, load, stage_config
from mwl.training.fit import resolved_config

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


@pytest.mark.parametrize("null", ["null", "~"])
def test_null_on_the_command_line_empties_a_setting_of_the_file(null: str) -> None:
    """Both a mapping, which the file fills, and a text, which could be taken for the word itself."""
    settings = "--model.init_args.guidance"
    file = ["--config", str(CONF / "world_model.yaml")]
    assert resolved_config(file)["model"]["init_args"]["guidance"]["semantic_weights"] == {"walk": 1.0}
    changes = [f"{settings}.gate", "runs/gate", f"{settings}.semantic_weights", null, f"{settings}.instruction={null}"]
    guidance = resolved_config([*file, *changes])["model"]["init_args"]["guidance"]
    assert guidance["gate"] == "runs/gate"
    assert guidance["semantic_weights"] is None
    assert guidance["instruction"] is None


def test_value_that_fits_none_of_several_types_is_told_with_its_key() -> None:
    file = str(CONF / "world_model.yaml")
    with pytest.raises(ConfigError) as caught:
        resolved_config(["--config", file, "--model.init_args.guidance.semantic_weights", "5"])
    message = str(caught.value)
    for part in ("guidance.semantic_weights", "dict[str, float]", "null", "Got value: 5"):
        assert part in message


def test_there_is_something_to_test() -> None:
    assert STAGES
    assert PIPELINES
