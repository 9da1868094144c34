"""`mwl run`: carries out the stages of a pipeline in order of need, several at a time, and can be stopped anywhere."""

import fnmatch
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from mwl._extensions import import_files, imported_files
from mwl.core.artifact import sha256_of
from mwl.core.errors import BadInput, MwlError, StageFailed, did_you_mean
from mwl.core.files import entries, output_folder, read_text, shown, write_json, write_text
from mwl.core.machine import cpu_cores
from mwl.core.terminal import tell
from mwl.evaluation.compare import PLAN_FILE
from mwl.experiments import tracking
from mwl.pipeline import engines, fingerprint, worker
from mwl.pipeline.checks import check_stage
from mwl.pipeline.config import (
    DemonstrationsStage,
    FitStage,
    Pipeline,
    Stage,
    TeacherStage,
    dependencies,
    load,
    motion_settings,
    order,
    plan_of,
    stage_config,
    substitute,
)
from mwl.pipeline.display import Display
from mwl.pipeline.estimate import STAGE, Estimate, Work
from mwl.pipeline.produce import check_settings
from mwl.pipeline.worker import Job
from mwl.training.config_errors import locate
from mwl.training.lock import held
from mwl.training.resume import LAST, usable_checkpoint
from mwl.training.schedule import split
from mwl.training.stage_cli import WORK, resolved_config, work_folder

STATE = "state.json"
PARENT = "mlflow_parent_run"
LOCK = "lock"
_MOST_LOST = 3  # times that a stage goes on after its worker was lost
_MODULES = {
    "teacher": ("mwl.pipeline.produce", "mwl.teachers.train"),
    "demonstrations": ("mwl.pipeline.produce", "mwl.demonstrators.demonstrate"),
    "evaluate": ("mwl.evaluation.run", "mwl.world_model", "mwl.experts", "mwl.simulation"),
    "compare": ("mwl.evaluation.compare",),
    "follow": ("mwl.instructions.follow", "mwl.world_model"),
}


@dataclass(frozen=True)
class Result:
    """What a run of a pipeline did."""

    folder: Path
    ran: list[str]
    skipped: list[str]
    seconds: float


@dataclass(frozen=True)
class ScheduledStage:
    """A stage with all that decides whether it must run, except the results of the stages it needs."""

    name: str
    kind: str
    config: dict[str, Any]
    needs: set[str]
    key: str
    complete: dict[str, Any]
    """The configuration, defaults included."""


def run_pipeline(
    path: Path, overrides: Sequence[str] = (), console: Console | None = None, only: Sequence[str] = ()
) -> Result:
    """Carry out a pipeline, skipping the stages whose configuration, inputs and code did not change.

    Args:
        path: pipeline YAML.
        overrides: `a.b=value` assignments.
        console: where progress is shown; default stderr.
        only: see `planned`.

    Raises:
        ConfigError: the pipeline or one of its stages is misconfigured; nothing was started.
        BadInput: it has no stage `only`.
        StageFailed: a stage ended without a result; those that do not need it were carried out all the same.
        KeyboardInterrupt: stopped by the user; every running stage saved a checkpoint.
    """
    started = time.monotonic()
    console = console or Console(stderr=True)
    pipeline, stages, plans = planned(path, overrides, only)
    console.print(estimate(pipeline, plans).text, highlight=False, markup=False, soft_wrap=True)
    folder = output_folder(pipeline.folder, force=True)  # what is in it is made again where it changed
    with held(folder / WORK / LOCK, folder), _sigterm_as_interrupt(), Display(console, len(plans)) as display:
        if (grids := plan_of(stages)).cells:
            write_json(folder / PLAN_FILE, asdict(grids))
        run = _Run(pipeline, plans, display)
        run.go()
    return Result(folder, run.ran, run.skipped, time.monotonic() - started)


