"""Lets the drill's parts import each other, and the toy stages of the tests of pipelines."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "pipeline")]
