"""Tables for people: on a terminal, and of comparisons also in Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from torch import get_num_threads

from mwl.core.files import write_json
from mwl.core.machine import processor
from mwl.core.terminal import plain, printable
from mwl.evaluation.published import beside, best, printed

if TYPE_CHECKING:
    from mwl.doctor import Finding
    from mwl.evaluation.compare import Reach, Row, Standing
    from mwl.evaluation.record import Record

HEADER = ("task", "agent", "return", "95 % CI", "steps", "expert steps", "converged", "seeds")
NOTE = (
    "return: interquartile mean over episodes; CI: over training seeds, of a single one over its episodes; "
    "steps: environment steps, those of the experts counted apart; published: mean ± standard deviation over seeds "
    "(data/published); paper: as printed in its Table 1 (robot variant, seeds and episodes unstated)"
)
WIDE_NOTE = (
    "return: interquartile mean over episodes and its 95 % CI, over training seeds, of a single one over its episodes; "
    "published: mean ± standard deviation over seeds (data/published); paper: as printed in its Table 1"
)
AGAINST_NOTE = "return, its 95 % CI, and by how much it differs from that of the first line"
REACH_NOTE = (
    "reached by: fitted agents of which five episodes of training in a row, on average, returned so much; steps: mean "
    "environment steps until then, 95 % CI over training seeds; '-' where one never did"
)
OVER_TASKS = ("agent", "tasks", "runs", "score", "95 % CI", "gap", "95 % CI")
OVER_TASKS_NOTE = (
    "score: interquartile mean over runs (a training seed on a task) of return by the task's return for a success; "
    "gap: mean of what a success is missed by"
)
_Lines = list[tuple[str, ...]]


def short(count: int) -> str:
    """A count in thousands or millions, as people write it."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= unit:
            return f"{count / unit:.1f}".removesuffix(".0") + letter
    return str(count)


def lines(head: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """A table in Markdown; numbers with a fraction to four digits."""

    def text(cell: str | float) -> str:
        return f"{cell:.4g}" if isinstance(cell, float) else str(cell)

    whole = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(text, row))} |\n" for row in whole)


def report(head: Sequence[str], rows: Sequence[Sequence[str | float]], file: Path | None = None) -> None:
    """Print what a benchmark measured; `make results` names a file for it, and for the processor and threads it had."""
    print(lines(head, rows), flush=True)
    if file is not None:
        threads = f"{get_num_threads()} thread{'s' if get_num_threads() > 1 else ''}"
        write_json(file, {"head": head, "rows": rows, "machine": f"{processor()}, {threads}"})


def cells(row: "Row") -> tuple[str, ...]:
    """The row as text, in the order of `HEADER`."""
    if row.status == "not run":
        return (row.task, row.label, "not run", "-", "-", "-", "-", "-")
    value = "-" if row.return_iqm is None else f"{row.return_iqm:.1f}"
    counts = [short(count) if count else "-" for count in (row.env_steps, row.expert_steps, row.convergence_steps)]
    return (row.task, row.label, value, _interval(row.return_ci95), *counts, _seeds(row))


def _seeds(row: "Row") -> str:
    """How many fitted agents were measured, and of how many where some are missing."""
    return str(row.seeds) if row.planned is None or row.seeds >= row.planned else f"{row.seeds} of {row.planned}"


def _interval(ends: Sequence[float] | None, digits: int = 0) -> str:
    return "-" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def _by_task(rows: "Sequence[Row]", *, missing: bool) -> Iterator[_Lines]:
    """Lines of each task: what was measured, then what others published, then what was not run."""
    for task, group in groupby(sorted(rows, key=lambda row: row.task), key=lambda row: row.task):
        of_task = list(group)
        lines = [(*cells(row), *_apart(row, rows)) for row in of_task if _wanted(row)]
        if lines:
            lines += [(*line, "-") if _differs(rows) else line for line in _of_others(task)]
        if missing:
            lines += [(*cells(row), *_apart(row, rows)) for row in of_task if not _wanted(row)]
        if lines:
            yield lines


def _wanted(row: "Row") -> bool:
    """Measured, or a cell of a grid."""
    return row.status == "measured" or row.planned is not None