def planned(
    path: Path, overrides: Sequence[str], only: Sequence[str] = ()
) -> tuple[Pipeline, dict[str, Stage], dict[str, ScheduledStage]]:
    """A pipeline and its stages, checked and in an order in which they can be carried out; nothing is started.

    Args:
        path: pipeline YAML.
        overrides: `a.b=value` assignments.
        only: names of stages, with the wildcards of a shell, to which and to what they need the plans are kept; none
            keeps all.

    Raises:
        ConfigError: the pipeline or one of its stages is misconfigured.
        BadInput: it has no stage `only`.
    """
    pipeline, stages = load(path, overrides)
    import_files(pipeline.imports)
    for name, stage in stages.items():
        check_stage(name, stage, stages, locate(name, [path]))
    engines.check(pipeline)
    wanted = _wanted(stages, only)
    plans = {name: _plan(name, stages[name], pipeline, path) for name in order(stages, path) if name in wanted}
    return pipeline, stages, plans


def _wanted(stages: Mapping[str, Stage], only: Sequence[str]) -> set[str]:
    """The stages of these names, and all that they need."""
    wanted, found = set[str](), set[str]() if only else set(stages)
    for pattern in only:
        named = fnmatch.filter(stages, pattern)
        if not named:
            raise BadInput(f"no stage {shown(pattern)}; stages: {', '.join(stages)}{did_you_mean(pattern, stages)}")
        found.update(named)
    while found:
        wanted |= found
        found = {need for name in found for need in dependencies(stages[name])} - wanted
    return wanted


def estimate(pipeline: Pipeline, plans: Mapping[str, ScheduledStage]) -> Estimate:
    """What is left to do, and what that will take by what stages alike took here."""
    digests: dict[str, str | None] = {}
    shares = {}
    for name, plan in plans.items():  # a stage comes after those that it needs
        shares[name] = 0.0
        if not plan.needs <= set(digests):
            continue
        key, digest = _found(plan, pipeline.folder, digests)
        work = work_folder(pipeline.folder / name)
        if digest is not None:
            digests[name], shares[name] = digest, 1.0
        elif entries(work / STATE).get("key") == key and (work / LAST).is_file():
            shares[name] = float(entries(work / worker.PROGRESS).get("fraction", 0.0))
    works = {name: Work(plan.kind, plan.complete, plan.needs, shares[name]) for name, plan in plans.items()}
    local = min(cpu_cores(), 4) if pipeline.engine == "local" else 1
    return Estimate.of(works, pipeline.folder, pipeline.max_parallel or local)


def _found(plan: ScheduledStage, folder: Path, digests: Mapping[str, str | None]) -> tuple[str, str | None]:
    """A stage's key, and the digest of its result where that was made by the same key and is whole."""
    key = fingerprint.digest_of({"stage": plan.key, "upstream": {each: digests[each] for each in sorted(plan.needs)}})
    state = entries(work_folder(folder / plan.name) / STATE)
    digest = fingerprint.folder_digest(folder / plan.name)
    made = state.get("key") == key and digest is not None and state.get("digest") == digest
    return key, digest if made else None


def _plan(name: str, stage: Stage, pipeline: Pipeline, path: Path) -> ScheduledStage:
    """Complete and check one stage's configuration, and compute the part of its key known beforehand."""
    kind = next(kind for kind, cls in _kinds().items() if isinstance(stage, cls))
    if isinstance(stage, FitStage):
        config = stage_config(stage, pipeline.folder)
        complete = resolved_config(config, files=[path, split(stage.config)[0]])
        modules = {"mwl.training.callbacks"} | fingerprint.class_modules(config)
    elif isinstance(stage, TeacherStage | DemonstrationsStage):
        settings = motion_settings(stage, pipeline.folder)
        check_settings(kind, settings, stage.config)
        config = complete = {"settings": settings}
        modules = set(_MODULES[kind])
    else:
        config = complete = substitute(asdict(stage), pipeline.folder)
        modules = set(_MODULES[kind])
    counted = {key: value for key, value in complete.items() if key not in ("output", "experiment", "trainer")}
    if "trainer" in complete:  # where a logger writes changes no result; its address is the user's, from outside
        counted["trainer"] = {key: value for key, value in complete["trainer"].items() if key != "logger"}
    decides = {
        "config": counted,
        "inputs": fingerprint.input_digests(config, exclude=pipeline.folder),
        "code": fingerprint.code_version(modules),
    }
    if own := imported_files():
        decides["imports"] = {file.name: sha256_of(file) for file in own}
    key = fingerprint.digest_of(decides)
    return ScheduledStage(name, kind, config, dependencies(stage), key, complete)


