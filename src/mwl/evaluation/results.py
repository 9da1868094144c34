"""`make results`: measure what ships once more, and write every table of the documents from what was stored.

    python -m mwl.evaluation.results            # measures what is missing, then writes the tables
    python -m mwl.evaluation.results --tables   # writes the tables from what is stored
    python -m mwl.evaluation.results --again    # measures everything anew; with names, these alone
    python -m mwl.evaluation.results --tables --take demo=runs/demo/comparison   # a pipeline's comparison, once it ran

`conf/results.yaml` says what is measured and how tables are made of it. Evaluations lie in `data/results`, one file
each, tables of `benchmarks/` in a folder there; what `mwl experts measure` says lies in the experts' manifests. What is
there for the same agent, task, suite, episodes, seed, command and definitions of the figures is not measured again, so
an interrupted run goes on.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from mwl.core.artifact import MODEL, read_manifest
from mwl.core.errors import BadInput, MwlError
from mwl.core.files import read_json, read_text, read_yaml, write_json, write_text
from mwl.core.plain import from_plain
from mwl.evaluation.agents import resolve
from mwl.evaluation.compare import JSON_FILE, read_comparison
from mwl.evaluation.published import best
from mwl.evaluation.record import Record
from mwl.evaluation.run import EvaluationConfig, evaluate, keep
from mwl.evaluation.table import lines, markdown, short
from mwl.experts.remeasure import measure
from mwl.rollouts import definitions

CONFIG = Path("conf/results.yaml")
PUBLISHED = {"100k": 10**5, "1m": 10**6}  # environment steps at which others are read
_AGENT_FOLDERS = "data/agents"
_BLOCK = re.compile(r"(<!-- results:(?P<name>[\w-]+) -->\n).*?(<!-- /results -->)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A table of the documents.

    Args:
        head: titles of the columns.
        cells: what stands in each, as `str.format` patterns over a row's entries.
        rows: entries by name; texts are patterns as well.
        figures: entries that name an evaluation or an expert's folder and stand for its figures (`Shown`); `NAME-*`
            stands for the best of the evaluations whose names begin so. A row with a `task` also has what others
            published of it at best, `best_100k` and `best_1m`, at so many steps.
    """

    head: list[str]
    cells: list[str]
    rows: list[dict[str, Any]]
    figures: list[str]


@dataclass(frozen=True)
class MeasuredExperts:
    """Folders that `mwl experts measure` renews, and with how many episodes."""

    episodes: int
    folders: list[str]


@dataclass(frozen=True)
class Benchmark:
    """A script that measures a table.

    Args:
        run: what stands behind `python`; `--table FILE` is added. Where it can't measure it says why and writes none.
        of: folders of the artifacts that it measures; with another checkpoint the table is made again.
    """

    run: str
    of: list[str] = field(default_factory=list)

    @property
    def identity(self) -> dict[str, Any]:
        """What a stored table was made by, and has to agree with."""
        of = {folder: read_manifest(folder).files[MODEL] for folder in self.of}
        return {"command": f"python {self.run}", "definitions": definitions(""), "of": of}


@dataclass(frozen=True)
class StoredTable:
    """A table as it is kept: what made it, on which processor and threads, titles and rows."""

    command: str
    definitions: str
    of: dict[str, str]
    machine: str
    head: list[str]
    rows: list[list[str | int | float]]


@dataclass(frozen=True)
class Results:
    """What `conf/results.yaml` says.

    Args:
        folder: where records lie.
        documents: files with tables.
        experts: see there.
        evaluations: by name, entries of an `EvaluationConfig`; with `keep` the agent's manifest gets the figures too.
            Lists of tasks and agents are all pairs of them, each named `NAME-TASK-AGENT`.
        tables: by name.
        comparisons: tables that are those of a pipeline's comparison, whose JSON lies in `comparisons/` in the folder.
        benchmarks: tables that a script measures, kept in `benchmarks/` in the folder.
    """

    folder: str
    documents: list[str]
    experts: MeasuredExperts
    evaluations: dict[str, dict[str, Any]]
    tables: dict[str, Table]
    comparisons: list[str] = field(default_factory=list)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read the configuration.

        Raises:
            MissingFile, CorruptFile: there is none, or it does not fit.
        """
        found = from_plain(cls, read_yaml(path), str(path))
        pairs = [pair for name, entries in found.evaluations.items() for pair in _pairs(name, entries)]
        return replace(found, evaluations=dict(pairs))

    def record(self, name: str) -> Path:
        """Where an evaluation is stored."""
        return Path(self.folder) / f"{name}.json"

    def comparison(self, name: str) -> Path:
        """Where a pipeline's comparison is stored: apart from the records, which are read by their suffix alone."""
        return Path(self.folder) / "comparisons" / f"{name}.json"

    def benchmark(self, name: str) -> Path:
        """Where a benchmark's table is stored."""
        return Path(self.folder) / "benchmarks" / f"{name}.json"

    def stored(self, name: str) -> StoredTable:
        """A benchmark's table.

        Raises:
            MissingFile, CorruptFile: it was not made, or is none.
        """
        return from_plain(StoredTable, read_json(self.benchmark(name)), str(self.benchmark(name)))


