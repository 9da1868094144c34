"""Threads and memory: what is asked for, and what this process may take."""

import os

import pytest

from mwl import make_env
from mwl.core.machine import cpu_cores, cpu_threads, free_memory, omp_threads


@pytest.mark.parametrize(
    ("value", "threads"),
    [
        ("3", 3),
        ("4,2", 4),
        (" 2 , 1", 2),
        ("", None),
        ("0", None),
        ("-1", None),
        ("many", None),
        ("9" * 30, None),
        ("²", None),
    ],
)
def test_threads_that_the_environment_asks_for(
    monkeypatch: pytest.MonkeyPatch, value: str, threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert omp_threads() == threads
    assert cpu_threads() == threads or cpu_cores()
    env = make_env("h1-stand", num_envs=8)
    assert env.simulation.num_threads == min(8, threads or cpu_cores())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_threads_keep_to_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert make_env("h1-stand", num_envs=8).simulation.num_threads == 1
    finally:
        os.sched_setaffinity(0, before)


def test_free_memory_is_some() -> None:
    free = free_memory()
    assert free is None or 2**20 < free < 2**50
