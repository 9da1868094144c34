"""Engines: what they refuse, what they take a stage to be, and that a stage whose worker is lost goes on elsewhere."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import in_child
from rich.console import Console

from mwl.app.cli import main
from mwl.core.artifact import read_checkpoint
from mwl.core.errors import BadInput, ConfigError, MissingDependency, StageFailed
from mwl.experiments import tracking
from mwl.pipeline import engines, worker
from mwl.pipeline.config import Resources, load
from mwl.pipeline.engines.executor import Ended, Executor
from mwl.pipeline.engines.local import LocalExecutor
from mwl.pipeline.runner import run_pipeline

LOGGED = {"class_path": "mwl.experiments.logger.StageLogger"}


@pytest.fixture
def pipeline(stage: Path) -> Path:
    """One stage, logged to MLflow; it has a checkpoint of each round."""
    content = yaml.safe_load(stage.read_text())
    content["trainer"]["logger"] = LOGGED
    stage.write_text(yaml.safe_dump({**content, "checkpoint_every_s": 0}))
    path = stage.parent / "toy.yaml"
    path.write_text(yaml.safe_dump({"name": "toy", "stages": {"one": {"kind": "fit", "config": "stage.yaml"}}}))
    return path


def killing(by: str = "toy.Line") -> list[str]:
    return [f"stages.one.overrides.model.{change}" for change in (f"class_path={by}", "init_args.kill_at=11")]


def settings(assignments: list[str]) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


def weight(folder: str) -> float:
    return float(read_checkpoint(Path(folder))["state_dict"]["weight"])


def log(stage: str) -> list[str]:
    """The lines that say how a stage began, each time."""
    lines = Path(f"runs/toy/_work/{stage}/log.txt").read_text().splitlines()
    return [line for line in lines if line.startswith(f"mwl: {stage} ")]


def check_store(*stages: str) -> None:
    """Each stage has one run, which is finished and has every round once."""
    for stage in stages:
        found = tracking.find_runs("toy", f"tags.`{tracking.STAGE_TAG}` = '{stage}'")
        assert [run.info.status for run in found] == ["FINISHED"]
        assert tracking.SUPERSEDED_TAG not in found[0].data.tags
        assert len(tracking.history(found[0].info.run_id, "train/loss")) == 20


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("engine=slrum", ["engine", "slurm"]),
        ("address=10.0.0.1:6379", ["`address`", "engine: ray"]),
        ("slurm.slurm_partition=gpu", ["`slurm`", "engine: slurm"]),
        ("resources.cpus=-1", ["cpus", "-1"]),
        ("stages.one.resources.cpu=1", ["'cpu'", "'cpus'", "'one'"]),
        ("stages.one.resources.gpus=some", ["gpus", "'one'"]),
        ("stages.one.resources=2", ["`resources`", "'one'"]),
        ("slurm=2", ["`slurm`", "pipeline"]),
    ],
)
def test_bad_settings_are_refused(pipeline: Path, change: str, told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        engines.check(load(pipeline, [change])[0])
    assert "\n" not in str(caught.value)
    for part in told:
        assert part in str(caught.value)


def test_what_no_machine_has_is_refused_before_anything_starts(pipeline: Path) -> None:
    with pytest.raises(ConfigError, match=r"'one' asks for memory 1e.09, and no machine has that") as caught:
        run_pipeline(pipeline, ["stages.one.resources.memory=1e9"])
    assert "\n" not in str(caught.value)
    assert not tracking.find_runs("toy")
    assert not Path("runs/toy/one").exists()


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_is_told_in_a_line(
    pipeline: Path, engine: str, package: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(MissingDependency, match="mwl\\[cluster\\]"):
        run_pipeline(pipeline, [f"engine={engine}"])
    assert main(["run", "toy.yaml", "--set", f"engine={engine}"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert not Path("runs").exists()


def test_resources_of_a_stage_go_before_those_of_all(pipeline: Path) -> None:
    read, _ = load(pipeline, ["resources.cpus=2", "resources.memory=3", "stages.one.resources.cpus=1"])
    assert read.resources_of("one") == Resources(cpus=1, memory=3.0)
    read, _ = load(pipeline, ["resources.cpus=2", "stages.one.seeds=[0, 1]"])
    assert [read.resources_of(f"one_s{seed}") for seed in (0, 1)] == 2 * [Resources(cpus=2)]


class Machines(LocalExecutor):
    """This machine, as if it were others."""

    def __init__(self, *machines: Resources, slots: float = 9) -> None:
        super().__init__(1)
        self.machines, self.slots = machines, slots


def test_stages_start_while_there_is_room() -> None:
    executor = Machines(Resources(4, 1, 10.0), Resources(4, 0, 10.0), slots=3)
    executor.running["one"] = Resources(4, 1, 2.0)
    # of 8 cores, one GPU and 20 GB, 4 cores and 18 GB are left
    assert executor.has_room(Resources(4, 0, 18.0))
    assert not executor.has_room(Resources(5))
    assert not executor.has_room(Resources(0, 1))
    assert not executor.has_room(Resources(0, 0, 18.5))
    executor.running |= {"two": Resources(), "three": Resources()}
    assert not executor.has_room(Resources()), "no slot is left"
    with pytest.raises(ConfigError, match="'one' asks for cpus 5"):  # together they have 8, none alone has 5
        executor.check({"one": Resources(5)})


def test_what_a_stage_leaves_unsaid_is_told_where_no_machine_has_it() -> None:
    """An engine elsewhere sets aside a core for each thread that a stage gets where it says nothing."""

    class Elsewhere(Machines):
        needed = Executor.needed

    executor = Elsewhere(Resources(4))
    executor.threads = 6
    with pytest.raises(ConfigError, match="'one' asks for cpus 6, and no machine has that"):
        executor.check({"one": Resources()})


def test_a_stage_gets_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    seen = []

    class Started:
        exitcode = 0

        def __init__(self, args: Any, **_: Any) -> None:
            self.sentinel = os.pipe()[0]
            seen.append(args[1].get("CUDA_VISIBLE_DEVICES"))

        def start(self) -> None: ...
        def join(self) -> None: ...
        def is_alive(self) -> bool:
            return False

    executor = LocalExecutor(3)
    monkeypatch.setattr(executor, "_context", lambda: type("Context", (), {"Process": Started}))
    for name, gpus in (("one", 2), ("two", 1), ("none", 0)):
        executor.submit(job(name), Resources(gpus=gpus))
    executor.poll()
    executor.submit(job("again"), Resources(gpus=3))
    assert seen[:3] == ["2,5", "7", None]
    assert sorted(seen[3].split(",")) == ["2", "5", "7"]


def job(name: str, **changes: Any) -> worker.Job:
    place = {"output": f"runs/toy/{name}", "work": f"runs/toy/_work/{name}", "folder": str(Path.cwd())}
    fixed = {"kind": "fit", "config": {}, "experiment": "toy", "parent_run": None, "threads": 1, "begins": "begins"}
    return worker.Job(**{"name": name, **place, **fixed, **changes})


def test_a_job_in_a_file_is_the_same_stage(pipeline: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mwl stage`, started elsewhere, leaves what the pipeline's own process does; its file holds no secret."""
    run_pipeline(pipeline, ["output=runs/whole"])
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hush")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db?hush")
    Path("runs/toy/_work/one").mkdir(parents=True)
    path = worker.write(job("one", config=yaml.safe_load(Path("stage.yaml").read_text())))
    assert "hush" not in path.read_text()
    monkeypatch.chdir("/")
    assert in_child(lambda: main(["stage", str(path)]), place / "log") == 0
    monkeypatch.chdir(place)
    assert weight("runs/toy/one") == weight("runs/whole/one")
    assert Path("runs/toy/_work/one", worker.FINISHED).is_file()


