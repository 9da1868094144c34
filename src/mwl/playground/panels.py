"""What the page says, as HTML; whatever a visitor typed or a file named stands in it as text."""

from collections.abc import Mapping
from html import escape

from mwl.core.terminal import printable
from mwl.playground.session import Status

COLOURS = ("#1c7ed6", "#f08c00", "#2f9e44", "#e03131", "#9c36b5", "#0c8599", "#868e96", "#e64980")
_MARKS = {"done": "✓", "at work": "▶", "waits": "·"}
_BOX = '<div style="padding:0 0.75em;font-size:0.875em;line-height:1.45;overflow-wrap:anywhere">{}</div>'
_TABLE = '<table style="width:100%;table-layout:fixed;border-spacing:4px 0">{}</table>'


def colour(place: int) -> str:
    """Of the skill at a place of the list."""
    return COLOURS[place % len(COLOURS)]


def said(status: Status, alone: str = "") -> str:
    """How things stand: the instruction, its plan, refusals, and where the robot is.

    Args:
        status: of the robot.
        alone: what it does without an instruction; empty where it then stands.
    """
    told = _text(status.instruction) or (f"acts by itself: {_text(alone)}" if alone else "told nothing yet")
    lines = [f"<b>{told}</b>"]
    for step in status.plan:
        far = f", {_text(step.progress)}" if step.progress else ""
        line = f"{_MARKS.get(step.state, '✗')} {_text(step.text)} ({_text(step.skill)}): {step.state}{far}"
        lines.append(f"<b>{line}</b>" if step.state == "at work" else line)
    if status.verdict and status.instruction:
        lines.append(f"<b>{_text(status.verdict)}</b>")
    if status.refused:
        more = [name for name in status.nearest if name not in status.refused]
        nearest = f". Nearest: {_text(', '.join(status.nearest))}" if more else ""
        lines.append(f'<span style="color:#c92a2a">refused: {_text(status.refused)}{nearest}</span>')
    if status.event:
        lines.append(_text(status.event))
    if status.fallen:
        lines.append("It lies on the floor and will begin anew.")
    x, y = status.place
    lines.append(f"at ({x:.2f}, {y:.2f}) m, heading {status.heading:.0f}°, {status.speed:.2f} m/s")
    return _BOX.format("".join(f"<div>{line}</div>" for line in lines))


def weighed(status: Status) -> str:
    """Weights of the words, of the gate where there is one, and of both together, as bars by skill."""
    columns = {"words": status.weights, "gate": status.gate, "acts": status.fused}
    columns = {title: weights for title, weights in columns.items() if weights}
    names = list(status.fused or status.weights)
    if not columns:
        return _BOX.format("It has no skills between which something could weigh.")
    head = "".join(f'<th style="text-align:left;font-weight:normal;color:#868e96">{title}</th>' for title in columns)
    rows = [
        f"<tr><td>{_text(name)}</td>"
        + "".join(f"<td>{_bar(weights.get(name, 0.0), colour(place))}</td>" for weights in columns.values())
        + "</tr>"
        for place, name in enumerate(names)
    ]
    why = f"<div>{_text(status.why)}</div>" if status.why else ""
    table = _TABLE.format(f'<tr><th style="width:6.5em"></th>{head}</tr>{"".join(rows)}')
    return _BOX.format(table + why)


def expected(values: Mapping[str, float]) -> str:
    """Returns that the world model expects, the highest first, each as its distance from the lowest."""
    if not values:
        return _BOX.format("No world model is at work.")
    low, high = min(values.values()), max(values.values())
    span = (high - low) or 1.0
    rows = [
        f"<tr><td>{_text(name)}</td><td>{_bar((value - low) / span, '#495057', f'{value:.1f}')}</td></tr>"
        for name, value in sorted(values.items(), key=lambda item: -item[1])
    ]
    head = '<tr><th style="width:6.5em"></th><th style="font-weight:normal;color:#868e96">expected return</th></tr>'
    return _BOX.format(_TABLE.format(f"{head}{''.join(rows)}"))


def paced(rate: float, dropped: int) -> str:
    """How many control steps a second were made, and how many in all were not."""
    return _BOX.format(f"{rate:.0f} control steps per second, {dropped} dropped")


def _bar(share: float, filled: str, text: str | None = None) -> str:
    """A bar filled to a share in [0, 1], with its number beside."""
    width = round(100 * min(max(share, 0.0), 1.0))
    return (
        '<div style="display:flex;align-items:center;gap:4px"><div style="flex:1;height:0.7em;background:#e9ecef">'
        f'<div style="width:{width}%;height:100%;background:{filled}"></div></div>'
        f'<span style="width:2.6em;text-align:right">{text or f"{share:.2f}"}</span></div>'
    )


def _text(words: str) -> str:
    """Words that neither HTML nor a terminal takes for more."""
    return escape(printable(words))
