"""The stages that make motion data: train a teacher, record a demonstrator."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mwl.core.artifact import MANIFEST, atomic_folder
from mwl.core.errors import MwlError
from mwl.core.files import write_text
from mwl.core.terminal import tell
from mwl.experiments import tracking

RECORDING = "recording"  # name of the files of a recording in its result folder: recording.npz and recording.json
DEMONSTRATOR = "demonstrator.yaml"  # who was recorded, beside it: a stage that aggregates asks the same one
Report = Callable[[float, str], None]


def check_settings(kind: str, settings: dict[str, Any], where: str) -> None:
    """Refuse settings of a teacher or demonstrator that don't fit, before anything is started.

    Raises:
        ConfigError: an entry that the configuration doesn't know, or a bad value.
    """
    from mwl.demonstrators.registry import parse_demonstration_config
    from mwl.teachers.train import parse_teacher_config

    (parse_demonstration_config if kind == "demonstrations" else parse_teacher_config)(settings, where)


def train_to_folder(
    settings: dict[str, Any], output: Path, work: Path, experiment: str, parent: str | None, report: Report
) -> dict[str, Any]:
    """Train a teacher as `mwl motion train` does; an interrupted training goes on from its checkpoint.

    Args:
        settings: content of the teacher's YAML.
        output: result folder, which appears when complete.
        work: where the checkpoint lies until then.
        experiment, parent: MLflow experiment and run.
        report: called with (fraction done, text).
    """
    from mwl.teachers.train import train

    config = _written(settings, work)
    total = max((part["iterations"] for part in settings.values() if "iterations" in part), default=0)

    def tell(metrics: dict[str, float]) -> None:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        print(shown, file=sys.stderr, flush=True)
        report(min(1.0, metrics["iteration"] / total) if total else 0.0, shown[:60])

    trained = train(str(config), str(work / "teacher"), tell, force=True)
    with atomic_folder(output) as folder:
        shutil.copytree(trained, folder, dirs_exist_ok=True)
    metrics = json.loads((output / MANIFEST).read_text(encoding="utf-8")).get("metrics", {})
    return _logged("teacher", output, metrics, experiment, parent)


def record_to_folder(
    settings: dict[str, Any], output: Path, work: Path, experiment: str, parent: str | None
) -> dict[str, Any]:
    """Record a demonstrator as `mwl motion demonstrate` does.

    The folder holds `recording.npz`, its manifest and the demonstrator's configuration.
    """
    from mwl.demonstrators.demonstrate import demonstrate

    config = _written(settings, work)
    with atomic_folder(output) as folder:
        demonstrate(str(config), str(folder / f"{RECORDING}.npz"))
        shutil.copy(config, folder / DEMONSTRATOR)
    manifest = json.loads((output / f"{RECORDING}.json").read_text(encoding="utf-8"))
    figures = {name: manifest[name] for name in ("steps", "falls", "episodes")}
    return _logged("demonstrations", output, figures, experiment, parent)


def _written(settings: dict[str, Any], work: Path) -> Path:
    path = work / "config.yaml"
    write_text(path, yaml.safe_dump(settings))
    return path


def _logged(kind: str, output: Path, figures: dict[str, Any], experiment: str, parent: str | None) -> dict[str, float]:
    """The figures that are numbers, after they went to MLflow."""
    numbers = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
    tags = {tracking.KIND_TAG: kind, tracking.STAGE_TAG: output.name}

    def log(run_id: str) -> None:
        tracking.log_figures(run_id, [(name, value, 0) for name, value in numbers.items()])

    try:
        tracking.record(experiment, output.name, log, parent=parent, tags=tags)
    except MwlError as error:
        tell(f"{error}; the figures are not in MLflow, they lie in {output}")
    return numbers
