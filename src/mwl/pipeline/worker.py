"""What runs in the process of its own that every stage of a pipeline gets."""

import os
import platform
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from mwl._extensions import import_files
from mwl.core.errors import BadInput, ConfigError, CorruptFile, MwlError, WriteFailed
from mwl.core.files import read_json, shown, write_json, write_text
from mwl.core.terminal import redacted, told
from mwl.training.lock import held

LOG = "log.txt"
ERROR = "error.txt"
FINISHED = "finished.json"
PROGRESS = "progress.json"
JOB = "job.json"
BEGINS, GOES_ON = "begins", "goes on from its last checkpoint"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
PRELOAD = (
    "mlflow",
    "mwl.training.fit",
    "mwl.pipeline.stages",
    "mwl.evaluation.run",
    "mwl.experts.cloning.module",
    "mwl.semantics",
    "mwl.selection.module",
    "mwl.world_model.module",
    "scipy.stats",
    "transformers",
)
INTERRUPTED = 130
_LAST_ONE_S = 60.0  # a process whose worker was lost needs a moment to notice


@dataclass(frozen=True)
class Job:
    """One stage, ready to run: its references are filled in, and it can be sent to another process.

    It holds no secret: the address of the store is taken from the environment where the stage runs.
    """

    name: str
    kind: str
    config: dict[str, Any]
    output: str
    work: str
    experiment: str
    parent_run: str | None
    threads: int
    folder: str
    """Where the pipeline was started; paths are relative to it."""
    begins: str
    """How, for the log."""
    imports: tuple[str, ...] = ()
    """Python files of the user to execute first."""


def write(job: Job) -> Path:
    """Write a job where another machine finds it, for `mwl stage`; returns the absolute path.

    Raises:
        ConfigError: its configuration holds what JSON has no word for, as a date or infinity.
    """
    path = Path(job.folder, job.work, JOB)
    try:
        write_json(path, asdict(job))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"stage {job.name!r} can't be sent to another machine: {error}") from error
    return path


def threads(job: Job) -> dict[str, str]:
    """The variables that keep libraries to the job's number of threads."""
    return dict.fromkeys(THREADS, str(job.threads))


def run_file(path: Path, *, attached: bool = False) -> None:
    """Carry out the stage that a file describes, once nobody else is at work on it: the `mwl stage` command.

    Args:
        path: written by `write`.
        attached: whether to end at once when stdin closes, as when whoever started this is gone.

    Raises:
        CorruptFile: the file holds no job.
    """
    if attached:
        _end_with(sys.stdin.fileno())
    content = read_json(path)
    try:
        job = Job(**{**content, "imports": tuple(content["imports"])})
        os.chdir(job.folder)
    except (KeyError, TypeError, OSError) as error:
        raise CorruptFile(f"{shown(path)}: no job of a stage, or its folder isn't there ({error})") from error
    work = Path(job.work)
    try:
        with held(work.with_name(f"{work.name}.stage.lock"), Path(job.output), seconds=_LAST_ONE_S):
            if not (work / FINISHED).is_file():  # by one that was taken for lost
                run(_queued_again(job), {})
    except BadInput as error:  # whoever waits for the stage sees its folder alone
        write_text(work / ERROR, told(str(error)))
        raise


def _queued_again(job: Job) -> Job:
    """The job; one that an engine stopped and begins again by itself says so."""
    from mwl.training.resume import has_checkpoint

    again = job.begins == BEGINS and has_checkpoint(Path(job.work))
    return replace(job, begins=GOES_ON) if again else job


def run(job: Job, variables: Mapping[str, str]) -> None:
    """Carry out one stage and leave `finished.json`; everything printed goes to the stage's log.

    Sets the given variables of the environment first. A stage that fails leaves its reason in `error.txt` and ends with
    the error's exit code. Only `finished.json` means success: Lightning 2.6 ends with exit code 0 after a SIGTERM as
    well.
    """
    work = Path(job.work)
    log = os.open(work / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the pipeline, which asks by SIGTERM
    parent = parent_process()
    if parent is not None:  # or two of them would write the same folder later
        _end_with(parent.sentinel)
    os.environ.update(variables)
    print(f"mwl: {job.name} {job.begins}, on {platform.node()}, process {os.getpid()}", file=sys.stderr, flush=True)
    try:
        import torch

        torch.set_num_threads(job.threads)
        import_files(job.imports)
        from mwl.pipeline.stages import carry_out

        summary = carry_out(job)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BaseException as error:
        print(redacted(traceback.format_exc()), file=sys.stderr)
        message = str(error).strip() or type(error).__name__
        if not isinstance(error, MwlError):
            message = f"{type(error).__name__}: {message}"
        with suppress(WriteFailed):
            write_text(work / ERROR, told(message))
        sys.stderr.flush()
        sys.exit(error.exit_code if isinstance(error, MwlError) else 1)
    write_json(work / FINISHED, summary)


def _end_with(sentinel: int) -> None:
    """End this process, the hard way, when the one behind the sentinel is gone."""

    def watch() -> None:
        connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
