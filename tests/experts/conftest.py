from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    return Path(__file__).parents[2] / "data"
