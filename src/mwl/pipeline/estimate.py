"""How long a pipeline will take and how much memory, by what stages alike took on this machine; unknown without one."""

import heapq
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mwl.core.errors import MwlError
from mwl.core.files import read_json
from mwl.pipeline.worker import PROGRESS

STAGE = "stage.json"  # in a stage's work folder: what it is of
_SEED = re.compile(r"_s\d+\b")
_APART = ("output", "experiment", "parent_run", "progress_file", "threads", "resume", "force", "checkpoint_every_s")
_SIZE = {"fit": "env_steps", "evaluate": "episodes"}


@dataclass(frozen=True)
class Work:
    """A stage to estimate: its kind and complete configuration, the stages it needs, the share that is done."""

    kind: str
    config: Mapping[str, Any]
    needs: set[str]
    share: float = 0.0


@dataclass(frozen=True)
class Rate:
    """What a stage took: seconds per environment step, episode or, of other kinds, stage; bytes at most."""

    seconds: float
    memory: float
    task: Any
    stage: str
    """Which one it was, and how much of it was measured."""


@dataclass(frozen=True)
class Line:
    """Stages that differ in their seed alone."""

    stages: str
    count: int
    left: float
    """Stages to do; of one that was interrupted, the rest."""
    seconds: float | None
    """Of all that is left, one after the other; None where nothing alike has run."""
    memory: float | None
    """Bytes of one."""
    rests_on: str


@dataclass(frozen=True)
class Estimate:
    """What is left of a pipeline."""

    lines: list[Line]
    seconds: float
    """Of what is known, several stages at a time."""
    memory: float
    """Bytes at a time, at most."""
    text: str
    """All of it in one line."""

    @classmethod
    def of(cls, works: Mapping[str, Work], folder: Path, slots: int) -> "Estimate":
        """Estimate stages, given in an order in which they can be carried out.

        Args:
            works: by name.
            folder: of the pipeline's results; what others beside it left is read as well.
            slots: stages at the same time.
        """
        rates = _rates(folder)
        known = {
            name: _rate(work, rates.get(_alike(work.kind, work.config, folder), [])) for name, work in works.items()
        }
        took = {
            name: (1 - works[name].share) * _size(works[name].kind, works[name].config) * rate.seconds
            for name, rate in known.items()
            if rate is not None
        }
        groups: dict[str, list[str]] = {}
        for name in works:
            groups.setdefault(_SEED.sub("", name), []).append(name)
        lines = [_line(group, names, works, known, took) for group, names in groups.items()]
        seconds = _span(works, took, slots)
        peaks = [rate.memory for name, rate in known.items() if rate is not None and works[name].share < 1]
        memory = sum(heapq.nlargest(slots, peaks))
        return cls(lines, seconds, memory, _told(lines, works, seconds, memory, slots))


def duration(seconds: float) -> str:
    """Time as people say it."""
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def _told(lines: Sequence[Line], works: Mapping[str, Work], seconds: float, memory: float, slots: int) -> str:
    done = sum(work.share == 1 for work in works.values())
    if done == len(works):
        return f"{len(works)} stages, all done"
    unknown = [line.stages for line in lines if line.left and line.seconds is None]
    text = f"{len(works)} stages, {done} done"
    if seconds > 0:
        what = "for those alike to what has run here" if unknown else "by what stages alike took here"
        text += f"; about {duration(seconds)} with {slots} at a time, {memory / 1e9:.1f} GB, {what}"
    if unknown:
        named = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        text += f"; unknown: {named}: none alike has run here yet"
    return text


def _line(
    group: str,
    names: Sequence[str],
    works: Mapping[str, Work],
    known: Mapping[str, Rate | None],
    took: Mapping[str, float],
) -> Line:
    rate = next((found for name in names if (found := known[name]) is not None), None)
    left = sum(1 - works[name].share for name in names)
    if rate is None:
        return Line(group, len(names), left, None, None, "-")
    return Line(group, len(names), left, sum(took.get(name, 0.0) for name in names), rate.memory, rate.stage)


def _rates(folder: Path) -> dict[str, list[Rate]]:
    """What stages took, by what they are alike in, of all pipelines whose folders lie beside one."""
    rates: dict[str, list[Rate]] = {}
    for file in sorted(folder.parent.glob(f"*/_work/*/{STAGE}")):
        pipeline = file.parents[2]
        try:
            stage, progress = read_json(file), read_json(file.parent / PROGRESS)
            kind, config, share = stage["kind"], stage["config"], progress["fraction"] - progress["from"]
            seconds, memory = progress["seconds"] / (share * _size(kind, config)), float(progress["memory"] or 0)
        except (MwlError, KeyError, TypeError, ZeroDivisionError):  # it had hardly begun, or was killed while it wrote
            continue
        if seconds > 0:
            name = f"{pipeline.name}/{file.parent.name}"
            found = Rate(seconds, memory, _task(kind, config), f"{share:.0%} of {name}")
            rates.setdefault(_alike(kind, config, pipeline), []).append(found)
    return rates


def _rate(work: Work, rates: Sequence[Rate]) -> Rate | None:
    """The mean of those on the same task, else of those on others."""
    same = [rate for rate in rates if rate.task == _task(work.kind, work.config)] or rates
    if not same:
        return None
    more = f" and {len(same) - 1} more" if len(same) > 1 else ""
    mean = sum(rate.seconds for rate in same) / len(same)
    return Rate(mean, max(rate.memory for rate in same), None, same[0].stage + more)


def _settings(kind: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where task, size and seed of a stage are."""
    return (config.get("data") or {}).get("init_args") or {} if kind == "fit" else config


def _task(kind: str, config: Mapping[str, Any]) -> Any:
    return _settings(kind, config).get("task")


def _size(kind: str, config: Mapping[str, Any]) -> float:
    return float(_settings(kind, config).get(_SIZE.get(kind, "")) or 1)


def _alike(kind: str, config: Mapping[str, Any], folder: Path) -> str:
    """What two stages have in common that differ in task, size and seed alone."""
    kept: dict[str, Any] = {key: value for key, value in config.items() if key not in (*_APART, "seed_everything")}
    settings = {
        key: value for key, value in _settings(kind, config).items() if key not in ("task", "seed", _SIZE.get(kind))
    }
    if kind == "fit":
        trainer = {key: value for key, value in (config.get("trainer") or {}).items() if key != "logger"}
        kept |= {"data": {**(config.get("data") or {}), "init_args": settings}, "trainer": trainer}
    else:
        kept = settings
    if kind == "evaluate" and config.get("name") and not str(config["agent"]).startswith(("expert:", "agent:")):
        kept.pop("agent", None)  # another task's has the same name
    return kind + _SEED.sub("", json.dumps(kept, sort_keys=True, default=str).replace(f"{folder}/", ""))


def _span(works: Mapping[str, Work], took: Mapping[str, float], slots: int) -> float:
    """Seconds until all are done, each begun as soon as what it needs is done and a slot is free."""
    free, ends = [0.0] * slots, dict[str, float]()
    for name, work in works.items():
        begins = max([heapq.heappop(free), *(ends[each] for each in work.needs)])
        ends[name] = begins + took.get(name, 0.0)
        heapq.heappush(free, ends[name])
    return max(ends.values(), default=0.0)
