"""Pipelines: order, references, skipping, resuming after the hardest kill, and refusal of bad configurations."""

import json
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import in_child
from rich.console import Console

from mwl.app.cli import main
from mwl.core.artifact import read_checkpoint
from mwl.core.errors import BadInput, ConfigError, StageFailed
from mwl.pipeline.config import dependencies, load, merge, references, stage_config, substitute
from mwl.pipeline.display import Display
from mwl.pipeline.fingerprint import code_version, folder_digest
from mwl.pipeline.runner import run_pipeline
from mwl.pipeline.worker import PROGRESS
from mwl.training.callbacks import write_progress
from mwl.training.lock import held
from mwl.training.resume import LAST

LOOK = {"kind": "evaluate", "task": "h1-stand", "agent": "${first}"}
FILM = {"kind": "follow", "instruction": "walk", "semantic": "embedded", "agents": {"walk": "${first}"}}
STAGES: dict[str, Any] = {
    "first": {"kind": "fit", "config": "stage.yaml"},
    "second": {"kind": "fit", "config": "stage.yaml", "overrides": {"model": {"init_args": {"upstream": "${first}"}}}},
}


@pytest.fixture
def pipeline(stage: Path) -> Path:
    path = stage.parent / "toy.yaml"
    path.write_text(yaml.safe_dump({"name": "toy", "max_parallel": 1, "stages": STAGES}))
    return path


def weight(folder: Path) -> float:
    return float(read_checkpoint(folder)["state_dict"]["weight"])


def test_stages_run_in_order_and_are_skipped_when_unchanged(pipeline: Path) -> None:
    first = run_pipeline(pipeline)
    assert (first.ran, first.skipped) == (["first", "second"], [])
    # the second stage starts where the first ended (about 1.76) and so comes nearer to 2
    assert abs(weight(Path("runs/toy/second")) - 2) < abs(weight(Path("runs/toy/first")) - 2)
    again = run_pipeline(pipeline)
    assert (again.ran, again.skipped) == ([], ["first", "second"])
    changed = run_pipeline(pipeline, ["stages.second.overrides.model.init_args.lr=0.01"])
    assert (changed.ran, changed.skipped) == (["second"], ["first"])


def test_killed_stage_goes_on_and_ends_the_same_way(pipeline: Path) -> None:
    run_pipeline(pipeline, ["output=runs/whole"])
    killing = [f"stages.first.overrides.{change}" for change in ("checkpoint_every_s=0", "model.init_args.kill_at=11")]
    with pytest.raises(StageFailed, match="'first'"):
        run_pipeline(pipeline, killing)
    assert not Path("runs/toy/first").exists()
    shown = StringIO()
    run_pipeline(pipeline, killing, Console(file=shown))
    assert "goes on from its last checkpoint" in shown.getvalue()
    for stage in ("first", "second"):
        assert weight(Path(f"runs/toy/{stage}")) == weight(Path(f"runs/whole/{stage}"))


@pytest.mark.long
def test_killed_pipeline_takes_its_stages_along_and_goes_on(pipeline: Path, place: Path) -> None:
    """A stage kills the pipeline that runs it and waits for ever: nobody must be left to write the folder."""
    changes = ("checkpoint_every_s=0", "model.class_path=toy.KillsDriver", "model.init_args.kill_at=9")
    killing = [f"stages.first.overrides.{change}" for change in changes]
    command = ["run", "toy.yaml", *(part for change in killing for part in ("--set", change))]
    assert in_child(lambda: main(command), place / "log") == -signal.SIGKILL
    assert not Path("runs/toy/first").exists()
    shown = StringIO()
    run_pipeline(pipeline, killing, Console(file=shown))
    assert "goes on from its last checkpoint" in shown.getvalue()


