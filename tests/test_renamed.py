"""Former names in files: configurations, command lines, manifests and checkpoints with them mean what they meant."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import in_child

from mwl._moved import RENAMED
from mwl._renamed import KEYS, present_keys, present_option
from mwl.core.artifact import read_checkpoint, read_manifest, write_artifact
from mwl.core.errors import ConfigError
from mwl.teachers.train import read_teacher_config
from mwl.training.constants import without_constants
from mwl.training.stage_cli import resolved_config
from mwl.world_model import GuidanceConfig

FINE_TUNING = {
    "model": {
        "class_path": "mwl.experts.practice.Practice",
        "init_args": {"expert": "data/experts/stand", "ppo": {"rollout_steps": 8}},
    },
    "data": {
        "class_path": "mwl.experts.practice.PracticeData",
        "init_args": {"env_steps": 64, "num_envs": 4, "episodes": {"kick_std": 0.3}},
    },
}


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


def test_keys_are_translated_at_any_depth_and_values_stay() -> None:
    assert present_keys({"a": [{"kick_std": {"kick_interval": "kick_std"}}]}) == {
        "a": [{"push_std": {"push_interval": "kick_std"}}]
    }


def test_a_former_name_beside_the_present_one_is_left_to_be_refused() -> None:
    assert present_keys({"kick_std": 1, "push_std": 2}) == {"kick_std": 1, "push_std": 2}


def test_no_present_name_is_a_former_one() -> None:
    assert not set(KEYS) & set(KEYS.values())


def test_an_old_stage_configuration_is_that_of_the_present_names(tmp_path: Path) -> None:
    file = tmp_path / "stage.yaml"
    file.write_text(yaml.safe_dump(FINE_TUNING))
    config = resolved_config(["--config", str(file), "--data.init_args.episodes.kick_interval=3.0"])
    assert config["data"]["init_args"]["episodes"]["push_std"] == 0.3
    assert config["data"]["init_args"]["episodes"]["push_interval"] == 3.0
    assert resolved_config(FINE_TUNING)["data"]["init_args"]["episodes"]["push_std"] == 0.3
    assert not _keys(config) & set(KEYS)


def test_a_mistake_under_a_former_name_is_found_in_its_line(tmp_path: Path) -> None:
    file = tmp_path / "stage.yaml"
    file.write_text(yaml.safe_dump(FINE_TUNING).replace("kick_std: 0.3", "kick_std: much"))
    with pytest.raises(ConfigError, match=r"stage.yaml:\d+: .*push_std"):
        resolved_config(["--config", str(file)])


def test_an_option_keeps_its_value() -> None:
    assert present_option("--a.kick_std=kick_std") == "--a.push_std=kick_std"
    assert present_option("kick_std") == "kick_std"


def test_an_old_teacher_configuration_loads(tmp_path: Path) -> None:
    file = tmp_path / "teacher.yaml"
    file.write_text("teacher: {name: walk, cycle: data/motion/walk.json, tracking: {kick_std: 0.2}}")
    assert read_teacher_config(file).tracking.push_std == 0.2


def test_an_old_manifest_and_checkpoint_read_by_the_present_names(tmp_path: Path) -> None:
    folder = write_artifact(
        tmp_path / "a", stage="expert", name="a", checkpoint={"kick_std": 1}, metrics={"kick_std": 2}
    )
    assert json.loads((folder / "manifest.json").read_text())["metrics"] == {"kick_std": 2}
    assert read_manifest(folder)["metrics"] == {"push_std": 2}
    assert read_checkpoint(folder) == {"push_std": 1}


CONSTANTS = {
    "mwl.world_model.module.WorldModelModule": {"learning": {"grad_clip": 20.0}, "planner": {"min_std": 0.05}},
    "mwl.selection.module.GateModule": {"experts": "data/experts", "entropy_floor": 0.1},
    "mwl.experts.finetuning.posture.Posture": {"expert": "a", "posture": {"steps": 400, "first_rounds": 2}},
}


@pytest.mark.parametrize("path", CONSTANTS)
def test_what_is_a_constant_by_now_may_still_be_given_its_value(path: str, tmp_path: Path) -> None:
    data = {"class_path": "mwl.selection.data.GateData", "init_args": {"demonstrations": {"stand": []}}}
    config = {"model": {"class_path": path, "init_args": CONSTANTS[path]}, "data": data}
    file = tmp_path / "stage.yaml"
    file.write_text(yaml.safe_dump(config))
    for found in (resolved_config(config), resolved_config(["--config", str(file)])):
        assert not _keys(found) & {"grad_clip", "min_std", "entropy_floor", "first_rounds"}
    name = next(name for name in ("grad_clip", "entropy_floor", "first_rounds") if name in file.read_text())
    file.write_text(file.read_text().replace(f"{name}: ", f"{name}: 3"))
    with pytest.raises(ConfigError, match=f"stage.yaml: {name} is 3.*; it is no setting any more, but fixed"):
        resolved_config(["--config", str(file)])


def test_a_constant_of_several_numbers_is_refused_one() -> None:
    assert without_constants(GuidanceConfig, {"warm_start_noise": [0.0, 0.02, 0.05, 0.1]}, "x.yaml") == {}
    with pytest.raises(ConfigError, match=r"x\.yaml: warm_start_noise is 0\.1; it is no setting any more"):
        without_constants(GuidanceConfig, {"warm_start_noise": 0.1}, "x.yaml")


@pytest.mark.parametrize("folder", sorted(Path("data").glob("*/*/manifest.json")), ids=lambda file: file.parent.name)
def test_what_ships_has_present_names_alone_once_read(folder: Path) -> None:
    assert not _keys(read_manifest(folder.parent, files=False)) & set(KEYS)


@pytest.mark.parametrize("module", sorted(RENAMED))
def test_former_names_import(module: str) -> None:

    found = import_module(f"mwl.{module}")
    for former, name in RENAMED[module].items():
        home, _, own = name.rpartition(".")
        assert getattr(found, former) is getattr(import_module(f"mwl.{home}") if home else found, own)


@pytest.mark.parametrize("first", ["mwl.datasets.demonstrations", "mwl.datasets.recording"])
def test_what_went_to_another_module_imports_from_the_former_one_whichever_comes_first(
    first: str, tmp_path: Path
) -> None:
    def afresh() -> bool:
        for name in [name for name in sys.modules if name.startswith("mwl.datasets")]:
            del sys.modules[name]
        import_module(first)
        return import_module("mwl.datasets.demonstrations").RecordingConfig.__module__ != "mwl.datasets.recording"

    assert in_child(afresh, tmp_path / "log") == 0


def test_a_name_that_never_was_is_still_missing_from_a_module_with_former_names() -> None:
    from mwl.datasets import demonstrations

    with pytest.raises(AttributeError, match="no attribute 'NeverThere'"):
        _ = demonstrations.NeverThere
