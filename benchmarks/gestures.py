"""Gestures and crouching in physics: who falls, for how much of the time the pose is held, how fast a hand waves.

python benchmarks/gestures.py raise_arm wave crouch [--starts 64] [--seconds 10] [--pushes 0 0.2 0.4]
"""

import argparse

import torch

from mwl.core import keys
from mwl.evaluation.agents import find_expert
from mwl.experts.library import Expert
from mwl.experts.measure import Alone
from mwl.robot import CONTROL_HZ
from mwl.robot.h1 import CONTROL_DT, JOINT_NAMES
from mwl.rollouts import rollout
from mwl.rollouts.falls import DOWN_HEAD
from mwl.rollouts.pushes import Pushes
from mwl.simulation import make_env

LOW = 0.9  # m, a pelvis below it crouches; standing it is at 1.04
SETTLED = 2.0  # s in which the pose is taken
ELBOWS = [JOINT_NAMES.index(f"{side}_elbow") for side in ("right", "left")]
ARMS = (-1.0, 1.0)  # that are told in turn; with both none tells the hands apart


def measured(name: str, starts: int, seconds: float, push: float, seed: int = 10_000) -> str:
    """A line of figures of one expert under pushes of `push` m/s (standard deviation) every 2 s; 0 pushes nobody."""
    expert = Expert.load(find_expert(name))
    env = make_env("h1-stand", num_envs=starts, seed=seed)
    arms = torch.tensor(ARMS).repeat(starts)[:starts, None]
    pushes = Pushes(std=push, interval=2.0, seed=seed) if push else None
    agent = Alone(expert, arms if expert.spec.command else None)
    down, held, elbows, heights = torch.zeros(starts, dtype=torch.bool), [], [], []
    hand = (arms[:, 0] > 0).long()
    for step in rollout(env, agent, round(seconds * CONTROL_HZ), pushes=pushes):
        seen = env.measurement
        head = torch.from_numpy(seen["head_position"][:, 2].copy())
        down |= (head < DOWN_HEAD) | ~torch.from_numpy(step.running)
        if step.index < SETTLED * CONTROL_HZ:
            continue
        observed = step.after[keys.OBSERVATION]
        heights.append(observed[:, 2][~down])
        if expert.spec.command:
            hands = torch.stack(
                [torch.from_numpy(seen[f"{side}_hand_position"][:, 2].copy()) for side in ("right", "left")]
            )
            held.append((hands.gather(0, hand[None])[0] > head) & ~down)
            elbows.append(observed[:, 7:26][:, ELBOWS].gather(1, hand[:, None])[:, 0])
        else:
            held.append((observed[:, 2] < LOW) & ~down)
    share = torch.stack(held).float().mean()
    told = f"{name}, pushes {push:g}: {int(down.sum())} of {starts} fall, held {share:.0%} of the time"
    if elbows:
        elbow = torch.stack(elbows)[:, ~down]
        off = elbow - elbow.mean(dim=0)
        rate = ((off[1:] > 0) != (off[:-1] > 0)).float().sum(dim=0).median() / 2 / (len(elbow) * CONTROL_DT)
        return f"{told}, elbow swings {float(elbow.std(dim=0).median()) * 2**0.5:.2f} rad, {rate:.1f} times a second"
    return f"{told}, pelvis at {torch.cat(heights).mean():.3f} m"


def main() -> None:
    """Print a line for each expert and push."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--starts", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--pushes", type=float, nargs="+", default=[0.0, 0.2, 0.4])
    arguments = parser.parse_args()
    for name in arguments.names:
        for push in arguments.pushes:
            print(measured(name, arguments.starts, arguments.seconds, push), flush=True)


if __name__ == "__main__":
    main()