def test_a_damaged_result_is_made_again(pipeline: Path) -> None:
    run_pipeline(pipeline)
    (Path("runs/toy/first") / "model.ckpt").write_bytes(b"damaged")
    again = run_pipeline(pipeline)
    # the same bits come out again, so the stage after it need not run
    assert (again.ran, again.skipped) == (["first"], ["second"])


def test_failing_stage_is_told_with_its_log(pipeline: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "toy.yaml", "--set", "stages.second.overrides.model.init_args.upstream=nowhere"]) == 1
    shown = capfd.readouterr().err
    last = shown.strip().splitlines()[-1]
    assert "'second'" in last
    assert "nowhere" in last
    assert "log.txt" in last
    assert "Traceback" not in shown
    assert Path("runs/toy/first/model.ckpt").is_file(), "what was finished stays finished"
    report = Path("runs/toy/report.html").read_text(encoding="utf-8")
    assert "Not finished." in report
    assert "1 finished, 1 failed" in report


def test_what_does_not_need_a_failed_stage_is_carried_out(pipeline: Path) -> None:
    """The first fails, so the second cannot be; the third has nothing to do with them."""
    content = yaml.safe_load(pipeline.read_text())
    content["stages"]["third"] = {**STAGES["first"], "overrides": {"seed_everything": 3}}
    pipeline.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(StageFailed, match=r"'first' failed.*nowhere"):
        run_pipeline(pipeline, ["stages.first.overrides.model.init_args.upstream=nowhere"])
    assert Path("runs/toy/third/model.ckpt").is_file()
    assert not Path("runs/toy/_work/second").exists()


