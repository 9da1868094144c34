"""`mwl compare`: tasks x agents, from the evaluations in MLflow or in folders, with the figures of others beside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mwl.core.artifact import atomic_folder
from mwl.core.errors import BadInput, CorruptFile, MissingFile, MwlError
from mwl.core.files import read_json, shown, write_json, write_text
from mwl.core.plain import from_plain
from mwl.core.terminal import tell
from mwl.evaluation.config import Plan, Planned
from mwl.evaluation.curves import RETURN, REWARD, Histories, Point, convergence_step, history, reach_step
from mwl.evaluation.published import beside, printed
from mwl.evaluation.record import FILE, Curves, Record, RowKey, newest
from mwl.evaluation.table import comma_separated, latex, markdown
from mwl.experiments import tracking
from mwl.rollouts import across_tasks
from mwl.rollouts.statistics import ci95, iqm
from mwl.simulation import TASKS

JSON_FILE, TABLE_FILE, LATEX_FILE, CSV_FILE = "comparison.json", "table.md", "table.tex", "table.csv"
PLOT_FILE, PROFILE_FILE = "comparison.png", "profile.png"
PLAN_FILE = "grid.json"  # in the folder of a pipeline with a grid


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
    difference: float | None = None
    """Mean by which its episodes return more than those of the agent compared with, from the same starts."""
    difference_ci95: list[float] | None = None
    planned: int | None = None
    """Of a cell of a grid: how many fitted agents there are to be."""
    why: str | None = None
    """Why a cell of a grid is not run."""

    @property
    def label(self) -> str:
        """The agent, with what sets it apart from the same one measured as usual."""
        return RowKey(self.task, self.agent, self.suite, self.instruction, self.act, self.shift).label


@dataclass(frozen=True)
class Standing:
    """One agent over all tasks on which it was measured, see `mwl.rollouts.across_tasks`."""

    agent: str
    tasks: list[str]
    runs: int
    """Training seeds of all tasks together."""
    score: float
    """Interquartile mean of return by return for a success."""
    score_ci95: list[float] | None
    gap: float
    """By how much a success is missed on average."""
    gap_ci95: list[float] | None
    improvement: float | None = None
    """Probability that a run beats one of the agent compared with."""
    improvement_ci95: list[float] | None = None


@dataclass(frozen=True)
class Reach:
    """How many environment steps an agent took to reach a return in training."""

    task: str
    agent: str
    target: float
    """The return."""
    seeds: int
    """Fitted agents whose training is known."""
    reached: int
    """Those of them that reached it."""
    expert_steps: int
    """What their experts cost, which `steps` are without."""
    steps: float | None = None
    """Mean over the seeds; None where one did not reach it."""
    steps_ci95: list[float] | None = None
    """Over the seeds; None of a single one."""


def rows_of(
    records: Sequence[Record], curves: Curves, against: str | None = None, cells: Planned | None = None
) -> list[Row]:
    """One row for each `RowKey` that was measured, then cells of a grid not run, then what only the paper has.

    Beside a grid, that is what the paper has on the grid's own tasks.

    Args:
        records: from the oldest to the newest; of evaluations of the same fitted agent in a row the newest counts.
        curves: of the agents in training.
        against: label of the agent whose episodes are taken off those from the same starts.
        cells: those of a grid.

    Raises:
        BadInput: no such agent was measured.
    """
    groups = _grouped(records)
    reference = [] if against is None else _labelled(groups, against)
    planned = {(task, agent): wanted for agent, tasks in (cells or {}).items() for task, wanted in tasks.items()}
    rows = []
    for key in sorted(groups, key=lambda key: key.order):
        row, wanted = _measured(key, groups[key], curves.get(key, []), reference), planned.get((key.task, key.agent))
        rows.append(replace(row, planned=wanted) if isinstance(wanted, int) else row)
    known = {(key.task, key.agent) for key in groups}
    for (task, agent), wanted in planned.items():
        if (task, agent) not in known:
            count, why = (0, wanted) if isinstance(wanted, str) else (wanted, None)
            rows.append(Row(task, agent, "not run", planned=count, why=why))
    known |= planned.keys()
    tasks = {task for task, _ in known}
    paper = [cell for cell in sorted(printed()) if cell not in known and (not cells or cell[0] in tasks)]
    return rows + [Row(task, agent, "not run") for task, agent in paper]


def _grouped(records: Sequence[Record]) -> dict[RowKey, list[Record]]:
    groups: dict[RowKey, list[Record]] = {}
    for record in newest(records):
        groups.setdefault(record.row, []).append(record)
    return groups


def _labelled(groups: Mapping[RowKey, list[Record]], label: str) -> list[Record]:
    found = [record for key, records in groups.items() if key.label == label for record in records]
    if not found:
        known = ", ".join(sorted({key.label for key in groups})) or "none"
        raise BadInput(f"--against {shown(label)}: no such agent was measured; there are: {known}")
    return found


def standings(records: Sequence[Record], against: str | None = None) -> list[Standing]:
    """Every agent over its tasks, the best score first; tasks of one's own without a return for a success don't count.

    Args:
        records: from the oldest to the newest.
        against: label of the agent that the others are compared with.

    Raises:
        BadInput: no such agent was measured.
    """
    if against is not None:
        _labelled(_grouped(records), against)
    scores = scores_of(records)
    rows = [_standing(agent, of_tasks, scores.get(against or "")) for agent, of_tasks in scores.items()]
    return sorted(rows, key=lambda row: (-row.score, row.agent))


def scores_of(records: Sequence[Record]) -> dict[str, dict[str, list[float]]]:
    """By agent and task, every training seed's mean return, of the task's return for a success."""
    scores: dict[str, dict[str, list[float]]] = {}
    for key, found in _grouped(records).items():
        bar = TASKS[key.task].success_bar if key.task in TASKS else 0.0
        if bar > 0:
            scores.setdefault(key.label, {})[key.task] = [sum(r.returns) / len(r.returns) / bar for r in found]
    return scores


def _standing(agent: str, scores: across_tasks.Scores, others: across_tasks.Scores | None) -> Standing:
    score, gap = across_tasks.mean_score(scores), across_tasks.optimality_gap(scores)
    better = None if others is None or others is scores else across_tasks.improvement(scores, others)
    return Standing(
        agent=agent,
        tasks=sorted(scores),
        runs=sum(len(runs) for runs in scores.values()),
        score=score.value,
        score_ci95=_listed(score.ci95),
        gap=gap.value,
        gap_ci95=_listed(gap.ci95),
        improvement=None if better is None else better.value,
        improvement_ci95=None if better is None else _listed(better.ci95),
    )


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _beside(records: Sequence[Record], reference: Sequence[Record]) -> across_tasks.Estimate | None:
    """The difference of episodes that began alike; None where the reference has none of these starts."""
    pairs = []
    for index, record in enumerate(records):
        same = [
            other
            for other in reference
            if (other.task, other.suite, other.shift, other.seed, other.episodes)
            == (record.task, record.suite, record.shift, record.seed, record.episodes)
        ]
        if not same or record in same:
            return None
        pairs.append((record.returns, same[index % len(same)].returns))
    return across_tasks.difference([ours for ours, _ in pairs], [theirs for _, theirs in pairs])


def _measured(
    key: RowKey,
    records: Sequence[Record],
    curves: Sequence[list[tuple[int, float]]],
    reference: Sequence[Record],
) -> Row:
    seeds = [record.returns for record in records]
    apart = _beside(records, reference)
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
        return_ci95=_listed(interval),
        convergence_steps=sorted(converged)[len(converged) // 2] if converged else None,
        run_ids=[record.run_id for record in records if record.run_id],
        difference=None if apart is None else apart.value,
        difference_ci95=None if apart is None else _listed(apart.ci95),
    )


def histories_of(records: Iterable[Record]) -> Histories:
    """What the agents behind the records logged in training, from MLflow; an agent of another store is left out."""
    found: dict[RowKey, dict[str, dict[str, list[Point]]]] = {}
    for record in records:
        run_id = record.agent_run_id
        if run_id is not None and run_id not in found.setdefault(record.row, {}) and tracking.known_run(run_id):
            found[record.row][run_id] = history(run_id)
    return {row: list(of_row.values()) for row, of_row in found.items()}


def _rewards(histories: Histories) -> Curves:
    """The curves that tell when an agent converged: per step, as whole episodes are too few in a short training."""
    return {
        row: [[(point.steps, point.value) for point in each[REWARD]] for each in found if REWARD in each]
        for row, found in histories.items()
    }


@dataclass(frozen=True)
class Comparison:
    """Evaluations with all that tables, plots and pages show of them."""

    records: list[Record]
    histories: Histories
    rows: list[Row]
    agents: list[Standing]
    against: str | None = None
    """Label of the agent that the others are compared with."""


def compared(
    records: Sequence[Record], against: str | None = None, cells: Planned | None = None, *, curves: bool = True
) -> Comparison:
    """Compare evaluations.

    Args:
        records: from the oldest to the newest.
        against: label of the agent that the others are compared with.
        cells: those of a grid.
        curves: whether to ask MLflow what the agents logged in training.

    Raises:
        BadInput: no agent `against` was measured.
    """
    records = newest(records)
    agents = standings(records, against)
    histories = histories_of(records) if curves else {}
    return Comparison(records, histories, rows_of(records, _rewards(histories), against, cells), agents, against)


def reaches(comparison: Comparison, target: float | None = None) -> list[Reach]:
    """How many steps each agent took to a return, where MLflow knows its training.

    Args:
        comparison: with curves.
        target: the return; None is the task's return for a success, and leaves out tasks without one.
    """
    found = []
    for row in sorted(comparison.histories, key=lambda row: row.order):
        wanted = target if target is not None else TASKS[row.task].success_bar if row.task in TASKS else None
        curves = [each[RETURN] for each in comparison.histories[row] if RETURN in each]
        if curves and wanted is not None:
            steps = [float(step) for curve in curves if (step := reach_step(curve, wanted)) is not None]
            cost = max(record.expert_steps for record in comparison.records if record.row == row)
            reach = Reach(row.task, row.label, wanted, len(curves), len(steps), cost)
            if len(steps) == len(curves):
                reach = replace(reach, steps=sum(steps) / len(steps), steps_ci95=_listed(ci95(steps)))
            found.append(reach)
    return found


def records_of(experiment: str) -> list[Record]:
    """All evaluations that an MLflow experiment holds, without those a later run replaced, the newest last.

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
    return newest(records)


