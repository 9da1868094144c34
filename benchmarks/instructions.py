"""Instructions with parameters carried out in physics: what was asked, what was measured; plans from a stand; doors.

python benchmarks/instructions.py [single] [refused] [plans] [door] [--table FILE]
"""

import argparse
import math
from pathlib import Path
from typing import Any

from mwl.core.errors import MwlError
from mwl.evaluation.table import report
from mwl.instructions.config import FollowStage
from mwl.instructions.follow import follow

# what is measured of the last step that was asked for; the speed in m/s over its second half
SINGLE: tuple[tuple[str, dict[str, float]], ...] = (
    ("walk for three seconds", {"seconds": 3, "speed": 1.1}),
    ("walk forward for 2.5 seconds", {"seconds": 2.5}),
    ("walk slowly for four seconds", {"seconds": 4, "speed": 0.55}),
    ("walk at 0.8 m/s for 4 s", {"seconds": 4, "speed": 0.8}),
    ("walk at half a metre per second for five seconds", {"seconds": 5, "speed": 0.5}),
    ("walk at 1.4 m/s for four seconds", {"seconds": 4, "speed": 1.4}),
    ("walk as fast as you can for five seconds", {"seconds": 5, "speed": 1.6}),
    ("walk quickly for four seconds", {"seconds": 4, "speed": 1.54}),
    ("walk at 3.6 km/h for 4 seconds", {"seconds": 4, "speed": 1.0}),
    ("walk at 2 mph for 4 seconds", {"seconds": 4, "speed": 0.894}),
    ("go very slowly for 6 seconds", {"seconds": 6, "speed": 0.33}),
    ("walk two metres", {"metres": 2, "ahead_m": 2}),
    ("walk one metre", {"metres": 1}),
    ("walk five metres", {"metres": 5}),
    ("walk 3.5 m", {"metres": 3.5}),
    ("walk ten feet", {"metres": 3.048}),
    ("walk 250 centimetres", {"metres": 2.5}),
    ("walk four yards", {"metres": 3.658}),
    ("walk two and a half metres", {"metres": 2.5}),
    ("walk a couple of metres slowly", {"metres": 2}),
    ("walk two metres in four seconds", {"metres": 2, "speed": 0.5}),
    ("walk three metres at 0.6 m/s", {"metres": 3}),
    ("go backwards slowly for 2.5 seconds", {"seconds": 2.5, "speed": 0.2, "ahead_m": -0.35}),
    ("walk backwards for four seconds", {"seconds": 4, "speed": 0.4}),
    ("walk backwards one metre", {"metres": 1, "ahead_m": -1}),
    ("back up two metres", {"metres": 2, "ahead_m": -2}),
    ("walk backwards at 0.3 m/s for four seconds", {"seconds": 4, "speed": 0.3}),
    ("go back five feet", {"metres": 1.524, "ahead_m": -1.524}),
    ("walk to the left for four seconds", {"seconds": 4, "speed": 0.24}),
    ("sidestep right for three seconds", {"seconds": 3}),
    ("walk half a metre to the left", {"metres": 0.5, "left_m": 0.5}),
    ("sidestep to the right one metre", {"metres": 1, "left_m": -1}),
    ("walk sideways for three seconds", {"seconds": 3}),
    ("strafe right for 4 seconds at 0.2 m/s", {"seconds": 4, "speed": 0.2}),
    ("turn left", {"degrees_left": 90}),
    ("turn right", {"degrees_left": -90}),
    ("turn around", {"degrees_left": 180}),
    ("turn left 45 degrees", {"degrees_left": 45}),
    ("turn right by thirty degrees", {"degrees_left": -30}),
    ("rotate 120 degrees to the left", {"degrees_left": 120}),
    ("turn around once", {"degrees_left": 180}),
    ("turn slightly left", {"degrees_left": 45}),
    ("do a full turn to the left", {"degrees_left": 360}),
    ("turn 1 radian to the right", {"degrees_left": -57.3}),
    ("make a quarter turn to the left", {"degrees_left": 90}),
    ("face right", {"degrees_left": -90}),
    ("turn clockwise by ninety degrees", {"degrees_left": -90}),
    ("walk in a circle", {"degrees_left": 360}),
    ("walk in a circle to the right", {"degrees_left": -360}),
    ("walk half a circle to the left", {"degrees_left": 180}),
    ("stand for two seconds", {"seconds": 2, "metres": 0}),
    ("wait 1500 ms", {"seconds": 1.5, "metres": 0}),
    ("stand still for three and a half seconds", {"seconds": 3.5}),
    ("wait for half a dozen seconds", {"seconds": 6}),
    ("hold still for 4 secs", {"seconds": 4}),
    ("run for four seconds", {"seconds": 4}),
    ("run ten metres", {"metres": 10}),
    ("run as fast as you can for 3 seconds", {"seconds": 3}),
    ("take four steps", {}),
    ("take six steps forward", {}),
    ("take three steps backwards", {}),
    ("touch the target with your right hand", {}),
    ("touch the target with your left hand", {}),
    ("walk slowly for three seconds, then faster for three seconds", {"speed": 0.73}),
    ("open the door", {}),
)
NEAR = {"seconds": 0.2, "speed": 0.15, "degrees_left": 10.0}
REFUSED = (
    "walk at 2 m/s", "walk backwards at 0.8 m/s", "sidestep left at 1 m/s", "run slowly", "run backwards",
    "run at 2 m/s",
    "reach with both hands", "stand for two metres", "open the door slowly", "walk three times", "walk -2 metres",
    "turn left and right", "walk to the left with your right hand", "touch the target three times",
    "walk for 99999999 seconds", "walk in a circle at 1.5 m/s", "faster", "walk until you are tired", "walk 3",
)  # fmt: skip
PLANS = (
    "walk two metres, turn left, walk three metres, then stop",
    "walk three metres, turn right, walk two metres, then stop",
    "turn left, walk two metres, turn right, walk two metres",
    "walk backwards one metre, then walk two metres",
    "walk for three seconds, then stand for two seconds, then walk for two seconds",
    "take four steps, then turn around, then stand for two seconds",
    "stand for two seconds, then walk one metre, then turn right 45 degrees",
    "walk slowly for three seconds, then faster for three seconds, then stop",
    "sidestep left half a metre, then walk two metres",
    "walk two metres, sidestep right half a metre, then stop",
    "turn around, walk two metres, turn around, walk two metres",
    "turn left 45 degrees, walk two metres, turn left 45 degrees, walk two metres, then stop",
    "walk half a circle, then walk two metres",
    "walk in a circle, then stop",
    "walk one metre, stand for three seconds, walk backwards one metre, then stop",
    "turn right, stand for two seconds, turn left, walk two metres",
    "walk quickly for three seconds, then walk slowly for three seconds, then stop",
    "walk at 1.6 m/s for three seconds, then stop",
    "walk at 0.5 m/s for three seconds, then turn left, then stop",
    "back up one metre, turn around, walk two metres",
    "run for three seconds, then walk for three seconds",
    "run for two seconds, then walk for two seconds, then stop",
    "walk for two seconds, then run for three seconds",
    "stand for two seconds, then run for three seconds",
    "walk two metres, then run for two seconds, then walk for three seconds",
    "stand for one second, then walk two metres, then stand for two seconds",
    "turn left, turn right, turn left, then stop",
    "turn around, then stand for three seconds",
    "walk three metres at 0.8 m/s, turn right 90 degrees, walk two metres at 1.2 m/s",
    "take three steps backwards, then take four steps",
    "walk to the left for two seconds, then walk to the right for two seconds, then stop",
    "walk four metres, turn around, walk four metres, then stop",
    "turn right 120 degrees, walk two metres, then stop",
    "walk one metre, turn left, walk one metre, turn left, walk one metre",
    "stand for three seconds, then touch the target",
    "touch the target with your right hand",
    "walk half a metre, then touch the target",
    "open the door",
    "stand for one second, then open the door",
    "walk two metres, wait two seconds, walk two metres, then stop",
)


