"""`mwl compare`: tasks x agents, from the evaluations in MLflow or in folders, with the paper's figures beside."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mwl.core.artifact import atomic_folder
from mwl.core.errors import CorruptFile, MissingFile, MwlError
from mwl.core.files import read_json, shown
from mwl.core.plain import from_plain
from mwl.core.terminal import tell
from mwl.evaluation.curves import convergence_step
from mwl.evaluation.paper import PRINTED
from mwl.evaluation.record import FILE, Curves, Record, RowKey, newest
from mwl.experiments import tracking
from mwl.rollouts.statistics import ci95, iqm

LEARNING_CURVE = "train/reward"  # per step: whole episodes are too few to make a curve of a short training
JSON_FILE, TABLE_FILE, PLOT_FILE = "comparison.json", "table.md", "comparison.png"


@dataclass(frozen=True)
class Row:
    """One agent on one task, in one suite, told one thing, acting in one way, in one world."""

    task: str
    agent: str
    status: Literal["measured", "not run"]
    suite: str = "embedded"
    instruction: str | None = None
    """What the agent was told; None is what it was fitted with."""
    act: str | None = None
    """How a world model was told to choose actions; None is as it was fitted."""
    shift: str | None = None
    """What was changed in the world, see `mwl.simulation.Shift`."""
    seeds: int = 0
    """Independently fitted agents."""
    episodes: int = 0
    """Of all seeds together."""
    env_steps: int | None = None
    expert_steps: int | None = None
    return_iqm: float | None = None
    """Over all episodes of all seeds."""
    return_ci95: list[float] | None = None
    """Of that, see `mwl.rollouts.statistics.ci95`: over training seeds, or over the episodes of a single one."""
    convergence_steps: int | None = None
    run_ids: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The agent, with what sets it apart from the same one measured as usual."""
        return RowKey(self.task, self.agent, self.suite, self.instruction, self.act, self.shift).label

    @property
    def paper(self) -> str:
        """Return and convergence steps as printed in the paper, or a dash."""
        printed = PRINTED.get((self.task, self.agent))
        if printed is None:
            return "-"
        return f"{printed.episode_return:.1f} / {short(printed.convergence_steps)}"


def rows_of(records: Sequence[Record], curves: Curves) -> list[Row]:
    """One row for each `RowKey` that was measured, then those only the paper has.

    Args:
        records: from the oldest to the newest; of evaluations of the same fitted agent in a row the newest counts.
        curves: of the agents in training.
    """
    groups: dict[RowKey, list[Record]] = {}
    for record in newest(records):
        groups.setdefault(record.row, []).append(record)
    rows = [_measured(key, groups[key], curves.get(key, [])) for key in sorted(groups, key=lambda key: key.order)]
    known = {(key.task, key.agent) for key in groups}
    rows += [Row(task, agent, "not run") for task, agent in sorted(PRINTED) if (task, agent) not in known]
    return rows