@pytest.mark.parametrize("content", ["[]", "{}", '{"imports": []}', "no json"])
def test_a_file_that_is_no_job_is_refused(place: Path, content: str) -> None:
    Path("job.json").write_text(content)
    with pytest.raises(BadInput, match=r"job\.json"):
        worker.run_file(Path("job.json"))


def test_what_json_cannot_say_is_refused(place: Path) -> None:
    with pytest.raises(ConfigError, match="'one' can't be sent"):
        worker.write(job("one", config={"limit": float("inf")}))


def test_a_stage_ends_with_whoever_started_it(place: Path) -> None:
    """Its other end of the pipe is closed by the system when that process is gone, however it went."""
    reader, writer = os.pipe()
    command = [
        sys.executable,
        "-c",
        "from mwl.pipeline.worker import _end_with; _end_with(0); input = __import__('time').sleep(600)",
    ]
    process = subprocess.Popen(command, stdin=reader)
    os.close(reader)
    os.close(writer)
    assert process.wait(120) == 1


class Lossy(LocalExecutor):
    """Takes a stage that is killed for one whose machine was lost."""

    def poll(self) -> list[Ended]:
        return [Ended(each.name, "its worker was lost", lost="-9" in each.why) for each in super().poll()]


def test_a_lost_stage_goes_on_from_its_checkpoint(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_pipeline(pipeline, ["output=runs/whole", "experiment=whole"])
    monkeypatch.setattr(engines, "start", lambda pipeline: Lossy(1))
    shown = StringIO()
    assert run_pipeline(pipeline, killing(), Console(file=shown, width=200)).ran == ["one"]
    assert "!! one: " in shown.getvalue()
    assert [line.partition(", on ")[0] for line in log("one")] == [
        "mwl: one begins",
        "mwl: one goes on from its last checkpoint after its worker was lost",
    ]
    assert weight("runs/toy/one") == weight("runs/whole/one")
    check_store("one")
    assert run_pipeline(pipeline, [*killing(), "resources.cpus=1"]).skipped == ["one"], "what it takes decides nothing"


def test_a_stage_that_is_lost_again_and_again_fails(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(LocalExecutor):
        def submit(self, job: worker.Job, asked: Resources) -> None:
            self.running[job.name] = asked

        def poll(self) -> list[Ended]:
            return [Ended(name, "its worker was lost", lost=True) for name in [*self.running] if self.running.pop(name)]

    monkeypatch.setattr(engines, "start", lambda pipeline: Lost(1))
    shown = StringIO()
    with pytest.raises(StageFailed, match="'one' failed: its worker was lost"):
        run_pipeline(pipeline, console=Console(file=shown, width=200))
    assert shown.getvalue().count("!! one") == 4  # after the first time it went on three times


def mwl_run(changes: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "mwl", "run", "toy.yaml", *settings(changes)])


def check_stopped(pipeline: Path, engine: list[str]) -> None:
    """SIGTERM to the pipeline lets the stage save on the engine as well, and the same command goes on from there."""
    run_pipeline(pipeline, ["output=runs/whole", "experiment=whole"])
    slow = [*engine, "stages.one.overrides.model.class_path=toy.Slow", "stages.one.overrides.checkpoint_every_s=600"]
    process = mwl_run(slow)
    while process.poll() is None and not Path("was here").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 130
    assert Path("runs/toy/_work/one/last.ckpt").is_file()
    assert mwl_run(slow).wait() == 0
    assert [line.partition(", on ")[0] for line in log("one")] == [
        "mwl: one begins",
        "mwl: one goes on from its last checkpoint",
    ]
    assert weight("runs/toy/one") == weight("runs/whole/one")
    check_store("one")


@pytest.fixture
def loopback(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray stays on this machine and out of the user's home, wherever it is imported."""
    monkeypatch.setenv("HOME", str(place / "home"))
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")


@pytest.fixture
def two_nodes(place: Path, loopback: None) -> Iterator[str]:
    """The address of a Ray of two nodes with one CPU each, and of a head with none."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    yield str(cluster.address)
    cluster.shutdown()


@pytest.mark.slow
def test_a_ray_node_is_killed_in_mid_training(pipeline: Path, two_nodes: str) -> None:
    content = yaml.safe_load(pipeline.read_text())
    for seed, name in enumerate(("two", "three")):
        content["stages"][name] = {**content["stages"]["one"], "overrides": {"seed_everything": seed}}
    pipeline.write_text(yaml.safe_dump(content))
    run_pipeline(pipeline, ["output=runs/whole", "experiment=whole"])
    assert mwl_run(["engine=ray", f"address={two_nodes}", *killing("toy.KillsMachine")]).wait() == 0
    first, second = log("one")
    assert first.startswith("mwl: one begins, on ")
    assert second.startswith("mwl: one goes on from its last checkpoint after its worker was lost")
    for stage in ("one", "two", "three"):
        assert weight(f"runs/toy/{stage}") == weight(f"runs/whole/{stage}")
        assert len(log(stage)) == (2 if stage == "one" else 1)
    check_store("one", "two", "three")


@pytest.mark.slow
def test_a_pipeline_on_a_ray_of_its_own_is_stopped_and_goes_on(pipeline: Path, loopback: None) -> None:
    check_stopped(pipeline, ["engine=ray"])


@pytest.mark.slow
def test_a_pipeline_sent_by_submitit_is_stopped_and_goes_on(pipeline: Path) -> None:
    pytest.importorskip("submitit", reason="the extra `cluster` is not installed")
    check_stopped(pipeline, ["engine=slurm", "slurm.cluster=local"])


@pytest.mark.slow
def test_a_job_that_is_preempted_saves_and_is_queued_again(pipeline: Path, place: Path) -> None:
    """`engines.md`: the signal that SLURM sends when it needs the machine, or when the job's time is up."""
    submitit = pytest.importorskip("submitit", reason="the extra `cluster` is not installed")
    from mwl.pipeline.engines.slurm import Preemptible

    run_pipeline(pipeline, ["output=runs/whole"])
    Path("runs/toy/_work/one").mkdir(parents=True)
    content = yaml.safe_load(Path("stage.yaml").read_text())
    content["model"]["class_path"] = "toy.Slow"
    path = worker.write(job("one", config={**content, "checkpoint_every_s": 600}))
    executor = submitit.AutoExecutor(folder=place / "jobs", cluster="local")
    executor.update_parameters(timeout_min=10)
    sent = executor.submit(Preemptible(), str(path), {})
    while not Path("was here").exists():
        time.sleep(0.1)
    waiting = subprocess.check_output(["ps", "-o", "ppid=", "-p", log("one")[0].split()[-1]])
    os.kill(int(waiting), signal.SIGUSR2)
    assert sent.result() == 0
    assert [line.partition(", on ")[0] for line in log("one")] == [
        "mwl: one begins",
        "mwl: one goes on from its last checkpoint",
    ]
    assert weight("runs/toy/one") == weight("runs/whole/one")


SLURM = {  # what submitit asks of it: jobs are process groups of this machine
    "sbatch": """
        for script; do :; done
        setsid sh -c 'echo $$ > $0.pid; SLURM_JOB_ID=$$ SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 \\
            SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 exec bash $0' "$script" > "$script.log" 2>&1 &
        while ! [ -s "$script.pid" ]; do sleep 0.1; done
        cp "$script" "$(dirname "$0")/$(cat "$script.pid").sh"
        echo "Submitted batch job $(cat "$script.pid")"
    """,
    "srun": """
        while :; do case "$1" in --output|--error) shift 2;; --*) shift;; *) break;; esac; done
        exec "$@"
    """,
    "sacct": """
        echo "JobID|State|NodeList"
        for job in $(ls "$(dirname "$0")" | sed -n "s/[.]sh$//p"); do
            kill -0 "$job" 2>/dev/null && echo "$job|RUNNING|here" || echo "$job|NODE_FAIL|here"
        done
    """,
    "scancel": 'kill -TERM -- "-$1"',
}


@pytest.mark.slow
def test_a_slurm_node_is_lost_in_mid_training(
    pipeline: Path, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`engines.md`: what a stage takes is asked of SLURM, and a job whose node fails goes on as another job."""
    pytest.importorskip("submitit", reason="the extra `cluster` is not installed")
    (tmp_path / "bin").mkdir()
    for name, script in SLURM.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hush")
    run_pipeline(pipeline, ["output=runs/whole", "experiment=whole"])
    asked = ["slurm.slurm_partition=long", "resources={cpus: 2, memory: 3}"]
    assert mwl_run(["engine=slurm", *asked, *killing("toy.KillsMachine")]).wait() == 0
    assert log("one")[0].startswith("mwl: one begins, on ")
    assert log("one")[1].startswith("mwl: one goes on from its last checkpoint after its job ")
    assert weight("runs/toy/one") == weight("runs/whole/one")
    check_store("one")
    sent = [file.read_text() for file in (tmp_path / "bin").glob("*.sh")]
    assert len(sent) == 2
    for line in ("#SBATCH --cpus-per-task=2", "#SBATCH --mem=3GB", "#SBATCH --partition=long"):
        assert all(line in text for text in sent)
    assert not [file for file in Path("runs").rglob("*") if file.is_file() and b"hush" in file.read_bytes()]