USUAL = ("single", "plans", "refused")
DOOR = "open the door and walk through"


def asked(summary: dict[str, Any]) -> dict[str, Any]:
    """The last step that was asked for."""
    step: dict[str, Any] = [step for step in summary["plan"] if not step["inserted"]][-1]
    return step


def held(step: dict[str, Any]) -> bool:
    """Whether physics measured of a step what it was told: distance, angle, time; without figures its own word."""
    told, found = step["parameters"], step["measured"]
    if not found or not {"distance", "angle", "duration"} & told.keys():
        return bool(found) and step["state"] == "done"
    off = {
        "distance": abs(found["metres"] - told.get("distance", 0.0)),
        "angle": abs(found["degrees_left"] - math.degrees(told.get("angle", 0.0))),
        "duration": abs(found["seconds"] - told.get("duration", 0.0)),
    }
    near = {"distance": max(0.3, 0.1 * told.get("distance", 0.0)), "angle": 10.0, "duration": 0.2}
    return all(off[name] <= near[name] for name in near.keys() & told.keys())


def single() -> list[str | int]:
    """Print what was asked and measured of each instruction; returns the row of how many were within bounds."""
    good = fallen = 0
    for text, wanted in SINGLE:
        try:
            summary = follow(FollowStage(text), None)
        except MwlError as error:
            print(f"MISS {text}: refused ({error})", flush=True)
            continue
        fallen += summary["fell"]
        step = asked(summary)
        found = step["measured"]
        off = {name: found[name] - value for name, value in wanted.items() if name in found}
        bounds = {name: NEAR.get(name, max(0.3, 0.1 * abs(value))) for name, value in wanted.items()}
        met = summary["achieved"] and len(off) == len(wanted) and all(abs(off[n]) <= bounds[n] for n in wanted)
        good += met
        told = ", ".join(f"{name} {found[name]:.2f} of {value:g}" for name, value in wanted.items() if name in found)
        print(f"{'  ok' if met else 'MISS'} {text}: {told or step['reason']} [{step['state']}]", flush=True)
    return ["one step, with a figure", len(SINGLE), f"{good} within bounds", fallen]


