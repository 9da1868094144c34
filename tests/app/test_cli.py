"""The command: exit codes, one line per error, JSON alone on stdout, nothing written for bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import mwl
from mwl.app.answers import progress
from mwl.app.cli import main
from mwl.core.artifact import write_artifact
from mwl.experiments import tracking


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store/mlflow.db")
    monkeypatch.delenv("MWL_DEBUG", raising=False)
    return tmp_path


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line told for bad input; checks all that holds for every such line."""
    try:
        code = main(list(arguments))
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    shown = capfd.readouterr()
    assert code == 2
    assert shown.out == ""
    assert shown.err.count("\n") == 1, shown.err
    assert "Traceback" not in shown.err
    assert not Path("runs").exists()
    return shown.err


@pytest.fixture
def folder(place: Path) -> None:
    """A folder `a`, as of an agent: what is not there is told before all else."""
    (place / "a").mkdir()


def manifest(folder: str, **entries: object) -> str:
    checkpoint = {"hyper_parameters": {}, "state_dict": {"w": torch.zeros(1)}}
    settings = {"stage": "expert", "name": "walk", "robot": "unitree_h1", "checkpoint": checkpoint, **entries}
    write_artifact(folder, **settings)  # type: ignore[arg-type]
    return folder


EVALUATE = ("evaluate", "--task", "h1-walk", "--agent")


def test_unknown_task(capfd: pytest.CaptureFixture[str]) -> None:
    line = refused(capfd, "evaluate", "--task", "h1-wlak", "--agent", "expert:walk")
    assert "h1-wlak" in line
    assert "h1-walk" in line


