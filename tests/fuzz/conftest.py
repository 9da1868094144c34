"""Lets the fuzzer's parts import each other, and the writers of motion files of the tests of motion."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "mocap")]