def _reasons(rows: "Sequence[Row]") -> str:
    """Why cells of a grid are not run."""
    return "".join(f"\nnot run: {row.agent} on {row.task}, as {row.why}" for row in rows if row.why)


def _of_others(task: str) -> Iterator[tuple[str, ...]]:
    """What others published of a task, and what the paper printed."""
    for entry in beside(task):
        value, spread = f"{entry.mean:.1f}", f"± {entry.sd:.0f}"
        yield (task, entry.label, value, spread, short(entry.steps), "-", "-", str(entry.seeds))
    for (of_task, agent), cell in sorted(printed().items()):
        if of_task == task:
            steps = short(cell.convergence_steps)
            yield (task, f"{agent} (paper)", f"{cell.episode_return:.1f}", "-", "-", "-", steps, "-")


def _differs(rows: "Sequence[Row]") -> bool:
    return any(row.difference is not None for row in rows)


def _apart(row: "Row", rows: "Sequence[Row]") -> tuple[str, ...]:
    if not _differs(rows):
        return ()
    return ("-" if row.difference is None else f"{row.difference:+.1f} ({_interval(row.difference_ci95, 1)})",)


def _header(rows: "Sequence[Row]") -> tuple[str, ...]:
    return (*HEADER, "difference") if _differs(rows) else HEADER


def over_tasks(agents: "Sequence[Standing]") -> _Lines:
    """Header and lines of agents over tasks; none where each has one task alone."""
    if all(len(agent.tasks) < 2 for agent in agents):
        return []
    compared = any(agent.improvement is not None for agent in agents)
    lines: _Lines = [(*OVER_TASKS, "wins", "95 % CI") if compared else OVER_TASKS]
    for agent in agents:
        won = "-" if agent.improvement is None else f"{agent.improvement:.0%}"
        more = (won, _interval(agent.improvement_ci95, 2)) if compared else ()
        score = (f"{agent.score:.3f}", _interval(agent.score_ci95, 3), f"{agent.gap:.3f}", _interval(agent.gap_ci95, 3))
        lines.append((agent.agent, str(len(agent.tasks)), str(agent.runs), *score, *more))
    return lines


def comparison_table(rows: "Sequence[Row]", agents: "Sequence[Standing]" = ()) -> Group:
    """Tasks x agents that were measured, and agents over tasks; the caption names those that only the paper has."""
    missing = [f"{row.task} {row.agent}" for row in rows if not _wanted(row)]
    note = f"{NOTE}{_reasons(rows)}"
    table = _drawn(_header(rows), f"{note}\nnot run: {', '.join(missing)}" if missing else note, 2)
    for lines in _by_task(rows, missing=False):
        for line in lines:
            table.add_row(*(plain(cell) for cell in line))
        table.add_section()
    over = over_tasks(agents)
    return Group(table, drawn(over, OVER_TASKS_NOTE)) if over else Group(table)


def drawn(table: Sequence[Sequence[str]], note: str) -> Table:
    """A table with a header and one column of names, for a terminal."""
    shown = _drawn(table[0], note, 1)
    for column in shown.columns:
        column.no_wrap, column.overflow = False, "fold"
    for line in table[1:]:
        shown.add_row(*(plain(cell) for cell in line))
    return shown


def _drawn(header: Sequence[str], note: str, named: int) -> Table:
    table = Table(caption=plain(note), caption_justify="left")
    for place, title in enumerate(header):
        table.add_column(title, justify="left" if place < named else "right", no_wrap=True)
    return table


