"""How long the command takes to answer: version, help, lists, bad input, an instruction asked before, and a new one.

    python benchmarks/commands.py --rounds 5

Each command is run in an empty folder, once to warm files and the cache, then `rounds` times; the least counts, as
whatever else the machine does only adds to it. In the last row the cache knows the phrases of all cards, but not the
words; it says what the sentence encoder costs that has to be loaded for them.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from mwl.evaluation.table import report

COMMANDS = (  # with the CPU seconds that are aimed at
    (("--version",), 0.3),
    (("--help",), 1.0),
    (("list", "experts"), 1.0),
    (("evaluate", "--task", "h1-nope"), 0.5),
    (("evaluate", "--task", "h1-walk", "--agent", "expert:wlak"), 0.5),
    (("run", "conf:pipelines/dmo.yaml"), 0.5),
    (("fit", "--config", "conf:gte.yaml"), 0.5),
    (("instruct", "walk forward"), 1.5),
)
NEW = "walk to the kitchen, please, and mind step {}"


def measured(command: tuple[str, ...], here: str) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "mwl", *command], cwd=here, env=os.environ, capture_output=True, check=False)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table as JSON")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    with tempfile.TemporaryDirectory() as here:
        for command, aim in COMMANDS:
            runs = [measured(command, here) for _ in range(options.rounds + 1)][1:]
            cpu, wall = (min(column) for column in zip(*runs, strict=True))
            rows.append([f"`mwl {' '.join(command)}`", round(cpu, 2), round(wall, 2), aim])
        runs = [measured(("instruct", NEW.format(uuid4())), here) for _ in range(options.rounds)]
        cpu, wall = (min(column) for column in zip(*runs, strict=True))
        rows.append(["`mwl instruct`, words never asked before", round(cpu, 2), round(wall, 2), "-"])
    report(["command", "CPU s", "wall s", "aim, CPU s"], rows, options.table)


if __name__ == "__main__":
    main()
