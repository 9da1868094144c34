"""Stages on the machines of a Ray cluster, or of a Ray that is started here for the time of the pipeline."""

import logging
import os
import signal
from typing import Any

from mwl.core.errors import BadInput
from mwl.core.files import shown
from mwl.core.machine import cpu_cores, omp_threads
from mwl.experiments import store, tracking
from mwl.pipeline import worker
from mwl.pipeline.config import Resources
from mwl.pipeline.engines.attached import Attached
from mwl.pipeline.engines.executor import GRACE_S, Ended, Executor

_GB = 1e9
_OBJECTS = 80 * 2**20  # bytes: nothing but a few exit codes goes through Ray, and less it does not take
_TRIES = 2  # Ray gives a slow machine 30 s to start, and no say in that
_SETTINGS = {  # read by Ray when it is imported and by the processes that it starts
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": "120000",
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # Ray's own switch for a cluster of one machine, on any system
_PASSED_ON = ("MLFLOW_", "MWL_", "PYTHONPATH")  # variables of the user that a stage elsewhere needs


class RayExecutor(Executor):
    """Runs each stage as a Ray task, in whose worker it has a process of its own.

    Args:
        slots: stages at the same time.
        address: `host:port` of the head node, or `auto`; None starts a Ray of this machine alone.
    """

    def __init__(self, slots: float, address: str | None) -> None:
        self._ray = _connected(address)
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        machines = [
            Resources(int(has.get("CPU", 0)), int(has.get("GPU", 0)), has.get("memory", 0) / _GB)
            for has in (node["Resources"] for node in nodes)
        ]
        super().__init__(slots, omp_threads() or 1, machines)
        hosts = {node["NodeManagerHostname"] for node in nodes}
        if len(hosts) > 1 and store.sqlite_file(tracking.tracking_uri()):
            self.notices = [
                f"the MLflow store is a file, which {len(hosts)} machines can't safely share; start `mlflow server` on "
                "one of them and set MLFLOW_TRACKING_URI"
            ]
        self._tasks: dict[Any, str] = {}

    def submit(self, job: worker.Job, asked: Resources) -> None:
        """Queue a task; what is secret goes by the environment of its process."""
        needed = self.needed(asked)
        variables = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        variables |= {"MLFLOW_TRACKING_URI": tracking.tracking_uri(), **worker.threads(job)}
        task = self._ray.remote(max_retries=0)(_carry_out).options(
            name=job.name, num_cpus=needed.cpus, num_gpus=needed.gpus, memory=int(needed.memory * _GB)
        )
        self._tasks[task.remote(str(worker.write(job)), variables)] = job.name
        self.running[job.name] = asked

    def poll(self) -> list[Ended]:
        """Wait a moment for any task to end."""
        done, _ = self._ray.wait(list(self._tasks), timeout=0.25)
        ended = []
        for task in done:
            name = self._tasks.pop(task)
            del self.running[name]
            ended.append(self._ended(name, task))
        return ended

    def _ended(self, name: str, task: Any) -> Ended:
        try:
            code = self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            return Ended(name, str(error).strip().splitlines()[-1])
        except self._ray.exceptions.LocalRayletDiedError:  # nothing can be started from here any more
            return Ended(name, "Ray on this machine is gone")
        except self._ray.exceptions.RayError as error:
            return Ended(name, f"its worker was lost ({type(error).__name__})", lost=True)
        return Ended(name, f"its process ended with code {code}", lost=code == -signal.SIGKILL)

    def cancel(self) -> None:
        """Interrupt every task, which lets its stage save; end it by force."""
        for force in (False, True):
            for task in self._tasks:
                self._ray.cancel(task, force=force)
            if self._tasks:
                _, left = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=GRACE_S + 5)
                self._tasks = {task: self._tasks[task] for task in left}

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._ray.shutdown()


def _carry_out(job: str, variables: dict[str, str]) -> int:
    return Attached()(job, variables)


def _connected(address: str | None) -> Any:
    """Ray, after it was started or connected to, with the signals as they were.

    Raises:
        BadInput: nobody answers at the address, or Ray doesn't start.
    """
    for name, value in {**_SETTINGS, **({} if address else _LOOPBACK)}.items():
        os.environ.setdefault(name, value)
    import ray

    if not address:  # TorchRL may have imported Ray before the switch was set
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False

    own: dict[str, Any] = {"num_cpus": cpu_cores(), "include_dashboard": False, "object_store_memory": _OBJECTS}
    if address:
        own = {}
    former = signal.getsignal(signal.SIGTERM)
    try:
        for attempt in range(_TRIES):
            try:
                ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
                return ray
            except Exception as error:  # Ray's own, of the connection, of the system: they share no base
                ray.shutdown()
                if address or attempt == _TRIES - 1:
                    hint = "; where it asks for a token, set RAY_AUTH_MODE=token"
                    what = f"no Ray answers at {shown(address)}{hint}" if address else "Ray doesn't start"
                    raise BadInput(f"{what} ({' '.join(str(error).split())[:200]})") from error
    finally:
        signal.signal(signal.SIGTERM, former)
