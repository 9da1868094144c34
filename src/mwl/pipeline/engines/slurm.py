"""Stages as jobs of SLURM, sent by submitit."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mwl.core.errors import BadInput
from mwl.core.machine import omp_threads
from mwl.pipeline import worker
from mwl.pipeline.config import Resources
from mwl.pipeline.engines.attached import Attached
from mwl.pipeline.engines.executor import GRACE_S, Ended, Executor


class Preemptible(Attached):
    """A stage that saves when SLURM takes its machine away or its time is up, and goes on in another job."""

    def checkpoint(self, job: str, variables: Mapping[str, str]) -> Any:
        """Called by submitit on the signal; returns what is queued again."""
        from submitit.helpers import DelayedSubmission

        self.stop()
        return DelayedSubmission(Preemptible(), job, variables)


class SlurmExecutor(Executor):
    """Sends each stage as a job of its own; SLURM keeps the queue.

    Args:
        slots: jobs at the same time, waiting ones included.
        parameters: what submitit's `AutoExecutor` takes, as `slurm_partition` and `timeout_min`; `cluster: local` tries
            the pipeline out on this machine.
        folder: of the pipeline; submitit's own files go below it.
    """

    def __init__(self, slots: float, parameters: Mapping[str, Any], folder: Path) -> None:
        import submitit

        from mwl.training.stage_cli import work_folder  # brings torch, which a job need not import twice

        super().__init__(slots, omp_threads() or 1, [])
        self._submitit, self._parameters, self._folder = submitit, dict(parameters), work_folder(folder / "_slurm")
        self._cluster = self._parameters.pop("cluster", "slurm")
        self._jobs: dict[str, Any] = {}
        self._sender({})

    def _sender(self, wanted: Mapping[str, Any]) -> Any:
        """What sends a job with these parameters and those of the user, which come first.

        Raises:
            BadInput: there is no SLURM here, or it has no such parameter.
        """
        try:
            sender = self._submitit.AutoExecutor(folder=self._folder, cluster=self._cluster)
            sender.update_parameters(**{**wanted, **self._parameters})
        except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
            raise BadInput(f"engine 'slurm': {' '.join(str(error).split())}") from error
        return sender

    def submit(self, job: worker.Job, asked: Resources) -> None:
        """Send a job; the user's environment goes with it, so nothing secret is written."""
        needed = self.needed(asked)
        wanted: dict[str, Any] = {"name": job.name, "cpus_per_task": needed.cpus}
        if needed.gpus:
            wanted["gpus_per_node"] = needed.gpus
        if needed.memory:
            wanted["mem_gb"] = needed.memory
        path = str(worker.write(job))
        self._jobs[job.name] = self._sender(wanted).submit(Preemptible(), path, worker.threads(job))
        self.running[job.name] = asked

    def poll(self) -> list[Ended]:
        """Wait a moment, and ask for every job."""
        time.sleep(0.25)
        done = [name for name, job in self._jobs.items() if job.done()]
        return [self._ended(name) for name in done]

    def _ended(self, name: str) -> Ended:
        job = self._jobs.pop(name)
        del self.running[name]
        try:
            return Ended(name, f"its process ended with code {job.result()}")
        except self._submitit.core.utils.FailedJobError as error:  # the job ended by an error of its own
            return Ended(name, f"its job {job.job_id} failed ({str(error).strip().splitlines()[-1]})")
        except self._submitit.core.utils.UncompletedJobError:
            return Ended(name, f"its job {job.job_id} was lost ({job.state})", lost=True)

    def cancel(self) -> None:
        """Cancel every job, which lets its stage save."""
        for job in self._jobs.values():
            job.cancel()
        deadline = time.monotonic() + GRACE_S
        while self._jobs and time.monotonic() < deadline:
            self.poll()
