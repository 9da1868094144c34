"""`make results`: measure what ships once more, and write every table of the documents from what was stored.

    python -m mwl.evaluation.results            # measures what is missing, then writes the tables
    python -m mwl.evaluation.results --tables   # writes the tables from what is stored
    python -m mwl.evaluation.results --again    # measures everything anew

`conf/results.yaml` says what is measured and how tables are made of it. Evaluations lie in `data/results`, one file
each; what `mwl experts measure` says lies in the experts' manifests. What is there for the same agent, task, suite,
episodes, seed and definitions of the figures is not measured again, so an interrupted run goes on.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mwl.errors import BadInput, MwlError
from mwl.evaluation.agents import resolve
from mwl.evaluation.compare import short
from mwl.evaluation.record import Record
from mwl.evaluation.run import EvaluationConfig, evaluate, keep
from mwl.experts.remeasure import measure
from mwl.files import read_text, write_json, write_text
from mwl.handoff import MODEL, read_manifest
from mwl.rollouts import definitions

CONFIG = Path("conf/results.yaml")
_AGENT_FOLDERS = "data/agents"
_BLOCK = re.compile(r"(<!-- results:(?P<name>[\w-]+) -->\n).*?(<!-- /results -->)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A table of the documents.

    Args:
        head: titles of the columns.
        cells: what stands in each, as `str.format` patterns over a row's entries.
        rows: entries by name; those that name a record or an expert's folder show its figures (`Shown`), and texts
            are patterns as well.
    """

    head: list[str]
    cells: list[str]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Results:
    """What `conf/results.yaml` says.

    Args:
        folder: where records lie.
        documents: files with tables.
        experts: folders that `mwl experts measure` renews, and with how many episodes.
        evaluations: by name, entries of an `EvaluationConfig`; with `keep` the agent's manifest gets the figures too.
        tables: by name.
    """

    folder: Path
    documents: list[Path]
    experts: list[Path] = field(default_factory=list)
    experts_episodes: int = 20
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read the configuration.

        Raises:
            MissingFile: there is none.
            BadInput: it does not fit.
        """
        content = yaml.safe_load(read_text(path))
        try:
            return cls(
                folder=Path(content["folder"]),
                documents=[Path(name) for name in content["documents"]],
                experts=[Path(name) for name in content["experts"]["folders"]],
                experts_episodes=content["experts"]["episodes"],
                evaluations=content["evaluations"],
                tables={name: Table(**table) for name, table in content["tables"].items()},
            )
        except (KeyError, TypeError) as error:
            raise BadInput(f"{path}: {error} is missing or does not belong there") from error


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
        """In how many the robot was on the floor."""
        return f"{round(self.down_rate * self.episodes)} of {self.episodes}"

    @property
    def survival(self) -> str:
        return f"{self.kick_survival:.0%}".replace("%", " %")

    @property
    def own_steps(self) -> str:
        return short(self.env_steps)

    @property
    def experts_steps(self) -> str:
        return short(self.expert_steps)


def _rounded(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def measure_all(results: Results, *, again: bool = False) -> None:
    """Measure what is missing (or everything), record by record; each counts as soon as it is there."""
    for folder in results.experts:
        if again or not _expert_is_current(folder, results.experts_episodes):
            print(f"{folder}: {results.experts_episodes} episodes, plain and pushed", file=sys.stderr, flush=True)
            measure(folder, results.experts_episodes)
    for name, entries in results.evaluations.items():
        config = EvaluationConfig(**{key: value for key, value in entries.items() if key != "keep"})
        file = results.folder / f"{name}.json"
        if again or not _record_is_current(file, config):
            print(f"{name}: {config.agent} on {config.task}, {config.episodes} episodes", file=sys.stderr, flush=True)
            results.folder.mkdir(parents=True, exist_ok=True)
            record = replace(evaluate(config), env_steps_per_s=0.0)  # the speed of this machine is no result
            write_json(file, {**asdict(record), "extra": {"definitions": definitions()}})
        if entries.get("keep"):
            keep(Record.read(file), Path(_AGENT_FOLDERS) / config.agent.removeprefix("agent:"))


def _expert_is_current(folder: Path, episodes: int) -> bool:
    metrics = read_manifest(folder)["metrics"]
    return (metrics.get("episodes"), metrics.get("definitions")) == (episodes, definitions())


def _record_is_current(file: Path, config: EvaluationConfig) -> bool:
    if not file.is_file():
        return False
    record = Record.read(file)
    present = resolve(config.agent).manifest["files"][MODEL]
    stored = (record.task, record.suite, record.episodes, record.seed, record.instruction, record.act)
    wanted = (config.task, config.suite, config.episodes, config.seed, config.instruction, config.act)
    return stored == wanted and record.agent_sha256 == present and record.extra.get("definitions") == definitions()


def render(table: Table, results: Results) -> str:
    """The table in Markdown.

    Raises:
        MissingFile: a record that it shows is not there.
        BadInput: a cell names what its row does not have.
    """
    lines = [table.head, ["---"] * len(table.head)]
    for row in table.rows:
        entries = {name: _entry(value, results) for name, value in row.items()}
        try:
            notes = {name: value.format(**entries) for name, value in entries.items() if isinstance(value, str)}
            lines.append([cell.format(**{**entries, **notes}) for cell in table.cells])
        except KeyError as error:
            raise BadInput(f"a cell names {error}, a row has {', '.join(row)}") from error
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _entry(value: Any, results: Results) -> Any:
    """Figures of a record or an expert, where a value names one; else the value itself."""
    if isinstance(value, str) and value in results.evaluations:
        record = Record.read(results.folder / f"{value}.json")
        return Shown(asdict(record))
    if isinstance(value, str) and Path(value) in results.experts:
        manifest = read_manifest(value)
        return Shown(manifest["metrics"])
    return value


def write_tables(results: Results) -> list[Path]:
    """Write all tables into their documents, between `<!-- results:NAME -->` and `<!-- /results -->`.

    Returns:
        the documents that changed.

    Raises:
        BadInput: a document names a table that isn't there.
    """
    changed = []
    for document in results.documents:
        before = read_text(document)
        after = before
        for block in _BLOCK.finditer(before):
            after = after.replace(block[0], block[1] + _table(block["name"], document, results) + block[3])
        if after != before:
            write_text(document, after)
            changed.append(document)
    return changed


def _table(name: str, document: Path, results: Results) -> str:
    if name not in results.tables:
        raise BadInput(f"{document}: no table {name!r} in the configuration; there are {', '.join(results.tables)}")
    return render(results.tables[name], results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the tables; see the module."""
    parser = argparse.ArgumentParser(prog="python -m mwl.evaluation.results", description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, nargs="?", default=CONFIG)
    parser.add_argument("--tables", action="store_true", help="only write the tables, from what is stored")
    parser.add_argument("--again", action="store_true", help="measure everything anew")
    options = parser.parse_args(arguments)
    try:
        results = Results.read(options.config)
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
