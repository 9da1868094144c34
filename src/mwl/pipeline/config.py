"""The typed configuration of a pipeline: reading a YAML file, overrides, references between stages, and checks."""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser

from mwl._places import find
from mwl._renamed import present_keys
from mwl.core import files as disk
from mwl.core.errors import ConfigError, CorruptFile, did_you_mean
from mwl.core.ranges import Count, NonNegative, Seed, Whole
from mwl.evaluation.config import EvaluationConfig, Plan
from mwl.instructions.config import FollowStage
from mwl.pipeline.grid import GridAgent, GridStage, spread_grid
from mwl.pipeline.seeds import spread_seeds
from mwl.training.config_errors import explain, locate
from mwl.training.schedule import Part, parts, split, with_overrides
from mwl.training.stage_files import check_sections, default_file, merge, read_yaml

_REFERENCE = re.compile(r"\$\{([\w.\-]+)\}")


@dataclass(frozen=True)
class ConfiguredStage:
    """A stage that a YAML file describes."""

    config: str
    """The file, or a part of it, as for `mwl fit --config`."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Merged over it, for example `{teacher: "${teacher_walk}"}`."""


@dataclass(frozen=True)
class ScheduledStage(ConfiguredStage):
    """One whose file may have a `schedule`, and then becomes a stage for each part.

    These are called `<stage>.<part>`, the last of them as the stage itself. Overrides are merged over every part, those
    below `schedule` over the parts named.
    """

    before: str | None = None
    """What `${before}` in it stands for; for a part filled in."""


@dataclass(frozen=True)
class FitStage(ScheduledStage):
    """Fit a LightningModule on a LightningDataModule."""


@dataclass(frozen=True)
class TeacherStage(ScheduledStage):
    """Train a teacher, as `mwl motion train`."""


@dataclass(frozen=True)
class DemonstrationsStage(ConfiguredStage):
    """Record a demonstrator, as `mwl motion demonstrate`; the folder holds `recording.npz` and `demonstrator.yaml`."""


@dataclass(frozen=True)
class EvaluateStage(EvaluationConfig):
    """Run whole episodes of one agent on one task."""

    episodes: Count = 5
    seed: Seed = 1000
    video: bool = True
    """Record the first episode."""


@dataclass(frozen=True)
class CompareStage:
    """Table, plot and JSON of several evaluations."""

    evaluations: list[str]
    plan: Plan = field(default_factory=Plan)
    """Of the grid that this is the comparison of."""


Stage = FitStage | TeacherStage | DemonstrationsStage | EvaluateStage | CompareStage | FollowStage
KINDS: dict[str, type] = {
    "fit": FitStage,
    "teacher": TeacherStage,
    "demonstrations": DemonstrationsStage,
    "evaluate": EvaluateStage,
    "compare": CompareStage,
    "follow": FollowStage,
    "grid": GridStage,
}


@dataclass(frozen=True)
class Resources:
    """What a stage takes of a machine."""

    cpus: Whole = 0
    """Cores, and threads on them; 0: what the engine gives to every stage."""
    gpus: Whole = 0
    memory: NonNegative = 0.0
    """GB."""


@dataclass(frozen=True)
class Pipeline:
    """Stages by name, and how to run them."""

    name: str
    stages: dict[str, dict[str, Any]]
    """Stage name -> `kind` and the fields of that kind; `${stage}` in a value stands for that stage's result folder.
    With `seeds` a stage is carried out once per seed, see `mwl.pipeline.seeds`; one of kind `grid` is many."""
    output: str | None = None
    """Folder of all results; default `runs/<name>`."""
    experiment: str | None = None
    """MLflow experiment; default the pipeline's name."""
    imports: list[str] = field(default_factory=list)
    """Python files of one's own, executed first; every stage depends on them."""
    max_parallel: Whole = 0
    """Stages that run at the same time; 0: one per CPU core, at most 4, or as many as an engine has room for."""
    engine: Literal["local", "ray", "slurm"] = "local"
    """Where stages run: in processes of this machine, on a Ray cluster, as jobs of SLURM."""
    address: str | None = None
    """`host:port` of the head of a Ray cluster, or `auto`; without, a Ray of this machine is started."""
    slurm: dict[str, Any] = field(default_factory=dict)
    """What submitit's `AutoExecutor` takes, as `{slurm_partition: gpu, timeout_min: 600}`."""
    resources: Resources = field(default_factory=Resources)
    """Of every stage; `resources` in a stage overrides them."""

    @property
    def folder(self) -> Path:
        """Folder of all results."""
        return Path(self.output or f"runs/{self.name}")

    def resources_of(self, stage: str) -> Resources:
        """What a stage takes, once `load` has read it."""
        resources: Resources = self.stages[stage]["resources"]
        return resources


