import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for `walking_bvh`, which several tests write files with


@pytest.fixture(scope="session")
def data_folder() -> Path:
    return Path(__file__).parents[2] / "data"
