"""Transitions as a plan makes them: of robots that do one thing and are then told another, how many fall.

    python benchmarks/takeovers.py                            # all that a plan may ask for: hours of a core
    python benchmarks/takeovers.py run:stand --episodes 16    # one of them

What the plan puts in between is part of it: a walker that brakes, a skill that starts a runner. Where the first skill
takes a time it gets 2 to 4 s of it, another one in each episode. `benchmarks/handover.py` has agents take over at once.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from mwl.core.errors import BadInput
from mwl.evaluation.table import report
from mwl.instructions.config import FollowStage
from mwl.instructions.follow import follow
from mwl.instructions.planner import choose_planner
from mwl.semantics import SemanticHead

FIRST = {
    "stand": "stand for {} seconds",
    "walk": "walk for {} seconds",
    "turn": "turn left",
    "sidestep": "walk to the left for {} seconds",
    "backwards": "walk backwards for {} seconds",
    "run": "run for {} seconds",
    "reach": "touch the target",
    "door": "open the door",
    "sit": "sit down",
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
    "stairs": "walk up the stairs",
}
PAIRS = (
    *(f"stand:{then}" for then in THEN if then != "stand"),
    *(f"walk:{then}" for then in THEN if then != "walk"),
    *(f"run:{then}" for then in THEN if then not in ("run", "door")),  # within 2 s it is at the door
    *(f"{first}:{then}" for first in ("turn", "sidestep", "backwards") for then in ("stand", "walk", "run")),
    *(f"{first}:{then}" for first in ("reach", "door", "sit") for then in ("stand", "walk", "run")),
)
SEED, SHORTEST, LONGEST = 4000, 2.0, 4.0  # s
WATCHED = 300  # control steps, as in `benchmarks/handover.py`


def handed_over(summary: dict[str, Any], steps: int) -> int | None:
    """The control step at which the first instruction, so many steps of the plan, was left; None: it never was."""
    asked = [place for place, step in enumerate(summary["plan"]) if not step["inserted"]]
    last = asked[steps - 1]
    return next((d["step"] for d in summary["decisions"] if d["before"] == last and d["after"] > last), None)


def measured(pair: str, episodes: int) -> list[str]:
    """The row of a pair: how many fell within six seconds of the first step's end, later, and before."""
    first, then = pair.split(":")
    steps = len(choose_planner(SemanticHead.load("embedded"), "clip", None, None).plan(FIRST[first].format("3")))
    falls = {"at it": 0, "later": 0, "before": 0}
    for number in range(episodes):
        seconds = SHORTEST + (LONGEST - SHORTEST) * number / episodes
        plan = f"{FIRST[first].format(f'{seconds:.2f}')}, then {THEN[then]}"
        summary: dict[str, Any] = follow(FollowStage(plan, seed=SEED + number), None)
        if summary["fell"]:
            when = handed_over(summary, steps)
            kind = "before" if when is None else "at it" if summary["steps"] - when <= WATCHED else "later"
            falls[kind] += 1
            where = next((step["text"] for step in summary["plan"] if step["state"] != "done"), plan)
            print(f"FELL {plan} (seed {SEED + number}): in {where!r}, after {summary['steps'] / 50:.1f} s", flush=True)
    row = [first, then, str(episodes), *map(str, falls.values())]
    print(*row, flush=True)
    return row


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