def edit(pipeline: Path, change: dict[str, Any]) -> Path:
    pipeline.write_text(yaml.safe_dump(merge(yaml.safe_load(pipeline.read_text()), change)))
    return pipeline


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_paralel": 2}, ["toy.yaml:", "'max_paralel'", "'max_parallel'"]),
        ({"max_parallel": "two"}, ["toy.yaml", "max_parallel"]),
        ({"stages": {"first": {"confg": "x"}}}, ["toy.yaml:", "'confg'", "'config'", "'first'"]),
        ({"stages": {"first": {"kind": "fitt"}}}, ["'fitt'", "evaluate"]),
        ({"stages": {"first": {"kind": ["fit"]}}}, ["toy.yaml:", "'first'", "['fit']"]),
        ({"stages": {"first": {"overrides": None}}}, ["toy.yaml:", "'first'", "`overrides` "]),
        ({"stages": {"first": {"overrides": {"trainer": None}}}}, ["stage.yaml", "`trainer` is empty"]),
        ({"stages": {"first": None}}, ["toy.yaml:", "'first' is empty"]),
        ({"stages": None}, ["toy.yaml:", "`stages` is empty"]),
        ({"stages": {1: {"kind": "fit", "config": "stage.yaml"}}}, ["toy.yaml", "1 is read as no text", "quotes"]),
        ({"stages": {False: {"kind": "fit", "config": "stage.yaml"}}}, ["toy.yaml", "False is read as no text"]),
        ({"stages": {"first": {False: 3}}}, ["toy.yaml:", "False", "'first'", "quotes"]),
        ({3: 4}, ["toy.yaml", "3 is read as no text"]),
        ({"max_parallel": -1}, ["toy.yaml:", "'max_parallel'", "-1"]),
        ({"stages": {"look": {**LOOK, "task": "h1-stnad"}}}, ["toy.yaml:", "'look'", "h1-stnad"]),
        ({"stages": {"look": {**LOOK, "task": "gym:NoSuch-v0"}}}, ["toy.yaml:", "'look'", "NoSuch"]),
        ({"stages": {"look": {**LOOK, "suite": "none"}}}, ["'look'", "none", "humanoid_bench"]),
        ({"stages": {"look": {**LOOK, "agent": "expert:nobody"}}}, ["'look'", "nobody"]),
        ({"stages": {"look": {**LOOK, "agent": "agent:nobody"}}}, ["'look'", "nobody"]),
        ({"stages": {"look": {**LOOK, "agent": "runs/nothing"}}}, ["'look'", "runs/nothing"]),
        ({"stages": {"look": {**LOOK, "agent": "run:0123"}}}, ["'look'", "0123"]),
        ({"stages": {"look": {**LOOK, "episodes": -3}}}, ["toy.yaml:", "'episodes'", "-3", "'look'"]),
        ({"stages": {"look": {**LOOK, "seed": -1}}}, ["toy.yaml:", "'seed'", "-1", "'look'"]),
        ({"stages": {"look": LOOK, "all": {"kind": "compare", "evaluations": ["${first}"]}}}, ["'all'", "${first}"]),
        ({"stages": {"all": {"kind": "compare", "evaluations": ["runs/nothing"]}}}, ["'all'", "runs/nothing"]),
        ({"stages": {"all": {"kind": "compare", "evaluations": []}}}, ["'all'", "empty"]),
        ({"stages": {"film": {**FILM, "task": "h1-wlak"}}}, ["'film'", "h1-wlak"]),
        ({"stages": {"film": {**FILM, "agents": {"walk": "expert:nobody"}}}}, ["'film'", "nobody"]),
        ({"stages": {"film": {**FILM, "semantic": "runs/nothing"}}}, ["'film'", "runs/nothing"]),
        ({"stages": {"n" * 250: LOOK}}, ["longer than"]),
        ({"stages": {"first": {"config": "no.yaml"}}}, ["no.yaml"]),
        ({"stages": {"first": {"overrides": {"model": {"init_args": {"lrr": 1}}}}}}, ["toy.yaml:", "'lrr'", "'lr'"]),
        ({"stages": {"first": {"overrides": {"model": {"init_args": {"upstream": "${frist}"}}}}}}, ["frist", "first"]),
        ({"stages": {"first": {"overrides": {"model": {"init_args": {"upstream": "${second}"}}}}}}, ["circle"]),
    ],
)
def test_bad_pipeline_is_refused_before_anything_is_written(
    pipeline: Path, change: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # MissingFile or ConfigError, both with exit code 2
        run_pipeline(edit(pipeline, change))
    assert getattr(caught.value, "exit_code", None) == 2
    assert "\n" not in str(caught.value)
    for part in told:
        assert part in str(caught.value)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "assignment", ["max_parallel", "stages.frist.config=x", "name.x=1", "max_parallel=[1", "nonsense=3"]
)
def test_bad_set_is_refused(pipeline: Path, assignment: str) -> None:
    with pytest.raises(ConfigError):
        load(pipeline, [assignment])


def test_a_class_named_by_overrides_is_built_in_its_stage_alone(pipeline: Path) -> None:
    """Built on reading, it would begin with other random numbers than the stage's, and its settings enter no key."""
    changes = [f"stages.first.overrides.model.{change}" for change in ("class_path=toy.Wide", "init_args.width=2")]
    _, stages = load(pipeline, changes)
    model = stage_config(stages["first"], Path("runs"))["model"]  # type: ignore[arg-type]
    assert (model["class_path"], model["init_args"]["width"]) == ("toy.Wide", 2)


def test_extends_merges_over_another_file(pipeline: Path) -> None:
    small = pipeline.parent / "small.yaml"
    change = {"stages": {"first": {"overrides": {"data": {"init_args": {"rounds": 2}}}}}}
    small.write_text(yaml.safe_dump({"extends": "toy.yaml", "name": "small", **change}))
    merged, stages = load(small)
    assert merged.name == "small"
    assert set(stages) == {"first", "second"}
    assert stages["first"].overrides == change["stages"]["first"]["overrides"]  # type: ignore[union-attr]