def compare_experiment(experiment: str, against: str | None = None) -> Comparison:
    """Compare the evaluations of an MLflow experiment.

    Raises:
        MissingFile: no such experiment.
        BadInput: no agent `against` was measured.
    """
    return compared(records_of(experiment), against)


def compare_pipeline(folder: Path, against: str | None = None) -> Comparison:
    """Compare what the folder of a pipeline holds by now; cells of its grids that were not run are rows, too.

    Args:
        folder: `runs/<pipeline>`.
        against: label of the agent that the others are compared with; default the first of a grid.

    Raises:
        MissingFile: it holds no evaluation, and no grid was begun there.
        BadInput: no agent `against` was measured.
    """
    records = [Record.read(file) for file in sorted(folder.glob(f"*/{FILE}"))]
    plan = read_plan(folder)
    if not records and not plan.cells:
        raise MissingFile(f"{shown(folder)}: holds no folder with {FILE}; `mwl run` makes some")
    return compared(records, against or if_measured(plan.against, records), plan.cells)


def read_plan(folder: Path) -> Plan:
    """What the grids of a pipeline are to measure, by its folder; nothing where it has none.

    Raises:
        CorruptFile: the file that says so is none.
    """
    file = folder / PLAN_FILE
    return from_plain(Plan, read_json(file), shown(file)) if file.is_file() else Plan()


