"""Makes `walking_bvh` importable, which several tests write files with."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