def _measured(key: RowKey, records: Sequence[Record], curves: Sequence[list[tuple[int, float]]]) -> Row:
    seeds = [record.returns for record in records]
    interval = ci95(seeds, "iqm")
    converged = [step for curve in curves if (step := convergence_step(curve)) is not None]
    return Row(
        **key._asdict(),
        status="measured",
        seeds=len(records),
        episodes=sum(record.episodes for record in records),
        env_steps=max(record.env_steps for record in records),
        expert_steps=max(record.expert_steps for record in records),
        return_iqm=iqm([value for returns in seeds for value in returns]),
        return_ci95=list(interval) if interval else None,
        convergence_steps=sorted(converged)[len(converged) // 2] if converged else None,
        run_ids=[record.run_id for record in records if record.run_id],
    )


def curves_of(records: Iterable[Record]) -> Curves:
    """Learning curves of the agents behind the records, one per fitted agent and row, from MLflow."""
    curves: Curves = {}
    seen: set[tuple[RowKey, str]] = set()
    for record in records:
        if record.agent_run_id is None or (record.row, record.agent_run_id) in seen:
            continue
        seen.add((record.row, record.agent_run_id))
        try:
            points = tracking.history(record.agent_run_id, LEARNING_CURVE)
        except MissingFile:  # the agent came from another store; its evaluation still counts
            continue
        if points:
            curves.setdefault(record.row, []).append(points)
    return curves


def compare_experiment(experiment: str) -> list[Row]:
    """Rows of all evaluations that an MLflow experiment holds, without those a later run replaced.

    Raises:
        MissingFile: no such experiment.
    """
    if tracking.experiment_id(experiment, create=False) is None:
        raise MissingFile(f"no experiment {shown(experiment)} in {tracking.shown_uri()}; `mwl run` makes one")
    found = tracking.find_runs(experiment, f"tags.`{tracking.KIND_TAG}` = 'evaluation' and status = 'FINISHED'")
    store = tracking.client()
    records = []
    for run in reversed(found):  # the newest comes first there
        if run.data.tags.get(tracking.SUPERSEDED_TAG):
            continue
        path = store.download_artifacts(run.info.run_id, FILE)
        records.append(Record.parse(Path(path).read_text(encoding="utf-8"), f"run {run.info.run_id}"))
    records = newest(records)
    return rows_of(records, curves_of(records))


def compare_to_folder(evaluations: Sequence[Path], output: Path, experiment: str, parent: str | None) -> list[Row]:
    """Compare evaluation folders; leaves table, plot and JSON in `output` and in MLflow."""
    from mwl.evaluation.plots import plot_comparison

    records = newest([Record.read(folder) for folder in evaluations])
    curves = curves_of(records)
    rows = rows_of(records, curves)
    with atomic_folder(output) as folder:
        (folder / JSON_FILE).write_text(json.dumps(to_json(rows), indent=2) + "\n", encoding="utf-8")
        (folder / TABLE_FILE).write_text(markdown(rows), encoding="utf-8")
        plot_comparison(records, curves, folder / PLOT_FILE)

        def log(run_id: str) -> None:
            tracking.client().log_artifacts(run_id, str(folder))

        try:
            tracking.record(experiment, output.name, log, parent=parent, tags={tracking.KIND_TAG: "comparison"})
        except MwlError as error:
            tell(f"{error}; the comparison is not in MLflow, it lies in {output}")
    return rows


def to_json(rows: Sequence[Row]) -> dict[str, Any]:
    """What `mwl compare --json` prints."""
    paper = [{"task": task, "agent": agent, **asdict(cell)} for (task, agent), cell in sorted(PRINTED.items())]
    return {"rows": [asdict(row) for row in rows], "paper": paper}


def read_rows(folder: Path) -> list[Row]:
    """Rows that `compare_to_folder` left.

    Raises:
        MissingFile: there are none.
        CorruptFile: they are none.
    """
    file = folder / JSON_FILE
    rows = from_plain(_Rows, read_json(file), shown(file), unknown=True).rows
    if any(row.return_ci95 is not None and len(row.return_ci95) != 2 for row in rows):
        raise CorruptFile(f"{shown(file)}: return_ci95 is no interval")
    return rows


@dataclass(frozen=True)
class _Rows:
    rows: list[Row]


HEADER = ("task", "agent", "return", "95 % CI", "steps", "expert steps", "converged", "seeds", "paper")
NOTE = (
    "return: interquartile mean over episodes; CI: over training seeds, of a single one over its episodes; "
    "steps: environment steps, those of the experts counted apart; "
    "paper: return / convergence steps as printed in its Table 1 (robot variant, seeds and episodes unstated)"
)


def short(count: int) -> str:
    """A count in thousands or millions, as people write it."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= unit:
            return f"{count / unit:.1f}".removesuffix(".0") + letter
    return str(count)


def cells(row: Row) -> tuple[str, ...]:
    """The row as text, in the order of `HEADER`."""
    if row.status == "not run":
        return (row.task, row.label, "not run", "-", "-", "-", "-", "-", row.paper)
    interval = "-" if row.return_ci95 is None else f"{row.return_ci95[0]:.0f} to {row.return_ci95[1]:.0f}"
    value = "-" if row.return_iqm is None else f"{row.return_iqm:.1f}"
    counts = [short(count) if count else "-" for count in (row.env_steps, row.expert_steps, row.convergence_steps)]
    return (row.task, row.label, value, interval, *counts, str(row.seeds), row.paper)


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [HEADER, tuple("---" for _ in HEADER), *(cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{NOTE}\n"


def newest_experiment() -> str:
    """Name of the MLflow experiment in which something was evaluated last.

    Raises:
        MissingFile: nothing was evaluated yet.
    """
    store = tracking.client()
    experiments = {experiment.experiment_id: experiment.name for experiment in store.search_experiments()}
    runs = store.search_runs(list(experiments), f"tags.`{tracking.KIND_TAG}` = 'evaluation'", max_results=1)
    if not runs:
        raise MissingFile(f"no evaluation in {tracking.shown_uri()}; `mwl evaluate` and `mwl run` make some")
    return str(experiments[runs[0].info.experiment_id])
