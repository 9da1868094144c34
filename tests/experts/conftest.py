"""Where the data are; makes what the tests share importable."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    return Path(__file__).parents[2] / "data"
