"""Files of several parts: what a part holds, and that each is fitted, skipped and resumed by itself."""

from pathlib import Path

import pytest
import yaml

from mwl.core.artifact import read_checkpoint
from mwl.core.errors import ConfigError
from mwl.pipeline.config import FitStage, dependencies, load, stage_config
from mwl.training.fit import fit
from mwl.training.schedule import part_of, parts, read_part

SCHEDULE = {
    "first": {},
    "on": {"model": {"init_args": {"upstream": "${before}"}}},
    "aside": {"model": {"init_args": {"lr": 0.01}}},
    "last": {"from": "on", "data": {"init_args": {"rounds": 5}}},
}


@pytest.fixture
def scheduled(stage: Path) -> Path:
    stage.write_text(yaml.safe_dump({**yaml.safe_load(stage.read_text()), "schedule": SCHEDULE}, sort_keys=False))
    return stage


def weight(folder: str) -> float:
    return float(read_checkpoint(folder)["state_dict"]["weight"])


def test_a_part_changes_what_it_goes_on_from() -> None:
    one, other = (
        {"class_path": "a.One", "init_args": {"x": 1, "y": 2}},
        {"class_path": "a.Other", "init_args": {"z": 3}},
    )
    content = {
        "model": one,
        "schedule": {"first": None, "set_back": {"model": {"init_args": {"y": None}}}, "other": {"model": other}},
    }
    found = parts(content, "file")
    assert [part.before for part in found.values()] == [None, "first", "set_back"]
    assert found["first"].content == {"model": one}
    assert found["set_back"].content["model"]["init_args"] == {"x": 1}
    assert found["other"].content["model"] == other  # what the first class takes is none of its own


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"a": {"from": "b"}, "b": {}}, "goes on from 'b'"),
        ({"a": 3}, "section"),
        (["a"], "section"),
        ({"abc": {}}, "'ab'.*'abc'"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedule: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        part_of({"schedule": schedule}, "ab", "file")


def test_parts_are_fitted_one_after_the_other_and_finished_ones_passed_over(scheduled: Path) -> None:
    told = ["--config", str(scheduled), "--output", "runs/line", "--model.init_args.upstream=null"]
    assert fit(told) == Path("runs/line")
    # 20 rounds each from where the part before ends, then 5 from where `on` ends: `aside` is on no way to it
    distances = [abs(weight(f"runs/line{part}") - 2) for part in (".first", ".on", "")]
    assert distances == sorted(distances, reverse=True)
    before = weight("runs/line.aside")
    made = Path("runs/line.first/model.ckpt").stat().st_mtime_ns
    assert fit([*told, "--resume", "--force", "--model.init_args.lr", "0.2"]) == Path("runs/line")
    assert Path("runs/line.first/model.ckpt").stat().st_mtime_ns == made
    assert weight("runs/line.aside") == before


def test_a_part_can_be_fitted_by_itself(scheduled: Path) -> None:
    fit(["--config", f"{scheduled}#first", "--output", "runs/line.first"])
    fit([f"--config={scheduled}#on", "--output", "runs/line.on"])
    assert abs(weight("runs/line.on") - 2) < abs(weight("runs/line.first") - 2)


def test_a_pipeline_has_a_stage_for_each_part(scheduled: Path, tmp_path: Path) -> None:
    overrides = {"model": {"init_args": {"lr": 0.2}}, "schedule": {"last": {"data": {"init_args": {"rounds": 6}}}}}
    stage = {"kind": "fit", "config": scheduled.name, "overrides": overrides}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump({"name": "toy", "stages": {"line": stage}}))
    pipeline, stages = load(tmp_path / "toy.yaml")
    assert list(stages) == ["line.first", "line.on", "line.aside", "line"]
    assert [dependencies(stage) for stage in stages.values()] == [set(), {"line.first"}, {"line.on"}, {"line.on"}]
    told = [stage_config(stage, pipeline.folder) for stage in stages.values() if isinstance(stage, FitStage)]
    rates, rounds = (
        [config[key]["init_args"][name] for config in told] for key, name in (("model", "lr"), ("data", "rounds"))
    )
    assert (rates, rounds) == ([0.2] * 4, [20, 20, 20, 6])
    assert told[-1]["model"]["init_args"]["upstream"] == "runs/toy/line.on"


def test_variants_differ_from_the_file_in_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("kind: stand\nrecording: {steps: 5}\nvariants: {long: {recording: {steps: 9}}}\n")
    assert read_part(tmp_path / "x.yaml") == {"kind": "stand", "recording": {"steps": 5}}
    assert read_part(f"{tmp_path}/x.yaml#long") == {"kind": "stand", "recording": {"steps": 9}}
