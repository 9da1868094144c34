"""What runs in the process of its own that every stage of a pipeline gets."""

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from mwl._extensions import import_files
from mwl.core.errors import MwlError, WriteFailed
from mwl.core.files import write_json, write_text
from mwl.core.terminal import redacted, told

LOG = "log.txt"
ERROR = "error.txt"
FINISHED = "finished.json"
PROGRESS = "progress.json"
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


@dataclass(frozen=True)
class Job:
    """One stage, ready to run: its references are filled in, and it can be sent to another process."""

    name: str
    kind: str
    config: dict[str, Any]
    output: str
    work: str
    experiment: str
    parent_run: str | None
    threads: int
    tracking_uri: str
    imports: tuple[str, ...] = ()
    """Python files of the user to execute first."""


def run(job: Job) -> None:
    """Carry out one stage and leave `finished.json`; everything printed goes to the stage's log.

    A stage that fails leaves its reason in `error.txt` and ends with the error's exit code. Only `finished.json` means
    success: Lightning 2.6 ends with exit code 0 after a SIGTERM as well.
    """
    work = Path(job.work)
    log = os.open(work / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the pipeline, which asks by SIGTERM
    _end_with_parent()
    os.environ["MLFLOW_TRACKING_URI"] = job.tracking_uri  # the server that forks us may be older than this value
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


def _end_with_parent() -> None:
    """End this process when the pipeline is killed the hard way, or two of them would write the same folder later."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
