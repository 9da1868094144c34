"""What this process may take of the machine: cores, threads, memory."""

import os
import platform
import re
import sys
from pathlib import Path

try:
    import resource
except ImportError:  # of Windows
    resource = None  # type: ignore[assignment]

_MOST = 1024  # more is a slip of the pen, and some libraries crash on it


def cpu_cores() -> int:
    """Cores that this process may use: those of its affinity (`taskset`, containers), not of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def omp_threads() -> int | None:
    """The threads that `OMP_NUM_THREADS` asks for; None where it is unset or no number of threads.

    OpenMP lets it be a list, one number per level of nesting, as in `4,2`; the first counts here.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and 1 <= int(first[:9]) <= _MOST else None


def cpu_threads() -> int:
    """Threads to take where nobody says otherwise."""
    return omp_threads() or cpu_cores()


def processor() -> str:
    """The processor's name, family and model, by which its rounding and speed are known."""
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", "\n".join(_lines("/proc/cpuinfo")), re.M))
    if len(found) < 3:
        return platform.processor() or platform.machine()
    return f"{found['model name']} (family {found['cpu family']}, model {found['model']})"


def free_memory() -> int | None:
    """Bytes that can still be taken, by machine and container; None where the system doesn't tell."""
    found = []
    for line in _lines("/proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            found.append(1024 * int(value.split()[0]))
    limit, used = _lines("/sys/fs/cgroup/memory.max"), _lines("/sys/fs/cgroup/memory.current")
    if limit and used and limit[0].isdigit():
        found.append(max(0, int(limit[0]) - int(used[0])))
    return min(found, default=None)


def peak_memory() -> int | None:
    """Bytes that this process has taken at most, what it shares with others included; None where nobody counts."""
    if resource is None:
        return None
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
