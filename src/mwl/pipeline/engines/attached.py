"""What runs on another machine for a stage: `mwl stage`, in a process that ends with the one that started it."""

import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from os import environ
from pathlib import Path

from mwl.pipeline.engines.executor import GRACE_S


class Attached:
    """Carries out a stage, given the file of its job and variables to set; returns the exit code.

    Whatever is raised into the call, as by an engine that cancels it, first lets the stage save and end.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, job: str, variables: Mapping[str, str]) -> int:
        """Start and wait."""
        command = [sys.executable, "-P", "-m", "mwl", "stage", job, "--attached"]
        variables = {**environ, **variables}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=variables, cwd=Path(job).parent)
        try:
            while True:  # a wait without end would let no signal through
                with suppress(subprocess.TimeoutExpired):
                    return self._process.wait(0.2)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask the stage to save and end; make it end when it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