def wide_lines(rows: "Sequence[Row]", against: str | None = None) -> _Lines:
    """Returns alone, a line a task and a column an agent, published ones beside; or the paper's form of an ablation.

    Experts share a column, which holds the best of each task.

    Args:
        rows: of a comparison.
        against: label of the whole agent, whose variants then are the lines: how its return changes without a part, in
            percent.
    """
    measured = [row for row in rows if _wanted(row)]
    tasks = sorted({row.task for row in measured})
    agents = sorted({row.label for row in measured}, key=lambda label: (label != against, label))
    of = {(row.task, row.label): row for row in measured}
    if against is not None:
        whole = {task: of.get((task, against)) for task in tasks}
        changed = [
            [_cell(of.get((task, agent)), None if agent == against else whole[task]) for task in tasks]
            for agent in agents
        ]
        return [("agent", *tasks), *((agent, *cells) for agent, cells in zip(agents, changed, strict=True))]
    columns = {agent: [_cell(of.get((task, agent))) for task in tasks] for agent in agents if not _is_expert(agent)}
    if len(columns) < len(agents):
        title = "best of the experts" if "best expert" in columns else "best expert"
        columns[title] = [_best_expert([row for row in measured if row.task == task]) for task in tasks]
    others = {title: [_other(title, task) for task in tasks] for title in _OTHERS} | _of_paper(tasks)
    columns |= {title: cells for title, cells in others.items() if any(cell != "-" for cell in cells)}
    return [("task", *columns), *zip(tasks, *columns.values(), strict=True)]


_OTHERS = ("published at 100k", "published at 1M", "TD-MPC2 at 1M")


def _is_expert(agent: str) -> bool:
    return agent.startswith("expert:")


def _best_expert(of_task: "Sequence[Row]") -> str:
    """That of the highest return, and its name: experts are of one task or two each, and would be a column each."""
    experts = [(row.return_iqm, row) for row in of_task if _is_expert(row.label) and row.return_iqm is not None]
    if not experts:
        return _cell(None)
    _, found = max(experts, key=lambda pair: pair[0])
    return f"{_cell(found)} {found.label.removeprefix('expert:')}"


def _other(title: str, task: str) -> str:
    """What others published of a task, by the titles of `_OTHERS`."""
    if title == _OTHERS[2]:
        found = next((entry for entry in beside(task) if (entry.method, entry.steps) == ("TD-MPC2", 10**6)), None)
        return "-" if found is None else f"{found.mean:.0f} ± {found.sd:.0f}"
    found = best(task, 10**5 if title == _OTHERS[0] else 10**6)
    return "-" if found is None else f"{found.mean:.0f} ± {found.sd:.0f} ({found.method})"


def _of_paper(tasks: Sequence[str]) -> dict[str, list[str]]:
    """Columns of what the paper printed."""
    agents = sorted({agent for _, agent in printed()})
    cells = {(task, agent): f"{cell.episode_return:.0f}" for (task, agent), cell in printed().items()}
    return {f"{agent} (paper)": [cells.get((task, agent), "-") for task in tasks] for agent in agents}


def _cell(row: "Row | None", whole: "Row | None" = None) -> str:
    """A return with its interval, and by what share it differs from that of the whole agent."""
    if row is None or row.return_iqm is None:
        return "not run"
    ends = "" if row.return_ci95 is None else f" ({_interval(row.return_ci95)})"
    share = ""
    if whole is not None and whole.return_iqm is not None and whole.return_iqm > 0:
        share = f", {100 * (row.return_iqm / whole.return_iqm - 1):+.1f} %"
    return f"{row.return_iqm:.1f}{ends}{share}"


def reach_lines(reaches: "Sequence[Reach]") -> _Lines:
    """A line for each agent: how many steps it took to a return in training."""
    lines: _Lines = [("task", "agent", "return", "reached by", "steps", "95 % CI", "with its experts'")]
    for reach in reaches:
        ends = "-" if reach.steps_ci95 is None else " to ".join(short(max(0, round(end))) for end in reach.steps_ci95)
        seeds = f"{reach.reached} of {reach.seeds}"
        known = ("-", "-", "-")
        if reach.steps is not None:
            known = (short(round(reach.steps)), ends, short(round(reach.steps) + reach.expert_steps))
        lines.append((reach.task, reach.agent, f"{reach.target:g}", seeds, *known))
    return lines