def _pairs(name: str, entries: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(entries.get("task"), list) or not isinstance(entries.get("agent"), list):
        yield name, entries
        return
    for task, agent in product(entries["task"], entries["agent"]):
        yield f"{name}-{task}-{agent.rpartition(':')[2]}", {**entries, "task": task, "agent": agent}


class Shown:
    """Figures as tables show them: those of a record, or of an expert's manifest, by name.

    Args:
        figures: by name.
    """

    def __init__(self, figures: Mapping[str, Any]) -> None:
        self._figures = figures

    def __getattr__(self, name: str) -> Any:
        try:
            return self._figures[name]
        except KeyError as error:
            raise BadInput(f"no figure {name!r}; there are {', '.join(self._figures)}") from error

    @property
    def mean(self) -> str:
        """The mean return, to a tenth below 1000."""
        return _rounded(self.return_mean)

    @property
    def ci(self) -> str:
        """Its 95 % confidence interval."""
        return " to ".join(_rounded(end) for end in self.return_ci95)

    @property
    def success(self) -> str:
        return f"{self.success_rate:.0%}".replace("%", " %")

    @property
    def falls(self) -> str:
        """How many episodes ended in a fall, of how many."""
        return f"{round(self.fall_rate * self.episodes)} of {self.episodes}"

    @property
    def downs(self) -> str:
        """In how many the robot was on the floor; a dash where that was not counted."""
        if self.down_rate is None:
            return "-"
        return f"{round(self.down_rate * self.episodes)} of {self.episodes}"

    @property
    def survival(self) -> str:
        return f"{self.push_survival:.0%}".replace("%", " %")

    @property
    def own_steps(self) -> str:
        return short(self.env_steps)

    @property
    def experts_steps(self) -> str:
        return short(self.expert_steps)


def _rounded(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def measure_all(results: Results, *, again: Sequence[str] | None = None) -> None:
    """Measure what is missing, each by itself; it counts as soon as it is there.

    Args:
        results: what there is.
        again: what to measure anew, and nothing else; without a name everything.

    Raises:
        BadInput: there is nothing of such a name.
    """
    known = [*results.experts.folders, *results.evaluations, *results.benchmarks]
    for name in again or ():
        if name not in known:
            raise BadInput(f"--again {name}: no such figures; there are {', '.join(known)}")

    def wanted(name: str, current: Callable[[], bool]) -> bool:
        return name in again if again else again is not None or not current()

    for folder in results.experts.folders:
        if wanted(folder, partial(_expert_is_current, folder, results.experts.episodes)):
            print(f"{folder}: {results.experts.episodes} episodes, plain and pushed", file=sys.stderr, flush=True)
            measure(folder, results.experts.episodes)
    for name, entries in results.evaluations.items():
        config = EvaluationConfig(**{key: value for key, value in entries.items() if key != "keep"})
        file = results.record(name)
        if wanted(name, partial(_record_is_current, file, config)):
            print(f"{name}: {config.agent} on {config.task}, {config.episodes} episodes", file=sys.stderr, flush=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            record = replace(evaluate(config), env_steps_per_s=0.0)  # the speed of this machine is no result
            write_json(file, {**asdict(record), "extra": {"definitions": definitions(config.task)}})
        if entries.get("keep"):
            keep(Record.read(file), Path(_AGENT_FOLDERS) / config.agent.removeprefix("agent:"))
    for name, benchmark in results.benchmarks.items():
        if wanted(name, partial(_table_is_current, name, results)):
            print(f"{name}: python {benchmark.run}", file=sys.stderr, flush=True)
            _run(name, results)


def _run(name: str, results: Results) -> None:
    """Let a script measure its table, and keep that, unless it can't measure here.

    Raises:
        MwlError: the script failed.
    """
    benchmark = results.benchmarks[name]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "table.json"
        command = [sys.executable, *shlex.split(benchmark.run), "--table", str(made)]
        if subprocess.run(command, check=False, stdout=2).returncode != 0:  # the tables that change go to stdout
            raise MwlError(f"{name}: python {benchmark.run}: failed as it says above")
        if made.is_file():
            results.benchmark(name).parent.mkdir(parents=True, exist_ok=True)
            write_json(results.benchmark(name), {**benchmark.identity, **read_json(made)})
        else:
            print(f"{name}: left out; what is stored stays", file=sys.stderr, flush=True)


def take(results: Results, name: str, folder: str) -> None:
    """Keep a pipeline's comparison, for the table of that name.

    Raises:
        BadInput: the configuration has no comparison of that name.
        MissingFile, CorruptFile: the folder holds none.
    """
    if name not in results.comparisons:
        raise BadInput(f"--take {name}: no such comparison; there are {', '.join(results.comparisons) or 'none'}")
    read_comparison(Path(folder))
    file = results.comparison(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, read_json(Path(folder) / JSON_FILE))


def _expert_is_current(folder: str, episodes: int) -> bool:
    metrics = read_manifest(folder)["metrics"]
    return (metrics.get("episodes"), metrics.get("definitions")) == (episodes, definitions(metrics.get("task", "")))


def _record_is_current(file: Path, config: EvaluationConfig) -> bool:
    if not file.is_file():
        return False
    record = Record.read(file)
    named = resolve(config.agent, config.name, config.instruction, config.act, config.without)
    same_agent = (record.agent, record.agent_sha256) == (named.name, named.manifest.files[MODEL])
    same_figures = record.extra.get("definitions") == definitions(config.task)
    stored = (record.task, record.suite, record.episodes, record.seed, record.instruction, record.act, record.shift)
    wanted = (config.task, config.suite, config.episodes, config.seed, config.instruction, config.act, config.shift)
    return stored == wanted and same_agent and same_figures


def _table_is_current(name: str, results: Results) -> bool:
    if not results.benchmark(name).is_file():
        return False
    stored = results.stored(name)
    return results.benchmarks[name].identity == {key: getattr(stored, key) for key in ("command", "definitions", "of")}


def render(table: Table, results: Results) -> str:
    """The table in Markdown.

    Raises:
        MissingFile: a record that it shows is not there.
        BadInput: a cell names what its row does not have.
    """
    found = []
    for row in table.rows:
        entries = {key: _figures(value, results) if key in table.figures else value for key, value in row.items()}
        if "task" in row:
            entries |= {f"best_{name}": _published(row["task"], steps) for name, steps in PUBLISHED.items()}
        try:
            notes = {name: value.format(**entries) for name, value in entries.items() if isinstance(value, str)}
            found.append([cell.format(**{**entries, **notes}) for cell in table.cells])
        except KeyError as error:
            raise BadInput(f"a cell names {error}, a row has {', '.join(row)}") from error
    return lines(table.head, found)


def _published(task: str, steps: int) -> str:
    entry = best(task, steps)
    return "-" if entry is None else f"{entry.mean:.0f} ({entry.method})"


def _figures(name: str, results: Results) -> Shown:
    """Figures of an evaluation, or of an artifact as its manifest has them.

    Raises:
        BadInput: there is neither of that name.
        MissingFile: it was not measured.
    """
    if name.endswith("-*"):
        found = [Record.read(results.record(each)) for each in results.evaluations if each.startswith(name[:-1])]
        if found:
            return Shown(asdict(max(found, key=lambda record: record.return_mean)))
    if name in results.evaluations:
        return Shown(asdict(Record.read(results.record(name))))
    if Path(name).is_dir():
        manifest = read_manifest(name)
        return Shown({**manifest["metrics"], "shifts": manifest.get("shifts", {})})
    raise BadInput(f"{name}: neither an evaluation of the configuration nor an artifact")


def write_tables(results: Results) -> list[str]:
    """Write all tables into their documents, between `<!-- results:NAME -->` and `<!-- /results -->`.

    Returns:
        the documents that changed.

    Raises:
        BadInput: a document names a table that isn't there.
    """
    changed = []
    for document in results.documents:
        before = read_text(Path(document))
        after = before
        for block in _BLOCK.finditer(before):
            after = after.replace(block[0], block[1] + _table(block["name"], document, results) + block[3])
        if after != before:
            write_text(Path(document), after)
            changed.append(document)
    return changed


def _table(name: str, document: str, results: Results) -> str:
    if name in results.comparisons:
        return markdown(*read_comparison(results.comparison(name)))
    if name in results.benchmarks:
        stored = results.stored(name)
        return f"{lines(stored.head, stored.rows)}\n`{stored.command}`, on {stored.machine}\n"
    if name not in results.tables:
        known = ", ".join([*results.tables, *results.comparisons, *results.benchmarks])
        raise BadInput(f"{document}: no table {name!r} in the configuration; there are {known}")
    return render(results.tables[name], results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the tables; see the module."""
    parser = argparse.ArgumentParser(prog="python -m mwl.evaluation.results", description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, nargs="?", default=CONFIG)
    parser.add_argument("--tables", action="store_true", help="only write the tables, from what is stored")
    parser.add_argument("--again", nargs="*", metavar="NAME", help="measure these anew, without a name everything")
    parser.add_argument("--take", metavar="NAME=FOLDER", help="keep the comparison that a pipeline left in a folder")
    options = parser.parse_args(arguments)
    try:
        results = Results.read(options.config)
        if options.take:
            take(results, *options.take.partition("=")[::2])
        if not options.tables:
            measure_all(results, again=options.again)
        for document in write_tables(results):
            print(document)
    except MwlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadInput) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
