"""Tables for people, on a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mwl.core.terminal import plain, printable

if TYPE_CHECKING:
    from mwl.doctor import Finding
    from mwl.evaluation.compare import Row
    from mwl.evaluation.record import Record


def comparison_table(rows: "Sequence[Row]") -> Table:
    """Tasks x agents that were measured; the caption names those that only the paper has."""
    from mwl.evaluation.compare import HEADER, NOTE, cells

    missing = [f"{row.task} {row.agent}" for row in rows if row.status == "not run"]
    note = f"{NOTE}\nnot run: {', '.join(missing)}" if missing else NOTE
    table = Table(caption=plain(note), caption_justify="left")
    for place, title in enumerate(HEADER):
        table.add_column(title, justify="left" if place < 2 else "right", no_wrap=True)
    task = None
    for row in rows:
        if row.status == "not run":
            continue
        if task is not None and row.task != task:
            table.add_section()
        task = row.task
        table.add_row(*(plain(cell) for cell in cells(row)))
    return table


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
        "success": f"{record.success_rate:.0%}",
        "falls": f"{record.fall_rate:.0%}",
        **({} if record.down_rate is None else {"on the floor": f"{record.down_rate:.0%}"}),
        "action rate": f"{record.action_rate:.4f} per step",
        "jerk": f"{record.jerk:.0f} rad/s³",
        "energy": f"{record.energy:.0f} W",
        "speed": f"{record.env_steps_per_s:.0f} env steps/s",
    }
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