def test_references_and_substitution() -> None:
    value = {"a": "${x}", "b": ["${y}/model.ckpt", 3], "c": {"d": "plain"}}
    assert set(references(value)) == {"x", "y"}
    filled = substitute(value, Path("runs/p"))
    assert filled == {"a": "runs/p/x", "b": ["runs/p/y/model.ckpt", 3], "c": {"d": "plain"}}


def test_code_version_follows_imports_and_nothing_else() -> None:
    # handing over imports errors, but no stage's learning depends on how a plot is drawn
    from mwl.pipeline import fingerprint

    files = set()
    original = fingerprint.sha256_of
    try:
        fingerprint.sha256_of = lambda path: files.add(path.name) or original(path)  # type: ignore[assignment, func-returns-value]
        code_version(["mwl.core.artifact"])
    finally:
        fingerprint.sha256_of = original
    assert {"artifact.py", "errors.py"} <= files
    assert "plots.py" not in files


def test_folder_digest_ignores_what_differs_between_equal_results(tmp_path: Path) -> None:
    for name, run in (("a", "1"), ("b", "2")):
        (tmp_path / name).mkdir()
        manifest = {"name": "x", "mlflow_run_id": run, "versions": {"torch": run}}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    assert folder_digest(tmp_path / "a") == folder_digest(tmp_path / "b")
    (tmp_path / "b" / "extra.txt").write_text("more")
    assert folder_digest(tmp_path / "a") != folder_digest(tmp_path / "b")
    assert folder_digest(tmp_path / "nowhere") is None


def test_only_some_stages_are_carried_out_with_what_they_need(pipeline: Path) -> None:
    with pytest.raises(BadInput, match=r"no stage 'secnd'; stages: first, second; did you mean 'second'"):
        run_pipeline(pipeline, only=["secnd"])
    assert run_pipeline(pipeline, only=["f*"]).ran == ["first"]
    result = run_pipeline(pipeline, only=["first", "sec?nd"])
    assert (result.ran, result.skipped) == (["second"], ["first"])


def test_what_most_stages_wait_for_starts_first(stage: Path) -> None:
    def after(upstream: str) -> dict[str, Any]:
        overrides = {"model": {"init_args": {"upstream": f"${{{upstream}}}"}}}
        return {"kind": "fit", "config": "stage.yaml", "overrides": overrides}

    # alone comes first in the file, but nothing needs it, while root holds up two others
    plain = {"kind": "fit", "config": "stage.yaml"}
    alone = {**plain, "overrides": {"seed_everything": 2}}
    stages = {"alone": alone, "root": plain, "middle": after("root"), "leaf": after("middle")}
    path = stage.parent / "order.yaml"
    path.write_text(yaml.safe_dump({"name": "order", "max_parallel": 1, "stages": stages}, sort_keys=False))
    ran = run_pipeline(path).ran
    assert ran[0] == "root"
    assert ran.index("root") < ran.index("middle") < ran.index("leaf")


