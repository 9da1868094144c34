"""Environments in this folder can be named by their class."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
