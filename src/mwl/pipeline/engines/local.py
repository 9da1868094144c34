"""The engine without which nothing is needed: processes of this machine."""

import math
import multiprocessing
import os
import signal
import time
from multiprocessing import connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

import torch

from mwl.core.machine import cpu_cores, free_memory, omp_threads
from mwl.experiments import tracking
from mwl.pipeline import worker
from mwl.pipeline.config import Resources
from mwl.pipeline.engines.executor import GRACE_S, Ended, Executor

_GPUS = "CUDA_VISIBLE_DEVICES"
_GB = 1e9


class LocalExecutor(Executor):
    """Forks stages from a server that has imported everything once, which saves 8 s per stage.

    Args:
        max_parallel: stages at the same time; 0: one per CPU core, at most 4.
    """

    def __init__(self, max_parallel: int) -> None:
        slots = max_parallel or min(cpu_cores(), 4)
        threads = omp_threads() or max(1, cpu_cores() // slots)
        named = os.environ.get(_GPUS)
        gpus = [each for each in named.split(",") if each] if named is not None else range(torch.cuda.device_count())
        self._gpus = [str(gpu) for gpu in gpus]
        memory = free_memory()
        machine = Resources(cpu_cores(), len(self._gpus), math.inf if memory is None else memory / _GB)
        super().__init__(slots, threads, [machine])
        self._processes: dict[str, tuple[BaseProcess, list[str]]] = {}  # with the GPUs that it has for itself

    def needed(self, asked: Resources) -> Resources:
        """As asked: stages that ask for nothing share the machine, as many as there are slots."""
        return asked

    def submit(self, job: worker.Job, asked: Resources) -> None:
        """Start a process."""
        gpus, self._gpus = self._gpus[: asked.gpus], self._gpus[asked.gpus :]
        # the server that forks it may be older than these values
        variables = {"MLFLOW_TRACKING_URI": tracking.tracking_uri(), **({_GPUS: ",".join(gpus)} if gpus else {})}
        context = self._context()
        process = context.Process(target=worker.run, args=(job, variables), name=job.name)  # type: ignore[attr-defined]
        process.start()
        self._processes[job.name], self.running[job.name] = (process, gpus), asked

    def poll(self) -> list[Ended]:
        """Wait a moment for any stage to end."""
        connection.wait([process.sentinel for process, _ in self._processes.values()], timeout=0.25)
        ended = []
        for name, (process, gpus) in list(self._processes.items()):
            if process.is_alive():
                continue
            process.join()
            del self._processes[name], self.running[name]
            self._gpus += gpus
            hint = " (out of memory?)" if process.exitcode == -signal.SIGKILL else ""
            ended.append(Ended(name, f"its process ended with code {process.exitcode}{hint}"))
        return ended

    def cancel(self) -> None:
        """Ask by SIGTERM, end by SIGKILL."""
        for process, _ in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + GRACE_S
        for process, _ in self._processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _context(self) -> BaseContext:
        os.environ.update({name: str(self.threads) for name in worker.THREADS})
        # A stage that is stopped leaves semaphores to Python's own tracker, which frees them, but complains.
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(list(worker.PRELOAD))
        return context