def test_stage_with_seeds_is_carried_out_once_per_seed(stage: Path) -> None:
    path = stage.parent / "seeds.yaml"
    fit = {"kind": "fit", "config": "stage.yaml", "overrides": {"seed_everything": "${seed}"}}
    after = {
        "kind": "fit",
        "seeds": [1],
        "config": "stage.yaml",
        "overrides": {"model": {"init_args": {"upstream": "${one}"}}},
    }
    stages = {
        "one": {**fit, "seeds": [0, 1]},
        "after": after,
        "all": {"kind": "compare", "evaluations": ["${one}", "${after}", "elsewhere/${after_s1}"]},
    }
    path.write_text(yaml.safe_dump({"name": "seeds", "stages": stages}))
    _, read = load(path)
    assert set(read) == {"one_s0", "one_s1", "after_s1", "all"}
    assert [read[name].overrides["seed_everything"] for name in ("one_s0", "one_s1")] == [0, 1]  # type: ignore[union-attr]
    assert dependencies(read["after_s1"]) == {"one_s1"}
    assert read["all"].evaluations == ["${one_s0}", "${one_s1}", "${after_s1}", "elsewhere/${after_s1}"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.one.seeds=0", "list of different whole numbers"),
        ("stages.one.seeds=[1, 1]", "list of different whole numbers"),
        ("stages.one.seeds=[3]", "has seed 0, which 'one' lacks"),
        ("stages.two.seeds=null", "list of different whole numbers"),
        ("stages.three.config=${one}", "name one, as \\$\\{one_s0\\}"),
    ],
)
def test_bad_seeds_are_refused(stage: Path, change: str, said: str) -> None:
    path = stage.parent / "seeds.yaml"
    fit = {"kind": "fit", "config": "stage.yaml"}
    upstream = {"model": {"init_args": {"upstream": "${one}"}}}
    stages = {
        "one": {**fit, "seeds": [0, 1]},
        "two": {**fit, "seeds": [0], "overrides": upstream},
        "three": dict(fit),
    }
    path.write_text(yaml.safe_dump({"name": "seeds", "stages": stages}))
    with pytest.raises(ConfigError, match=said):
        load(path, [change])


def test_another_address_of_mlflow_makes_nothing_again(
    pipeline: Path, stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished stages stay, and one that was killed goes on from its checkpoint, in a run of the new store."""
    content = yaml.safe_load(stage.read_text())
    content["trainer"]["logger"] = {"class_path": "mwl.experiments.logger.StageLogger"}
    stage.write_text(yaml.safe_dump(content))
    killing = [f"stages.second.overrides.{change}" for change in ("checkpoint_every_s=0", "model.init_args.kill_at=11")]
    with pytest.raises(StageFailed, match="'second'"):
        run_pipeline(pipeline, killing)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd()}/other.db")
    shown = StringIO()
    again = run_pipeline(pipeline, killing, Console(file=shown))
    assert (again.ran, again.skipped) == (["second"], ["first"])
    assert "goes on from its last checkpoint" in shown.getvalue()


def test_a_second_run_of_a_pipeline_is_refused_while_the_first_is_at_work(pipeline: Path) -> None:
    with held(Path("runs/toy/_work/lock"), Path("runs/toy")), pytest.raises(BadInput, match="another `mwl fit` or"):
        run_pipeline(pipeline)
    assert run_pipeline(pipeline).ran == ["first", "second"]


def test_a_damaged_checkpoint_is_told_and_the_stage_goes_on(pipeline: Path) -> None:
    killing = [f"stages.first.overrides.{change}" for change in ("checkpoint_every_s=0", "model.init_args.kill_at=11")]
    with pytest.raises(StageFailed):
        run_pipeline(pipeline, killing)
    last = Path("runs/toy/_work/first") / LAST
    last.write_bytes(last.read_bytes()[:500])
    shown = StringIO()
    run_pipeline(pipeline, killing, Console(file=shown, width=200))
    assert "set aside as last.ckpt.damaged" in shown.getvalue()
    assert "first: goes on from its last checkpoint" in shown.getvalue()
    run_pipeline(pipeline, ["output=runs/whole"])
    assert weight(Path("runs/toy/first")) == weight(Path("runs/whole/first"))


def test_a_log_gets_a_line_of_progress_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, now = StringIO(), 1000.0
    monkeypatch.setattr("mwl.pipeline.display.time.monotonic", lambda: now)
    display = Display(Console(file=shown), total=1)
    display.started("walk", tmp_path, resumed=False)
    for share in (0.1, 0.2, 0.2, 0.4):
        now += 15
        write_progress(tmp_path / PROGRESS, share, f"loss={1 - share:.1f}")
        display.refresh()
    # every 20 s at most, and only where there is something new: after 30 and 60 s
    lines = [line.strip() for line in shown.getvalue().splitlines()[1:]]
    assert lines == ["walk: 20% loss=0.8", "walk: 40% loss=0.6"]