def references(value: Any) -> Iterator[str]:
    """Names of all stages that a value refers to by `${name}`."""
    if isinstance(value, str):
        yield from _REFERENCE.findall(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def substitute(value: Any, folder: Path) -> Any:
    """The value with every `${name}` replaced by the result folder of that stage."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: str(folder / match[1]), value)
    if isinstance(value, Mapping):
        return {key: substitute(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [substitute(item, folder) for item in value]
    return value


def load(path: Path, overrides: Sequence[str] = ()) -> tuple[Pipeline, dict[str, Stage]]:
    """Read a pipeline and check everything that can be checked without importing what its stages name.

    Args:
        path: YAML file, found as `mwl._places.find` does; its key `extends` names another one beside it, over which it
            is merged. Paths in it are relative to its folder, where something lies there, else to the working folder.
        overrides: `a.b=value` assignments, values in YAML.

    Raises:
        MissingFile: the file does not exist.
        ConfigError: unknown key, kind or reference, bad value, circular references.
    """
    path = find(path)
    raw = read_yaml(path)
    files = [path]
    while "extends" in raw:
        parent = path.parent / str(raw.pop("extends"))
        if parent in files:
            raise ConfigError(f"{path}: `extends` goes round in a circle")
        files.insert(0, parent)
        raw = merge(read_yaml(parent), raw)
    for assignment in overrides:
        _assign(raw, assignment)
    _check_stages(raw, files)
    raw["stages"] = _spread_parts(_spread_grids(raw["stages"], files))
    pipeline = _parse(Pipeline, raw, files, "")
    try:
        specs = spread_seeds(pipeline.stages)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    stages = {name: _parse_stage(name, spec, files) for name, spec in specs.items()}
    order(stages, path)
    for name, spec in specs.items():
        asked = {**asdict(pipeline.resources), **spec.get("resources", {})}
        specs[name] = {**spec, "resources": _parse(Resources, asked, files, name)}
    return replace(pipeline, stages=specs), stages


def order(stages: Mapping[str, Stage], path: Path) -> list[str]:
    """Stage names such that every stage comes after those it refers to.

    Raises:
        ConfigError: a reference to a stage that does not exist, or a circle.
    """
    graph = {name: dependencies(stage) for name, stage in stages.items()}
    for name, needed in graph.items():
        for other in sorted(needed - set(stages)):
            raise ConfigError(f"{path}: stage {name!r} refers to unknown stage {other!r}{did_you_mean(other, stages)}")
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ConfigError(f"{path}: stages refer to each other in a circle: {' -> '.join(error.args[1])}") from error


def plan_of(stages: Mapping[str, Stage]) -> Plan:
    """What the grids of a pipeline are to measure together, and the first agent, with which the others are compared."""
    plans = [stage.plan for stage in stages.values() if isinstance(stage, CompareStage) and stage.plan.cells]
    agents = dict.fromkeys(agent for plan in plans for agent in plan.cells)
    cells = {agent: {task: of for plan in plans for task, of in plan.cells.get(agent, {}).items()} for agent in agents}
    return Plan(cells, plans[0].against if plans else None)


def dependencies(stage: Stage) -> set[str]:
    """Names of the stages that must be finished before this one starts."""
    return {name for item in fields(stage) for name in references(getattr(stage, item.name))}


def stage_config(stage: FitStage, folder: Path) -> dict[str, Any]:
    """What `mwl fit` gets: the defaults, the stage's file, the overrides; references filled in."""
    default = default_file(split(stage.config)[0])
    config = read_yaml(default) if default else {}
    config = merge(config, with_overrides(stage.config, present_keys(stage.overrides), stage.before))
    check_sections(config, f"{stage.config}, with overrides")
    filled: dict[str, Any] = substitute(config, folder)
    return filled


def motion_settings(stage: TeacherStage | DemonstrationsStage, folder: Path) -> dict[str, Any]:
    """What the teacher or demonstrator is made of: its file, the overrides; references filled in."""
    before = stage.before if isinstance(stage, TeacherStage) else None
    filled: dict[str, Any] = substitute(with_overrides(stage.config, present_keys(stage.overrides), before), folder)
    return filled


def _spread_grids(stages: Mapping[str, Any], files: list[Path]) -> dict[str, Any]:
    """The stages, a grid as those of its cells."""
    spread: dict[str, Any] = {}
    for name, spec in stages.items():
        made: dict[str, Any] = {name: spec}
        if spec.get("kind") == "grid":
            own = {key: value for key, value in spec.items() if key not in ("kind", "resources")}
            grid = _parse(GridStage, own, files, name)
            named = {label: dict(agent or {}) for label, agent in grid.agents.items()}
            agents = {label: _parse(GridAgent, agent, files, f"{name}: {label}") for label, agent in named.items()}
            try:
                made = spread_grid(name, grid, agents)
            except ConfigError as error:
                raise ConfigError(f"{locate(name, files)}: {error}") from error
            asked = {"resources": spec["resources"]} if "resources" in spec else {}
            made = {each: {**of_cell, **asked} for each, of_cell in made.items()}
        if twice := next((each for each in made if each in spread or (each != name and each in stages)), None):
            raise ConfigError(f"{locate(name, files)}: {twice!r} names two stages, one of them of the grid {name!r}")
        spread |= made
    return spread


def _spread_parts(stages: Mapping[str, Any]) -> dict[str, Any]:
    """The stages, those whose configuration has a schedule as one for each part."""
    spread: dict[str, Any] = {}
    for name, spec in stages.items():
        schedule = _schedule(spec) if isinstance(spec, Mapping) else {}
        for part, content in schedule.items():
            own = name if part == list(schedule)[-1] else f"{name}.{part}"
            before = {} if content.before is None else {"before": f"${{{name}.{content.before}}}"}
            spread[own] = {**spec, "config": f"{spec['config']}#{part}", **before}
        if not schedule:
            spread[name] = spec
    return spread


def _schedule(spec: Mapping[str, Any]) -> dict[str, Part]:
    """Parts of a stage's configuration; none for one that is misconfigured, which is told where it is read."""
    file = spec.get("config")
    if spec.get("kind") not in ("fit", "teacher") or not isinstance(file, str) or not split(file)[0].is_file():
        return {}
    return parts(read_yaml(split(file)[0]), file)


def _assign(raw: dict[str, Any], assignment: str) -> None:
    """Carry out one `a.b=value`; keys that do not exist are created, and refused later where they fit no schema."""
    dotted, equals, text = assignment.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"--set {assignment}: expected KEY=VALUE, for example --set max_parallel=1")
    keys = dotted.strip().split(".")
    try:
        value = disk.parse_yaml(text, f"--set {dotted.strip()}")
    except CorruptFile as error:
        raise ConfigError(str(error)) from error
    stages = raw.get("stages") or {}
    if keys[0] == "stages" and len(keys) > 1 and (not isinstance(stages, dict) or keys[1] not in stages):
        raise ConfigError(f"--set {assignment}: no stage {keys[1]!r}{did_you_mean(keys[1], map(str, stages))}")
    node = raw
    for key in keys[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {assignment}: {key!r} holds a value, not a group of keys")
    node[keys[-1]] = value


def _check_stages(raw: Mapping[str, Any], files: list[Path]) -> None:
    """Refuse what would not be told as the mistake that it is: empty sections, names that YAML reads as no text."""
    for key in raw:
        if not isinstance(key, str):
            raise ConfigError(f"{files[-1]}: the key {key!r} is read as no text; put it in quotes")
    stages = raw.get("stages")
    if not isinstance(stages, Mapping) or not stages:
        raise ConfigError(f"{locate('stages', files)}: `stages` is empty or no section; name at least one stage in it")
    for name, spec in stages.items():
        if not isinstance(name, str):
            raise ConfigError(
                f"{locate(str(name), files)}: the stage name {name!r} is read as no text; put it in quotes"
            )
        where = locate(name, files)
        if not isinstance(spec, Mapping):
            raise ConfigError(f"{where}: stage {name!r} is empty or no section; it needs a `kind` and what that takes")
        for key, value in spec.items():
            if not isinstance(key, str):
                raise ConfigError(f"{where}: key {key!r} of stage {name!r} is read as no text; put it in quotes")
            if key in ("overrides", "agents", "resources") and not isinstance(value, Mapping):
                raise ConfigError(
                    f"{where}: `{key}` of stage {name!r} is empty or no section; give it keys, or leave it out"
                )


def _parse_stage(name: str, spec: Any, files: list[Path]) -> Stage:
    where = locate(name, files)
    if not re.fullmatch(r"[\w.\-]+", name) or name.startswith((".", "_")):
        raise ConfigError(f"{where}: stage name {name!r} may hold letters, digits, '_', '-' and '.' only")
    if len(name) > disk.MAX_NAME_BYTES:  # it names a folder
        raise ConfigError(f"{where}: stage name {disk.shown(name)} is longer than {disk.MAX_NAME_BYTES} letters")
    if not isinstance(spec, dict) or "kind" not in spec:
        raise ConfigError(f"{where}: stage {name!r} needs a `kind`, one of {', '.join(KINDS)}")
    kind = spec["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(
            f"{where}: stage {name!r} has unknown kind {disk.shown(kind)}; choose from {', '.join(KINDS)}"
        )
    own = {key: value for key, value in spec.items() if key not in ("kind", "resources")}
    stage: Stage = _parse(KINDS[kind], own, files, name)
    return stage


def _parse(cls: type, raw: dict[str, Any], files: list[Path], stage: str) -> Any:
    known = [item.name for item in fields(cls)]
    what = f"stage {stage!r}" if stage else "pipeline"
    for key in raw:
        if key not in known:
            raise ConfigError(
                f"{locate(str(key), files)}: unknown key {key!r} in {what}{did_you_mean(str(key), known)}"
            )
    free = {item.name for item in fields(cls) if "Any" in str(item.type)}  # the parser would build what they name
    for key in free & raw.keys():
        if not isinstance(raw[key], Mapping):
            raise ConfigError(f"{locate(key, files)}: `{key}` of {what} is no section; give it keys, or leave it out")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, skip=free)
    try:
        typed = {key: value for key, value in raw.items() if key not in free}
        values = parser.instantiate_classes(parser.parse_object(typed)).as_dict()
        return cls(**values, **{key: raw[key] for key in free & raw.keys()})
    except (ArgumentError, argparse.ArgumentError) as error:
        raise ConfigError(f"{explain(str(error), files, known)} ({what})") from error
