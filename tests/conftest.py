"""Shared fixtures; importing `mwl` first lets lightning import beside a torchvision built for another torch."""

import pytest

import mwl  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the cache of the user who runs it."""
    pytest.MonkeyPatch().setenv("MWL_CACHE", str(tmp_path_factory.mktemp("cache")))
