"""The drill: kills at every moment at which files change, full disks, a locked store, a tracking server that goes away.

What holds: nothing that is there becomes unreadable, the same command goes on, and it ends as if nothing had happened.
"""

import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from children import in_child, killed, moments

from mwl.app.cli import main
from mwl.core.artifact import is_scratch, read_checkpoint, read_manifest
from mwl.core.checkpoints import load_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of itself"),
]
ROUNDS = 4
STAGES = (Path(__file__).parent, Path(__file__).parents[1] / "pipeline")
Work = Callable[[], Any]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, where the toy stages can be imported, here and in child processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*map(str, STAGES), *sys.path]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def write_stage(file: Path, rounds: int = ROUNDS, model: str = "toy.Line", logger: Any = False) -> Path:
    content = {
        "seed_everything": 1,
        "model": {"class_path": model, "init_args": {"lr": 0.05}},
        "data": {"class_path": "toy.RandomBatches", "init_args": {"rounds": rounds}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "logger": logger, "log_every_n_steps": 1},
    }
    file.write_text(yaml.safe_dump(content))
    return file


def fit(output: Path | str, *more: str) -> Work:
    """`mwl fit` with a checkpoint after every round."""
    command = ["fit", "--config", "stage.yaml", "--output", str(output), "--checkpoint_every_s", "0", *more]
    return lambda: main(command)


def weight(folder: Path | str) -> float:
    return float(read_checkpoint(folder)["state_dict"]["weight"])


def check_readable(folder: Path) -> None:
    """Every checkpoint and every artifact that has its name is whole."""
    for file in folder.rglob("last.ckpt"):
        load_checkpoint(file)
    for manifest in folder.rglob("manifest.json"):
        if not is_scratch(manifest.relative_to(folder)):
            read_manifest(manifest.parent)


def finish(work: Work, place: Path) -> None:
    code = in_child(work, place / "log")
    assert code == 0, (place / "log").read_text()


@pytest.fixture
def reference(place: Path) -> float:
    """The weight that a stage never killed ends with."""
    write_stage(place / "stage.yaml")
    finish(fit("runs/reference"), place)
    return weight("runs/reference")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=lambda signum: signum.name)
def test_a_stage_killed_at_any_moment_ends_as_one_that_was_not(
    place: Path, reference: float, signum: signal.Signals
) -> None:
    count = moments(fit("runs/counted"), place)
    assert count > 2 * ROUNDS, "checkpoints are flushed and renamed"
    step = 1 if signum == signal.SIGKILL else 5  # a stage that is told to stop first ends its round: fewer ways to end
    for number in range(0, count, step):
        output = Path(f"runs/{number}")
        code = in_child(killed(number, fit(output), signum), place / "log")
        assert code == -signum or (signum == signal.SIGTERM and code in (0, 130)), (number, code)
        check_readable(place / "runs")
        if code != 0:
            finish(fit(output, "--resume"), place)
        assert weight(output) == reference, f"killed at moment {number} of {count}"
        left = [path for path in Path("runs").iterdir() if is_scratch(path)]
        assert not left, f"killed at moment {number} of {count}"


