"""CPU time of the ray caster for a picture, some steps into an episode; a film has the larger ones.

The best of some rounds is taken, as other jobs only slow it down.

python benchmarks/rendering.py [--rounds 40] [--table FILE]
"""

import argparse
import time
from pathlib import Path

from mwl.evaluation.table import report
from mwl.simulation import make_env

VIEWS = {"h1-walk": "follow", "h1-reach": "follow", "h1-sit_simple": "follow", "h1-door": "room", "h1-maze": "above"}
SIZES = ((480, 320), (720, 480))  # pixels


def milliseconds(task: str, camera: str, size: tuple[int, int], rounds: int) -> list[float]:
    """CPU times of pictures of one state."""
    env, taken = make_env(task, 1, seed=0), []
    env.rollout(10)
    for _ in range(rounds + 1):
        began = time.process_time()
        env.render(0, *size, camera, backend="raycast")
        taken.append(1000 * (time.process_time() - began))
    env.close()
    return taken[1:]  # the first one makes the renderer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="pictures of each")
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    rows = []
    for task, camera in VIEWS.items():
        taken = [milliseconds(task, camera, size, options.rounds) for size in SIZES]
        rows.append([f"{task}, {camera}", *(f"{min(t):.0f}" for t in taken)])
    report(("view", *(f"{width}x{height}, CPU ms" for width, height in SIZES)), rows, options.table)


if __name__ == "__main__":
    main()
