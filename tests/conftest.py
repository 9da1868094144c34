"""Shared fixtures; importing `mwl` first lets lightning import beside a torchvision built for another torch.

Tests run in random order. Whatever a test draws without a seed of its own is the same in every order: the generators
are set anew before each test and its fixtures.
"""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mwl  # noqa: F401

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # what all tests share: `quiet_trainer`


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-randomly shuffle, and leave the generators to us: it knows nothing of torch."""
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin every worker's share of the shuffled tests with the longest ones, or one worker ends alone with them."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long")]
    rest = [item for item in items if not item.get_closest_marker("long")]
    share = len(items) // workers
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        first = long[worker::workers]
        more = len(rest) if worker == workers - 1 else max(0, share - len(first))
        ordered += [*first, *rest[:more]]
        del rest[:more]
    items[:] = ordered


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Set all global generators."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # what a library draws from it
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the cache of the user who runs it, nor finds what lies in that user's data folder."""
    pytest.MonkeyPatch().setenv("MWL_CACHE", str(tmp_path_factory.mktemp("cache")))
    pytest.MonkeyPatch().setenv("MWL_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations name their files from the top of the repository, wherever pytest was started."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Where the shipped data are."""
    return ROOT / "data"