def comparison_texts(
    rows: "Sequence[Row]",
    agents: "Sequence[Standing]",
    *,
    wide: bool,
    against: str | None,
    reaches: "Sequence[Reach] | None" = None,
) -> dict[str, Callable[[], Any]]:
    """What shows a comparison, by the name of the format.

    Args:
        wide: the table of `wide_lines` alone.
        against: see there.
        reaches: the table of `reach_lines` alone.
    """
    if not wide and reaches is None:
        return {
            "table": lambda: comparison_table(rows, agents),
            "markdown": lambda: markdown(rows, agents),
            "latex": lambda: latex(rows, agents),
            "csv": lambda: comma_separated(rows),
        }
    table, note = wide_lines(rows, against), WIDE_NOTE if against is None else AGAINST_NOTE
    if reaches is not None:
        table, note = reach_lines(reaches), REACH_NOTE
    return {
        "table": lambda: drawn(table, note),
        "markdown": lambda: in_markdown(table, note),
        "latex": lambda: in_latex(table),
        "csv": lambda: in_csv(table),
    }


def markdown(rows: "Sequence[Row]", agents: "Sequence[Standing]" = ()) -> str:
    """Both tables in Markdown."""
    over = over_tasks(agents)
    return in_markdown(all_lines(rows), NOTE) + (f"\n{in_markdown(over, OVER_TASKS_NOTE)}" if over else "")


def in_markdown(table: Sequence[Sequence[str]], note: str) -> str:
    """A table with a header in Markdown, and what is to be known of it."""
    return f"{lines(table[0], table[1:])}\n{note}\n"


def latex(rows: "Sequence[Row]", agents: "Sequence[Standing]" = ()) -> str:
    """Both tables in LaTeX."""
    over = over_tasks(agents)
    return in_latex(all_lines(rows), 2) + (f"\n{in_latex(over)}" if over else "")


def in_latex(table: Sequence[Sequence[str]], named: int = 1) -> str:
    """A table with a header as `tabular` with the rules of booktabs; the first columns are names."""
    ruled = [" & ".join(_escaped(cell) for cell in line) + r" \\" for line in table]
    columns = "l" * named + "r" * (len(table[0]) - named)
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", ruled[0], r"\midrule", *ruled[1:], r"\bottomrule"]
    return "\n".join([*body, r"\end{tabular}", ""])


_SPECIAL = {
    **{sign: f"\\{sign}" for sign in "%&_#${}"},
    **{"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
}


def _escaped(cell: str) -> str:
    return "".join(_SPECIAL.get(sign, sign) for sign in cell)


def comma_separated(rows: "Sequence[Row]") -> str:
    """The table of tasks in CSV."""
    return in_csv(all_lines(rows))


def in_csv(table: Sequence[Sequence[str]]) -> str:
    """A table in CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(table)
    return file.getvalue()


def all_lines(rows: "Sequence[Row]") -> _Lines:
    """The table of tasks: its header, and a line for each row, published figures and what was not run among them."""
    return [_header(rows), *(line for lines in _by_task(rows, missing=True) for line in lines)]


def record_table(record: "Record") -> Table:
    """One evaluation."""
    table = Table(title=plain(f"{record.agent} on {record.task}, {record.episodes} episodes"), show_header=False)
    interval = "unknown (one episode)"
    if record.return_ci95 is not None:
        interval = f"{record.return_ci95[0]:.1f} to {record.return_ci95[1]:.1f}"
    lines = {
        "return": f"{record.return_mean:.1f} ± {record.return_std:.1f}",
        "95 % CI of the mean": interval,
        "length": f"{record.length_mean:.0f} steps",
    }
    known = {
        "success": (record.success_rate, ".0%", ""),
        "falls": (record.fall_rate, ".0%", ""),
        "on the floor": (record.down_rate, ".0%", ""),
        "action rate": (record.action_rate, ".4f", " per step"),
        "jerk": (record.jerk, ".0f", " rad/s³"),
        "energy": (record.energy, ".0f", " W"),
        "speed": (record.env_steps_per_s, ".0f", " env steps/s"),
    }
    lines |= {name: f"{value:{form}}{unit}" for name, (value, form, unit) in known.items() if value is not None}
    for name, value in lines.items():
        table.add_row(name, value)
    return table


def diagnosis_table(findings: "Sequence[Finding]") -> Table:
    """What works, what does not, and the remedy."""
    table = Table(show_header=False)
    for finding in findings:
        mark = "[green]ok[/green]" if finding.ok else "[red]!![/red]"
        text = plain(finding.state)
        if finding.remedy:
            text.append(f"\n{printable(finding.remedy)}", "bold")
        table.add_row(mark, plain(finding.name), text)
    return table