def test_missing_checkpoint(capfd: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in refused(capfd, *EVALUATE, "nowhere")


def test_unknown_expert(capfd: pytest.CaptureFixture[str]) -> None:
    assert "'jump'" in refused(capfd, *EVALUATE, "expert:jump")


def test_corrupt_checkpoint(capfd: pytest.CaptureFixture[str]) -> None:
    folder = manifest("agent")
    (Path(folder) / "model.ckpt").write_bytes(b"damaged")
    assert "sha256" in refused(capfd, *EVALUATE, folder)


def test_damaged_manifest(capfd: pytest.CaptureFixture[str]) -> None:
    folder = manifest("agent")
    (Path(folder) / "manifest.json").write_text('{"schema": 1,')
    assert "manifest.json" in refused(capfd, *EVALUATE, folder)


def test_checkpoint_of_another_robot(capfd: pytest.CaptureFixture[str]) -> None:
    line = refused(capfd, *EVALUATE, manifest("agent", robot="unitree_g1"))
    assert "unitree_g1" in line
    assert "unitree_h1" in line


def test_stage_that_cannot_act(capfd: pytest.CaptureFixture[str]) -> None:
    assert "gate" in refused(capfd, *EVALUATE, manifest("agent", stage="gate"))


def test_unknown_run(capfd: pytest.CaptureFixture[str]) -> None:
    assert "0123" in refused(capfd, *EVALUATE, "run:0123")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("walk",),
        ("evaluate",),
        (*EVALUATE, "expert:walk", "--epsiodes", "3"),
        (*EVALUATE, "expert:walk", "--episodes", "many"),
        (*EVALUATE, "expert:walk", "--episodes", "0"),
        (*EVALUATE, "expert:walk", "--suite", "other"),
        ("run", "no.yaml"),
        ("fit", "--config", "no.yaml"),
        ("fit",),
        ("instruct", " "),
        ("instruct", "walk", "--frame", "no.png"),
        ("compare", "--experiment", "never"),
        ("play", "walk", "--agents", "walk"),
        ("play", "walk", "--agents", "walk=a", "--steps-per-clause", "0"),
        ("play", "walk", "--agents", "walk=a", "--look-every", "-1"),
        (*EVALUATE, "expert:walk", "--experiment", " "),
    ],
)
def test_other_bad_input(capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    refused(capfd, *arguments)


def test_misspelt_key_in_a_shipped_configuration(capfd: pytest.CaptureFixture[str], place: Path) -> None:
    shipped = Path(__file__).parents[2] / "conf" / "gate.yaml"
    (place / "gate.yaml").write_text(shipped.read_text().replace("experts:", "expert:", 1))
    line = refused(capfd, "fit", "--config", "gate.yaml")
    assert "gate.yaml:" in line
    assert "'expert'" in line
    assert "'experts'" in line


def test_a_later_failure_is_told_without_traceback_unless_asked(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("the disk\nis full")

    monkeypatch.setattr("mwl.doctor.diagnose", break_down)
    assert main(["doctor"]) == 1
    assert capfd.readouterr().err.startswith("mwl: RuntimeError: the disk is full")
    monkeypatch.setenv("MWL_DEBUG", "1")
    assert main(["doctor"]) == 1
    assert "Traceback" in capfd.readouterr().err


INTERRUPTED = {  # command: function of it, and whether it leaves a checkpoint
    "doctor": ("mwl.doctor.diagnose", False),
    "evaluate --task h1-walk --agent a": ("mwl.evaluation.run.evaluate_with_film", False),
    "play walk --agents walk=a": ("mwl.instructions.follow.follow", False),
    "instruct walk": ("mwl.instructions.preview.instruct", False),
    "run a.yaml": ("mwl.pipeline.runner.run_pipeline", True),
    "fit --config a.yaml": ("mwl.training.fit.fit", True),
    "motion train a.yaml --out b": ("mwl.teachers.train.train", True),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", INTERRUPTED)
def test_interrupt_promises_to_go_on_only_where_a_checkpoint_is_left(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    function, goes_on = INTERRUPTED[command]
    Path("a.yaml").touch()
    monkeypatch.setattr(function, interrupt)
    assert main(command.split()) == 130
    shown = capfd.readouterr().err
    assert shown.startswith("mwl: stopped")
    assert ("goes on from the last checkpoint" in shown) == goes_on


def test_a_long_bad_value_is_cut_and_acts_on_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    for bad in ("x" * 30_000, "9" * 30_000, "\x1b[31m\x07red", "[/nope]", "caf\udce9"):
        for arguments in (
            ("evaluate", "--task", bad, "--agent", "a"),
            ("evaluate", "--task", "h1-walk", "--agent", "a", "--episodes", bad),
            ("play", "walk", "--agents", bad),
            ("instruct", "walk", "--frame", bad),
        ):
            line = refused(capfd, *arguments)
            assert len(line) < 1200
            assert "\x1b" not in line
            assert "\x07" not in line


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("seed", ["-1", str(10**30), str(2**63)])
def test_seeds_out_of_bounds(capfd: pytest.CaptureFixture[str], seed: str) -> None:
    assert "seed" in refused(capfd, *EVALUATE, "a", "--seed", seed)
    assert "seed" in refused(capfd, "play", "walk", "--agents", "walk=a", "--seed", seed)


@pytest.mark.usefixtures("folder")
def test_more_episodes_than_fit_into_memory(capfd: pytest.CaptureFixture[str]) -> None:
    assert "GiB" in refused(capfd, *EVALUATE, "a", "--episodes", "10000000000")


@pytest.mark.usefixtures("folder")
def test_films_that_can_not_be_written_are_refused_before_the_work(
    capfd: pytest.CaptureFixture[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object) -> None:
        raise AssertionError("nothing may be started")

    monkeypatch.setattr("mwl.evaluation.run.evaluate_with_film", work)
    monkeypatch.setattr("mwl.instructions.follow.follow", work)
    (place / "there.mp4").write_bytes(b"before")
    (place / "folder.mp4").mkdir()
    for film in (
        "film",
        "film.txt",
        "folder.mp4",
        "there.mp4",
        "x" * 250 + ".mp4",
        "/proc/film.mp4",
        "there.mp4/a.mp4",
    ):
        refused(capfd, *EVALUATE, "a", "--video", film)
        refused(capfd, "play", "walk", "--agents", "walk=a", "--video", film)
    assert (place / "there.mp4").read_bytes() == b"before"
    assert main([*EVALUATE, "a", "--video", "there.mp4", "--force"]) == 1, "the work was started"


@pytest.mark.usefixtures("folder")
def test_a_film_that_nobody_named_replaces_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = []

    def follow(stage: object, film: Path, report: object) -> None:
        films.append(str(film))
        film.parent.mkdir(exist_ok=True)
        film.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("mwl.instructions.follow.follow", follow)
    for _ in range(3):
        main(["play", "walk", "--agents", "walk=a"])
    assert films == ["runs/play.mp4", "runs/play_2.mp4", "runs/play_3.mp4"]


def test_running_out_of_memory_is_one_line(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def grow(*_: object) -> None:
        torch.empty(2**60)

    monkeypatch.setattr("mwl.doctor.diagnose", grow)
    assert main(["doctor"]) == 1
    assert capfd.readouterr().err.startswith("mwl: out of memory")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("--help", "mwl"),
        ("--version", f"mwl {mwl.__version__}"),
        ("list agents", "agent:walk"),
        ("evaluat", "did you mean 'evaluate'?"),
        ("motion imprt", "did you mean 'import'"),
        ("evaluate --task h1-walk --epsiodes 3", "did you mean '--episodes'"),
        ("evaluate --task h1-walk --act mena", "did you mean 'mean'?"),
        ("evaluate --task h1-wlak", "did you mean 'h1-walk'"),
        ("evaluate --task h1-walk --agent expert:wlak", "did you mean 'walk' or 'wave'?"),
        ("evaluate --task h1-walk --agent agent:reech", "did you mean 'reach'?"),
        ("evaluate --task h1-walk --agent expert-walk", "did you mean 'expert:walk'"),
        ("play walk --agents walk=expert:wlak", "did you mean 'walk' or 'wave'?"),
        ("play walk --agents stand=expert:stand wlak=expert:walk", "did you mean 'walk'?"),
        ("run conf/pipelines/dmo.yaml", "did you mean 'conf/pipelines/demo.yaml'"),
        ("fit --config conf/gte.yaml", "did you mean 'conf/gate.yaml'"),
        ("fit --help", "conf:gate.yaml"),
        ("motion train conf/teachers/wlak.yaml --out x", "did you mean 'conf/teachers/walk.yaml'"),
    ],
)
def test_what_is_answered_at_once_needs_none_of_the_heavy_packages(command: str, says: str, place: Path) -> None:
    program = (
        "import sys\nfrom mwl.app.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'lightning', 'mlflow', 'mujoco', 'scipy') if name in sys.modules])"
    )
    run = [sys.executable, "-c", program, *command.split()]
    found = subprocess.run(run, capture_output=True, text=True, check=True, env=os.environ)
    assert says in found.stdout + found.stderr
    assert found.stdout.splitlines()[-1] == "[]"
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("tasks", "h1-maze"),
        ("experts", "expert:stop"),
        ("agents", "agent:door"),
        ("pipelines", "conf:pipelines/tiny.yaml"),
    ],
)
def test_lists_name_what_ships(what: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    rows = capfd.readouterr().out.splitlines()
    assert any(row.split()[0] == name for row in rows[1:])
    assert main(["list", what, "--json"]) == 0
    (entries,) = json.loads(capfd.readouterr().out).values()
    assert [entry["name"] for entry in entries] == [row.split()[0] for row in rows[1:]]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mwl ", {"fit", "playground", "list", "--version"}),
        ("mwl evaluate --task h1-s", {"h1-stand", "h1-stair"}),
        ("mwl evaluate --agent agent:", {"agent:reach"}),
        ("mwl run conf/pipelines/t", {"conf/pipelines/tiny.yaml"}),
        ("mwl fit --config conf/ga", {"conf/gate.yaml"}),
        ("mwl fit --config conf/experts/stand.yaml --model.init_args.h", {"--model.init_args.hidden"}),
        ("mwl fit --config conf/experts/stand.yaml --data.init_args.b", {"--data.init_args.batch_size"}),
    ],
)
def test_the_shell_is_told_what_may_follow(line: str, offered: set[str], place: Path) -> None:
    told = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    told |= {"COMP_TYPE": "9", "_ARGCOMPLETE_STDOUT_FILENAME": str(place / "told"), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    told |= {"_ARGCOMPLETE_COMP_WORDBREAKS": ""}  # or what follows a colon is offered without what is before it
    subprocess.run([sys.executable, "-m", "mwl"], env={**os.environ, **told}, check=False, capture_output=True)
    assert offered <= {word.strip() for word in (place / "told").read_text().split("\n")}


def test_help_of_a_stage_names_the_flags_of_its_model_and_its_data(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "conf/experts/stand.yaml", "--help"]) == 0
    shown = capfd.readouterr().out
    assert "--model.init_args.hidden" in shown
    assert "--data.init_args.batch_size" in shown
    assert "--trainer.max_epochs" not in shown.replace("as --trainer.max_epochs=3", "")


def test_progress_that_no_terminal_shows_is_a_line_from_time_to_time(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mwl.app.answers._LINE_S", 0.0)
    with progress("walking") as report:
        report(0.25, "step 5")
    assert capfd.readouterr().err == "mwl: walking: 25% step 5\n"
    monkeypatch.setattr("mwl.app.answers._LINE_S", 1e9)
    with progress("walking") as report:
        report(0.5, "step 10")
    assert capfd.readouterr().err == ""


def test_ui_serves_the_store_and_links_to_the_newest_pipeline(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[list[str]] = []
    really = subprocess.run

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if "ui" not in command:  # what libraries ask of the system
            return really(command, **options)
        served.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("mwl.app.cli.subprocess.run", run)
    with tracking.run("some", "pipe", tags={tracking.KIND_TAG: "pipeline"}) as run_id:
        pass
    with tracking.run("some", "fit", tags={tracking.KIND_TAG: "fit"}):
        pass
    assert main(["ui", "--port", "5123"]) == 0
    assert tracking.run_link(run_id, 5123) in capfd.readouterr().err
    assert served[0][1:] == ["-m", "mlflow", "ui", "--backend-store-uri", tracking.tracking_uri(), "--port", "5123"]
    assert "--port" in refused(capfd, "ui", "--port", "0")


def test_doctor_prints_one_json_object(capfd: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    findings = json.loads(capfd.readouterr().out)["findings"]
    assert {"name", "ok", "state", "remedy"} == set(findings[0])
    assert {"python", "torch", "simulation", "MLflow store"} <= {finding["name"] for finding in findings}
    assert all(finding["ok"] or finding["remedy"] for finding in findings), "every problem comes with a remedy"