def _kinds() -> Mapping[str, type]:
    from mwl.pipeline.config import KINDS

    return KINDS


class _Run:
    """The state of one run: what is done, what is running, what waits."""

    def __init__(self, pipeline: Pipeline, plans: dict[str, ScheduledStage], display: Display) -> None:
        self.pipeline, self.plans, self.display = pipeline, plans, display
        self.folder = pipeline.folder
        self.experiment = pipeline.experiment or pipeline.name
        self.digests: dict[str, str | None] = {}
        self.running: set[str] = set()
        self.lost: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.ran: list[str] = []
        self.skipped: list[str] = []
        self._parent: str | None = None

    @cached_property
    def executor(self) -> engines.Executor:
        """The engine, which is started for the first stage that must run."""
        started = engines.start(self.pipeline)
        try:
            started.check({name: self.pipeline.resources_of(name) for name in self.plans})
        except MwlError:
            started.close()
            raise
        for notice in started.notices:
            self.display.told(self.pipeline.engine, notice)
        return started

    def go(self) -> None:
        """Start, watch and collect stages until all are done.

        Evaluations, which are short, come first, so that what is fitted can be compared; then what most others wait
        for.
        """
        urgent = {
            name: (plan.kind == "evaluate", len(_dependents(name, self.plans))) for name, plan in self.plans.items()
        }
        waiting = sorted(self.plans, key=lambda name: urgent[name], reverse=True)
        try:
            while waiting or self.running:
                for name in list(waiting):
                    if not self.plans[name].needs <= set(self.digests):
                        continue
                    if self._skip(name):
                        waiting.remove(name)
                    elif self.executor.has_room(self.pipeline.resources_of(name)):
                        waiting.remove(name)
                        self._start(name)
                if self.running:
                    self._watch()
                blocked = {other for name in self.failed for other in _dependents(name, self.plans)}
                waiting = [name for name in waiting if name not in blocked]
            if self.failed:
                name, reason = next(iter(self.failed.items()))
                others = "".join(f"; so did {each!r}" for each in list(self.failed)[1:])
                raise StageFailed(f"stage {name!r} failed: {reason}{others}")
            self._close_parent("FINISHED")
        except BaseException as error:
            self._stop_all()
            self._close_parent("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        finally:
            if "executor" in vars(self):
                self.executor.close()

    def _skip(self, name: str) -> bool:
        """Whether the stage's result is there and was made from the same configuration, inputs and code."""
        self.keys[name], digest = _found(self.plans[name], self.folder, self.digests)
        if digest is None:
            return False
        self.digests[name] = digest
        self.skipped.append(name)
        self.display.skipped(name)
        return True

    def _start(self, name: str, lost: str = "") -> None:
        """Give the stage a process; its work folder survives only when it belongs to the same key and is unfinished.

        Args:
            name: the stage.
            lost: how an earlier process of it was lost.
        """
        plan, work = self.plans[name], work_folder(self.folder / name)
        state = entries(work / STATE)
        resumed = state.get("key") == self.keys[name] and "digest" not in state
        if resumed:
            checkpoint, notices = usable_checkpoint(work)
            resumed = checkpoint is not None or plan.kind != "fit"
            for notice in notices:
                self.display.told(name, notice)
        else:
            shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        for leftover in (worker.ERROR, worker.FINISHED, worker.PROGRESS):
            (work / leftover).unlink(missing_ok=True)
        write_json(work / STATE, {"key": self.keys[name]})
        write_json(work / STAGE, {"kind": plan.kind, "config": plan.complete})
        parent = self._parent_run()
        if not resumed or plan.kind != "fit":  # a fit goes on with its run
            tracking.supersede(self.experiment, parent, name)
        asked = self.pipeline.resources_of(name)
        begins = worker.GOES_ON if resumed else worker.BEGINS
        job = Job(
            name=name,
            kind=plan.kind,
            config=plan.config,
            output=str(self.folder / name),
            work=str(work),
            experiment=self.experiment,
            parent_run=parent,
            threads=asked.cpus or self.executor.threads,
            folder=str(Path.cwd()),
            begins=f"{begins} after {lost}" if lost else begins,
            imports=tuple(map(str, imported_files())),
        )
        self.executor.submit(job, asked)
        self.running.add(name)
        self.display.started(name, work, resumed)

    def _watch(self) -> None:
        """Wait a moment for any stage to end, and collect those that did."""
        ended = self.executor.poll()
        self.display.refresh()
        for each in ended:
            self.running.remove(each.name)
            self._collect(each)

    def _collect(self, ended: engines.Ended) -> None:
        name, work = ended.name, work_folder(self.folder / ended.name)
        if not (work / worker.FINISHED).is_file():
            failed = (work / worker.ERROR).is_file()
            if ended.lost and not failed and self.lost[name] < _MOST_LOST:
                self.lost[name] += 1
                self.display.ended(name, ok=False, text=ended.why)
                self._start(name, ended.why)
                return
            self.display.ended(name, ok=False)
            reason = read_text(work / worker.ERROR) if failed else ended.why
            self.failed[name] = f"{reason} (log: {work / worker.LOG}; run again to go on)"
            return
        self.digests[name] = fingerprint.folder_digest(self.folder / name)
        write_json(work / STATE, {"key": self.keys[name], "digest": self.digests[name]})
        self.ran.append(name)
        summary = entries(work / worker.FINISHED)
        self.display.ended(name, ok=True, text=" ".join(f"{key}={value:.1f}" for key, value in summary.items()))

    def _stop_all(self) -> None:
        """Ask every running stage to save and end; make it end when it does not."""
        if self.running:
            self.executor.cancel()
        for name in self.running:
            self.display.ended(name, ok=False, text="stopped; run again to go on")

    def _parent_run(self) -> str:
        """MLflow run above all stages of this output folder; the same one when the pipeline goes on later."""
        if self._parent is None:
            tracking.check()
            file = self.folder / WORK / PARENT
            if file.is_file():
                known = file.read_text(encoding="utf-8").strip()
                if any(run.info.run_id == known for run in tracking.find_runs(self.experiment)):
                    self._parent = known
            if self._parent is None:
                self._parent = tracking.open_run(
                    self.experiment, self.pipeline.name, tags={tracking.KIND_TAG: "pipeline"}
                )
                write_text(file, self._parent)
            tracking.client().update_run(self._parent, status="RUNNING")
        return self._parent

    def _close_parent(self, status: str) -> None:
        if self._parent is None:
            return
        try:
            with tracking.telling():
                tracking.client().set_terminated(self._parent, status)
        except MwlError as error:  # the stages' results are there, and what ended them early says more
            tell(f"{error}; the run in MLflow stays open")


def _dependents(name: str, plans: Mapping[str, ScheduledStage]) -> set[str]:
    """Stages that need this one, directly or through others."""
    direct = {other for other, plan in plans.items() if name in plan.needs}
    return direct.union(*(_dependents(other, plans) for other in direct))


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that the stages are stopped and saved in both cases."""

    def handle(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
