"""CPU time of the ray caster for a picture of every task as its films show it, some steps into an episode.

The best of some rounds is taken, as other jobs only slow it down. The last column is of the same rounds: how many times
longer it takes to draw every pixel by itself.

python benchmarks/rendering.py [--rounds 40] [--table FILE]
"""

import argparse
import time
from pathlib import Path

import mujoco
import torch

from mwl.evaluation.table import report
from mwl.simulation import TASKS, Task, build_model, make_env
from mwl.simulation.rendering.raycast import RayCaster

SIZES = ((480, 320), (720, 480))  # pixels


def state(task: Task) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """A model and its state after some random actions."""
    torch.manual_seed(0)
    env = make_env(task.name, 1, seed=0)
    env.rollout(10)
    model = build_model(task, visual=True)
    data = mujoco.MjData(model)
    data.qpos[:] = env.world.simulation.qpos[0]
    mujoco.mj_forward(model, data)
    env.close()
    return model, data


def milliseconds(task: Task, rounds: int) -> list[float]:
    """Least CPU times of pictures of both sizes, and of the first with every pixel drawn."""
    model, data = state(task)
    casters = [*(RayCaster(model, *size) for size in SIZES), RayCaster(model, *SIZES[0], step=1)]
    least = [float("inf")] * len(casters)
    for _ in range(rounds):
        for place, caster in enumerate(casters):
            began = time.process_time()
            caster.render(data, task.camera)
            least[place] = min(least[place], 1000 * (time.process_time() - began))
    return least


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="pictures of each")
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    rows = []
    for task in TASKS.values():
        small, large, whole = milliseconds(task, options.rounds)
        rows.append([f"{task.name}, {task.camera}", f"{small:.0f}", f"{large:.0f}", f"{whole / small:.1f}"])
    sizes = (f"{width}x{height}, CPU ms" for width, height in SIZES)
    report(("view", *sizes, "every pixel drawn, times as long"), rows, options.table)


if __name__ == "__main__":
    main()
