"""Work in a fork of this process: as a command of its own, without importing everything again."""

import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any


def in_child(work: Callable[[], Any], log: Path) -> int:
    """Exit code of the work, or the number of the signal that ended it, negative; what it says goes to `log`."""
    child = os.fork()
    if child == 0:
        code = 70
        forkserver._forkserver.__init__()  # what this process has started of stages is no child of the fork
        with open(log, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            sys.stdout = sys.stderr = file  # pytest had put its own there
            try:
                code = int(work() or 0)
            except SystemExit as error:
                code = int(error.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