def test_a_pipeline_killed_at_its_moments_ends_as_one_that_was_not(place: Path, reference: float) -> None:
    upstream = {"model": {"init_args": {"upstream": "${first}"}}}
    stages = {
        "first": {"kind": "fit", "config": "stage.yaml"},
        "second": {"kind": "fit", "config": "stage.yaml", "overrides": upstream},
    }
    (place / "toy.yaml").write_text(yaml.safe_dump({"name": "toy", "max_parallel": 1, "stages": stages}))

    def run(output: str) -> Work:
        return lambda: main(["run", "toy.yaml", "--set", f"output={output}"])

    count = moments(run("runs/whole"), place)  # more or less: progress is shown as time goes on
    assert weight("runs/whole/first") == reference
    for number in sorted({1, count // 3, count // 2}):
        output = f"runs/killed_{number}"
        assert in_child(killed(number, run(output)), place / "log") == -signal.SIGKILL
        check_readable(place / "runs")
        finish(run(output), place)
        assert weight(f"{output}/first") == reference
        assert weight(f"{output}/second") == weight("runs/whole/second")


@pytest.fixture(params=["full", "limited"])
def starved(request: pytest.FixtureRequest, place: Path) -> Iterator[tuple[Path, Callable[[Work], Work]]]:
    """A folder, and what makes a piece of work find no room there."""
    folder = place / "small"
    folder.mkdir()
    if request.param == "limited":

        def limited(work: Work) -> Work:
            def run() -> Any:
                resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
                return work()

            return run

        yield folder, limited
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("can't make a small file system: not allowed to mount")

    def full(work: Work) -> Work:
        def run() -> Any:
            filler = folder / "filler"
            with open(filler, "wb") as file:
                for size in (65536, 4096, 1):
                    while True:
                        try:
                            os.write(file.fileno(), bytes(size))
                        except OSError:
                            break
            try:
                return work()
            finally:
                filler.unlink()

        return run

    yield folder, full
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_nothing_that_was_there(
    place: Path, reference: float, starved: tuple[Path, Callable[[Work], Work]]
) -> None:
    folder, without_room = starved
    output = folder / "line"
    assert in_child(killed(10, fit(output)), place / "log") == -signal.SIGKILL
    checkpoint = next(folder.rglob("last.ckpt"))
    before = checkpoint.read_bytes()
    code = in_child(without_room(fit(output, "--resume")), place / "log")
    said = [line for line in (place / "log").read_text().splitlines() if line.startswith("mwl:")]
    assert code == 1
    assert len(said[-1]) <= 520
    assert "no space left" in said[-1] or "too large" in said[-1], said
    assert "Traceback" not in (place / "log").read_text()
    assert checkpoint.read_bytes() == before
    finish(fit(output, "--resume"), place)
    assert weight(output) == reference


def test_a_store_that_is_locked_for_a_while_gets_all_figures(place: Path) -> None:
    from mwl.experiments import tracking

    tracking.record("drill", "first", lambda run_id: None)  # makes the store
    held = sqlite3.connect(place / "mlflow.db", check_same_thread=False)
    held.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(2.0, held.rollback)
    release.start()
    run_id = tracking.record("drill", "second", lambda run_id: tracking.log_figures(run_id, [("return", 1.0, 0)]))
    release.join()
    held.close()
    assert tracking.history(run_id, "return") == [(0, 1.0)]


def _serve(place: Path, port: int) -> "subprocess.Popen[bytes]":
    """MLflow's server, ready."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{place}/server.db", "--artifacts-destination", str(place / "art")]
    server = subprocess.Popen(
        command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    end = time.monotonic() + 240
    while time.monotonic() < end:
        try:
            asked = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
            with urllib.request.urlopen(asked, timeout=60):  # the first answer takes longest
                return server
        except OSError:
            time.sleep(0.5)
    _end(server)
    pytest.skip("the tracking server did not come up")


def _end(server: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def test_a_tracking_server_that_goes_away_and_comes_back_has_all_points(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 60
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("mwl.experiments.tracking._REMOTE_S", 120.0)  # a busy machine's server is slow, not away
    logger = {"class_path": "mwl.experiments.logger.StageLogger", "init_args": {"synchronous": False}}
    write_stage(place / "stage.yaml", rounds, "slow_line.SlowLine", logger)
    server = _serve(place, port)
    codes: list[int] = []
    fitting = threading.Thread(target=lambda: codes.append(in_child(fit("runs/line"), place / "log")))
    fitting.start()
    try:
        checkpoint = place / "runs" / "_work" / "line" / "last.ckpt"
        while not checkpoint.is_file() and fitting.is_alive():
            time.sleep(0.1)
        _end(server)
        time.sleep(5)
        assert fitting.is_alive(), (place / "log").read_text()
        server = _serve(place, port)
        fitting.join()
        assert codes == [0], (place / "log").read_text()
        from mwl.experiments import tracking

        run = tracking.find_runs("mwl")[0]
        assert run.info.status == "FINISHED"
        assert len(tracking.history(run.info.run_id, "train/loss")) == rounds
    finally:
        fitting.join()
        _end(server)
