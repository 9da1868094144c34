"""Transitions as a plan makes them: of robots that do one thing and are then told another, how many fall.

    python benchmarks/takeovers.py                            # all that a plan may ask for: hours of a core
    python benchmarks/takeovers.py run:stand --episodes 16    # one of them

What the plan puts in between is part of it: a walker that brakes, a skill that starts a runner. Where the first skill
takes a time it gets 2 to 4 s of it, another one for each robot; all robots of a pair are played at once.
`benchmarks/handover.py` has agents take over without a plan.
"""

import argparse
from pathlib import Path

import torch

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.evaluation.table import report
from mwl.instructions.config import FollowStage
from mwl.instructions.follow import begin, cast
from mwl.instructions.planner import choose_planner
from mwl.robot import CONTROL_HZ
from mwl.rollouts.falls import AT_RISK, DOWN_HEAD
from mwl.semantics import SemanticHead
from mwl.semantics.plan.progress import met

FIRST = {
    "stand": "stand for {} seconds",
    "walk": "walk for {} seconds",
    "turn": "turn left",
    "sidestep": "walk to the left for {} seconds",
    "backwards": "walk backwards for {} seconds",
    "run": "run for {} seconds",
    "reach": "touch the target",
    "door": "open the door",
    "raise_arm": "raise your left arm for {} seconds",
    "wave": "wave for {} seconds",
    "crouch": "crouch for {} seconds",
}
THEN = {
    "stand": "stand for five seconds",
    "walk": "walk for five seconds",
    "turn": "turn around",
    "sidestep": "walk to the right for five seconds",
    "backwards": "walk backwards for five seconds",
    "run": "run for five seconds",
    "reach": "touch the target",
    "door": "open the door",
    "sit": "sit down",
    "slope": "walk up the slope",
    "raise_arm": "raise your left arm for five seconds",
    "wave": "wave for five seconds",
    "crouch": "crouch for five seconds",
}
STILL = ("stand", "walk", "run")  # what is asked for after everything
PAIRS = (
    *(f"stand:{then}" for then in THEN if then != "stand"),
    *(f"walk:{then}" for then in THEN if then not in ("walk", "slope")),  # 2 m on, it has begun
    *(f"run:{then}" for then in THEN if then not in ("run", "door", "slope")),
    *(f"{first}:{then}" for first in ("turn", "sidestep", "backwards") for then in STILL),
    *(f"{first}:{then}" for first in ("reach", "door", "raise_arm", "wave", "crouch") for then in STILL),
)
SEED = 4000
SHORTEST, LONGEST = 2.0, 4.0  # s, of a first step that takes a time
WATCHED = 300  # control steps, as in `benchmarks/handover.py`
AT_MOST = 1000  # control steps after the transition that are played
LONGEST_PLAN = 4000  # control steps


def measured(pair: str, episodes: int) -> list[str]:
    """The row of a pair: how many fell within six seconds of the first step's end, later, and before."""
    first, then = pair.split(":")
    steps = len(choose_planner(SemanticHead.load("embedded"), "clip", None, None).plan(FIRST[first].format("3")))
    plan = f"{FIRST[first].format(f'{SHORTEST:g}')}, then {THEN[then]}"
    stage = cast(FollowStage(plan, seed=SEED))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(SEED)
        left, down, at_work = _played(stage, episodes, steps)
    falls = {"at it": 0, "later": 0, "before": 0}
    for robot in (down >= 0).nonzero().flatten().tolist():
        when = int(down[robot] - left[robot])
        falls["before" if left[robot] < 0 else "at it" if when <= WATCHED else "later"] += 1
        since = f"{when / 50:.1f} s after the transition" if left[robot] >= 0 else f"{down[robot] / 50:.1f} s"
        print(f"FELL {plan} ({robot}): {since}, {at_work[robot]}", flush=True)
    row = [first, then, str(episodes), *map(str, falls.values())]
    print(*row, flush=True)
    return row


def _played(stage: FollowStage, episodes: int, steps: int) -> tuple[torch.Tensor, torch.Tensor, dict[int, str]]:
    """Control step `[N]` at which each robot left the first so many steps asked for, and went down (-1: it did not).

    With them, for each that went down, the step of the plan and the skill that was at work.
    """
    env, state, agent = begin(stage, episodes)
    sequencer, layout = agent.director.sequencer, env.task.layout
    sequencer.longer = torch.linspace(0, (LONGEST - SHORTEST) * CONTROL_HZ, episodes).long()
    asked = [place for place, clause in enumerate(agent.director.plan) if not clause.inserted]
    left, down = torch.full((episodes,), -1), torch.full((episodes,), -1)
    at_work: dict[int, str] = {}
    over = torch.zeros(episodes, dtype=torch.bool)
    for step in range(LONGEST_PLAN):
        seen = state[keys.OBSERVATION]
        action = agent.act(seen, step)
        place = torch.tensor(sequencer.place)
        left = torch.where((left < 0) & (place > asked[steps - 1]), step, left)
        done = place >= len(agent.director.plan)
        lies = done & AT_RISK.lost(seen[:, :7]) & ~met("seated", seen, layout)  # at the end of its plan
        after = env.step(state.set(keys.ACTION, action))[keys.NEXT]
        low = torch.from_numpy(env.measurement["head_position"][:, 2] < DOWN_HEAD)
        ended = after[keys.TERMINATED].squeeze(-1) & ~torch.from_numpy(env.succeeded)
        fell = ~over & (lies | ~done & (low | ended))
        for robot in fell.nonzero().flatten().tolist():
            clause = agent.director.plan[min(int(place[robot]), len(agent.director.plan) - 1)]
            at_work[robot] = f"{agent.skills[robot]} acts in {clause.text!r}"
        down = torch.where(fell, step, down)
        over = over | fell | done | (left >= 0) & (step - left > AT_MOST)
        if bool(over.all()):
            break
        state = after.exclude(keys.REWARD)
    return left, down, at_work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", metavar="FIRST:THEN", help=f"of {', '.join(PAIRS)}; without it all")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    if unknown := [pair for pair in options.pairs if pair not in PAIRS]:
        raise BadInput(f"no pair {', '.join(unknown)}; known: {', '.join(PAIRS)}")
    torch.set_num_threads(1)
    rows = [measured(pair, options.episodes) for pair in options.pairs or PAIRS]
    report(("from", "to", "episodes", "falls within 6 s", "later", "before"), rows, options.table)


if __name__ == "__main__":
    main()
