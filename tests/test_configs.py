"""Every configuration in conf/ fits the classes it names."""

import re
from dataclasses import is_dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from mwl.core.errors import ConfigError
from mwl.demonstrators.registry import DemonstrationConfig, load_demonstration_config
from mwl.pipeline.config import KINDS, FitStage, Pipeline, load, stage_config
from mwl.teachers.train import Config as Teacher
from mwl.teachers.train import read_teacher_config
from mwl.training.schedule import read_part, split
from mwl.training.stage_cli import resolved_config

CONF = Path(__file__).parents[1] / "conf"
FILES = sorted(file for file in CONF.rglob("*.yaml") if file.name != "default.yaml" and file.parent.name != "pipelines")


def addresses(file: Path) -> list[str]:
    """A file, or the parts of its schedule, and its variants."""
    content = yaml.safe_load(file.read_text())
    names = [f"#{name}" for name in [*content.get("schedule", {}), *content.get("variants", {})]]
    return [f"{file.relative_to(CONF.parent)}{name}" for name in ([] if "schedule" in content else [""]) + names]


ADDRESSES = [address for file in FILES for address in addresses(file)]
STAGES = [address for address in ADDRESSES if "model" in read_part(CONF.parent / address)]
PIPELINES = sorted((CONF / "pipelines").glob("*.yaml"))


@pytest.mark.parametrize("address", STAGES)
def test_stage_configuration(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF.parent)
    complete = resolved_config(["--config", address])
    assert complete["model"]["class_path"] == read_part(address)["model"]["class_path"]
    assert complete["trainer"]["log_every_n_steps"] == 1, "default.yaml was not read"


@pytest.mark.parametrize("address", [name for name in ADDRESSES if name.split("/")[1] in ("teachers", "demonstrators")])
def test_teacher_or_demonstrator(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF.parent)
    (load_demonstration_config if "demonstrators" in address else read_teacher_config)(address)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_a_configuration_names_is_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF.parent)
    for address in re.findall(r"(?:conf|data)/[\w./#]*\w", file.read_text()):
        assert read_part(address) if address.startswith("conf") else Path(address).exists(), address


def test_there_are_few_configurations() -> None:
    assert len(list(CONF.rglob("*.yaml"))) <= 32


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_pipeline_configuration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF.parent)
    pipeline, stages = load(path)
    different = {}
    for stage in stages.values():
        if isinstance(stage, FitStage):
            config = stage_config(stage, pipeline.folder)
            different[re.sub(r"'seed(_everything)?': \d+|_s\d+", "", str(config))] = config, stage.config
    for config, file in different.values():
        resolved_config(config, files=[path, split(file)[0]])


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


def settings_of(kind: type, found: dict[type, list[str]]) -> dict[type, list[str]]:
    """Settings by class: of one that a configuration names, and of every dataclass that these hold or extend."""
    if kind not in found:
        entry = kind if is_dataclass(kind) else kind.__init__
        found[kind] = [name for name in signature(kind).parameters if name not in ("args", "kwargs")]
        for name in found[kind]:
            for inner in within(get_type_hints(entry).get(name)):
                settings_of(inner, found)
        for base in filter(is_dataclass, kind.__mro__[1:]):
            inherited = settings_of(base, found)[base]
            found[kind] = [name for name in found[kind] if name not in inherited]
    return found


def within(hint: object) -> list[type]:
    """Dataclasses in a type."""
    if isinstance(hint, type) and is_dataclass(hint):
        return [hint]
    return [inner for argument in get_args(hint) for inner in within(argument)]


def test_there_are_no_more_settings_than_there_were() -> None:
    """What nobody sets is a constant; who adds a setting looks for one that can go."""
    text = "".join(file.read_text() for file in CONF.rglob("*.yaml"))
    paths = set(re.findall(r"class_path: (mwl\.[\w.]+)", text))
    kinds = [getattr(import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in sorted(paths)]
    found: dict[type, list[str]] = {}
    for kind in (
        *kinds,
        DemonstrationConfig,
        *get_args(Teacher),
        Pipeline,
        *KINDS.values(),
    ):
        settings_of(kind, found)
    own = sum(len(names) for kind, names in found.items() if is_dataclass(kind))
    assert own <= 340  # 19 of them of the baselines, 7 of where stages run, 10 of grids
    assert sum(map(len, found.values())) <= 455


def test_there_is_something_to_test() -> None:
    assert STAGES
    assert PIPELINES
