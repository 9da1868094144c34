"""Makes the toy world importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "world_model"))
