"""What an instruction means, and what became of it, for people: bars, steps, decisions."""

import math
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mwl.core.terminal import plain, printable
from mwl.robot import CONTROL_HZ
from mwl.semantics.plan.predicates import said

FASTEST = 5.0  # share of a pace that stands for as fast as can be
_BAR = 30  # characters of a weight of 1


def view(answer: dict[str, Any], steps: bool = False) -> RenderableType:
    """Weights as bars with the nearest phrases as explanation, or the refusal; the steps too, if asked for."""
    shown: list[RenderableType] = [_notice(answer)] if answer["notice"] else []
    shown.append(_refusal(answer) if answer["refused"] else _bars(answer))
    shown.append(_nearest(answer))
    if not answer["refused"] and (steps or len(answer["plan"]) > 1):
        shown.append(_steps(answer["plan"]))
    return Group(*shown)


def decisions(summary: dict[str, Any], film: Path) -> RenderableType:
    """The steps of an episode that followed an instruction, every decision with its reason, and where the film is."""
    table = Table(title="decisions")
    for column in ("time", "step", "reason"):
        table.add_column(column)
    for decision in summary["decisions"]:
        before, after = decision["before"] + 1, decision["after"] + 1
        moved = str(before) if before == after else f"{before} -> {_name(after, len(summary['plan']))}"
        table.add_row(f"{decision['step'] / CONTROL_HZ:.1f} s", moved, plain(decision["reason"]))
    end = "fell" if summary["fell"] else "plan finished" if summary["finished"] else "time is up"
    verdict = "achieved" if summary["achieved"] else "not achieved"
    last = f"{verdict}: {end} after {summary['steps'] / CONTROL_HZ:.1f} s, {summary['distance_m']:.1f} m; film: {film}"
    notice = [_notice(summary)] if summary["notice"] else []
    return Group(*notice, _steps(summary["plan"]), table, plain(last))


def _notice(answer: dict[str, Any]) -> Text:
    return Text.assemble((printable(answer["notice"]), "yellow"))


def _name(step: int, count: int) -> str:
    return "end" if step > count else str(step)


def _bars(answer: dict[str, Any]) -> Table:
    table = Table(title=plain(f"“{_short(answer['instruction'])}”"), show_header=False)
    for name, weight in sorted(answer["weights"].items(), key=lambda item: -item[1]):
        table.add_row(plain(name), f"{weight:.2f}", "█" * round(_BAR * weight))
    return table


def _refusal(answer: dict[str, Any]) -> Text:
    return Text.assemble(("refused", "bold"), f": {printable(answer['reason'])}")


def _nearest(answer: dict[str, Any]) -> Table:
    table = Table(title="nearest phrases", show_header=False)
    for near in answer["nearest"]:
        table.add_row(plain(near["phrase"]), plain(near["skill"]), f"{near['score']:.2f}")
    return table


def _steps(plan: list[dict[str, Any]]) -> Table:
    table = Table(title="steps")
    ended = any("state" in step for step in plan)
    for column in ("", "step", "skill", "weight", "told", *(("came to", "measured") if ended else ("ends when",))):
        table.add_column(column)
    for place, step in enumerate(plan, start=1):
        skill = max(step["weights"], key=step["weights"].__getitem__)
        text = step.get("clause") or step["text"]
        told = plain(_told(step.get("command") or step.get("parameters") or {}))
        last = (plain(f"{step['state']}: {step['reason']}"), _measured(step)) if ended else (plain(_ending(step)),)
        table.add_row(str(place), plain(text), plain(skill), f"{step['weights'][skill]:.2f}", told, *last)
    return table


_UNITS = {"speed": "{:g} m/s", "distance": "{:.3g} m", "duration": "{:g} s", "footsteps": "{} footsteps"}
_WORDS = {"direction": "{}", "side": "{} hand", "target": "to the {}", "count": "{} times"}


def _told(command: dict[str, Any]) -> str:
    """What a step says besides its skill."""
    words = []
    for name, value in command.items():
        if name == "angle":
            words.append(f"{abs(math.degrees(value)):.0f}° to the {'left' if value > 0 else 'right'}")
        elif name in ("pace", "change"):
            of = "usual" if name == "pace" else "before"
            words.append("as fast as can be" if value > FASTEST else f"{value:g} of the speed {of}")
        elif value == "both":
            words.append("both hands")
        elif name in _UNITS:
            words.append(_UNITS[name].format(value))
        elif name in _WORDS:
            words.append(_WORDS[name].format(value))
    return ", ".join(words)


def _measured(step: dict[str, Any]) -> str:
    found = step["measured"]
    if not found:
        return ""
    return f"{found['seconds']:.1f} s, {found['metres']:.2f} m, {found['degrees_left']:+.0f}°, {found['speed']:.2f} m/s"


def _ending(step: dict[str, Any]) -> str:
    ends = [said(step["until"])] if step["until"] != "never" else []
    ends += (
        ["what was told is done"]
        if {"distance", "angle", "footsteps", "rise"} & (step.get("command") or {}).keys()
        else []
    )
    ends += [f"{step['steps'] / CONTROL_HZ:g} s are over"] if step["steps"] else []
    return " or ".join(ends) or "time is up"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