def if_measured(label: str | None, records: Sequence[Record]) -> str | None:
    """The label, unless no agent of that label was measured."""
    return label if any(record.row.label == label for record in records) else None


def compare_to_folder(
    evaluations: Sequence[Path], output: Path, experiment: str, parent: str | None, plan: Plan | None = None
) -> list[Row]:
    """Compare evaluation folders; leaves tables, plots and JSON in `output` and in MLflow.

    Args:
        evaluations: folders.
        output: result folder.
        experiment, parent: MLflow experiment and run.
        plan: of the grid that this is the comparison of.
    """
    records, plan = [Record.read(folder) for folder in evaluations], plan or Plan()
    comparison = compared(records, if_measured(plan.against, records), plan.cells)
    with atomic_folder(output) as folder:
        write_comparison(comparison, folder)

        def log(run_id: str) -> None:
            tracking.client().log_artifacts(run_id, str(folder))

        tags = {tracking.KIND_TAG: "comparison", tracking.STAGE_TAG: output.name}
        try:
            tracking.record(experiment, output.name, log, parent=parent, tags=tags)
        except MwlError as error:
            tell(f"{error}; the comparison is not in MLflow, it lies in {output}")
    return comparison.rows


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write tables in every format, plots and JSON into a folder."""
    from mwl.evaluation.plots import plot_comparison, plot_profile

    rows, agents = comparison.rows, comparison.agents
    write_json(folder / JSON_FILE, to_json(rows, agents))
    for file, text in ((TABLE_FILE, markdown), (LATEX_FILE, latex)):
        write_text(folder / file, text(rows, agents))
    write_text(folder / CSV_FILE, comma_separated(rows))
    plot_comparison(comparison.records, comparison.histories, folder / PLOT_FILE)
    if any(len(agent.tasks) > 1 for agent in agents):
        plot_profile(scores_of(comparison.records), folder / PROFILE_FILE)


def to_json(rows: Sequence[Row], agents: Sequence[Standing], reached: Sequence[Reach] | None = None) -> dict[str, Any]:
    """What `mwl compare --json` prints."""
    paper = [{"task": task, "agent": agent, **asdict(cell)} for (task, agent), cell in sorted(printed().items())]
    tasks = sorted({row.task for row in rows if row.status == "measured"})
    others = [asdict(entry) for task in tasks for entry in beside(task)]
    return {
        "rows": [asdict(row) for row in rows],
        "agents": [asdict(agent) for agent in agents],
        "paper": paper,
        "published": others,
        **({} if reached is None else {"reach": [asdict(reach) for reach in reached]}),
    }


def read_comparison(folder: Path) -> tuple[list[Row], list[Standing]]:
    """Rows and standings that `compare_to_folder` left in a folder, or of its JSON file.

    Raises:
        MissingFile: there are none.
        CorruptFile: they are none.
    """
    file = folder / JSON_FILE if folder.is_dir() else folder
    found = from_plain(_Comparison, read_json(file), shown(file), unknown=True)
    intervals = [ends for row in found.rows for ends in (row.return_ci95, row.difference_ci95)]
    intervals += [ends for one in found.agents for ends in (one.score_ci95, one.gap_ci95, one.improvement_ci95)]
    if any(ends is not None and len(ends) != 2 for ends in intervals):
        raise CorruptFile(f"{shown(file)}: holds an interval without two ends")
    return found.rows, found.agents


@dataclass(frozen=True)
class _Comparison:
    rows: list[Row]
    agents: list[Standing] = field(default_factory=list)


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