def refused() -> list[str | int]:
    """Print why each instruction that no expert can follow is refused; returns the row of how many are."""
    kept = 0
    for text in REFUSED:
        try:
            follow(FollowStage(text), None)
            print(f"MISS {text}: carried out", flush=True)
        except MwlError as error:
            kept += 1
            print(f"  ok {text}: {error}", flush=True)
    return ["what no expert can follow", len(REFUSED), f"{kept} refused", "-"]


def plans() -> list[str | int]:
    """Print how each plan from a standing start ended; returns the row of how many did as asked, and fell."""
    fallen = achieved = agree = 0
    for number, text in enumerate(PLANS):
        summary = follow(FollowStage(text, seed=2000 + number), None)
        fallen, achieved = fallen + summary["fell"], achieved + summary["achieved"]
        steps = [step for step in summary["plan"] if not step["inserted"]]
        wrong = [step["text"] for step in steps if (step["state"] == "done") != held(step)]
        wrong += ["the fall"] if summary["fell"] and summary["achieved"] else []
        agree += not wrong
        ends = ", ".join(step["state"] for step in steps)
        told = f"; physics says otherwise of {', '.join(wrong)}" if wrong else ""
        print(
            f"{'FELL' if summary['fell'] else '  ok'} {text}: {ends}, {summary['steps'] / 50:.1f} s{told}", flush=True
        )
    return ["plans from a stand", len(PLANS), f"{achieved} achieved, {agree} verdicts as measured", fallen]


def door(episodes: int = 40) -> list[str | int]:
    """Print how each walk through the door ended; returns the row of how many stood beyond the frame for 3 s."""
    fallen = through = 0
    for number in range(episodes):
        summary = follow(FollowStage(DOOR, seed=3000 + number), None)
        fallen += summary["fell"]
        beyond = summary["achieved"] and not summary["fell"]
        through += beyond
        last = next((step for step in summary["plan"] if step["state"] != "done"), summary["plan"][-1])
        print(f"{'  ok' if beyond else 'MISS'} {number}: {last['text']}: {last['reason']}", flush=True)
    return [DOOR, episodes, f"{through} stand beyond the frame", fallen]


def main() -> None:
    known = {"single": single, "plans": plans, "refused": refused, "door": door}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="single|plans|refused|door", help="without it all but door")
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    report(
        ("instructions", "how many", "as asked", "falls"),
        [known[name]() for name in options.what or USUAL],
        options.table,
    )


if __name__ == "__main__":
    main()
