"""Makes `pages` importable, by which the tests read the documents."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
