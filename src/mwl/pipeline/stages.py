"""What each kind of stage does, given its filled-in configuration and the folder for its result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mwl.evaluation.config import Plan
from mwl.pipeline.config import CompareStage, FollowStage
from mwl.pipeline.worker import PROGRESS, Job
from mwl.training.callbacks import write_progress

Report = Callable[[float, str], None]


def carry_out(job: Job) -> dict[str, Any]:
    """Run one stage; returns a small summary for the pipeline's own display."""
    progress = Path(job.work) / PROGRESS

    def report(fraction: float, text: str = "") -> None:
        write_progress(progress, fraction, text)

    if job.kind != "fit":  # which says itself from where it goes on
        report(0.0)
    return _KINDS[job.kind](job, report)


def _fit(job: Job, report: Report) -> dict[str, Any]:
    from mwl.training.fit import fit

    settings = {
        "output": job.output,
        "experiment": job.experiment,
        "parent_run": job.parent_run,
        "progress_file": str(Path(job.work) / PROGRESS),
        "threads": job.threads,
        "resume": True,  # the pipeline empties the work folder of a stage that must start afresh
        "force": True,  # and replaces a result that was made of something else
    }
    fit({**job.config, **settings})
    return {}


def _teacher(job: Job, report: Report) -> dict[str, Any]:
    from mwl.pipeline.produce import train_to_folder

    return train_to_folder(
        job.config["settings"], Path(job.output), Path(job.work), job.experiment, job.parent_run, report
    )


def _demonstrations(job: Job, report: Report) -> dict[str, Any]:
    from mwl.pipeline.produce import record_to_folder

    return record_to_folder(job.config["settings"], Path(job.output), Path(job.work), job.experiment, job.parent_run)


def _evaluate(job: Job, report: Report) -> dict[str, Any]:
    from mwl.evaluation.run import EvaluationConfig, evaluate_to_folder

    config = EvaluationConfig(**{key: value for key, value in job.config.items() if key != "video"})
    record = evaluate_to_folder(config, Path(job.output), job.experiment, job.parent_run, job.config["video"], report)
    return {"return_mean": record.return_mean}


def _compare(job: Job, report: Report) -> dict[str, Any]:
    from mwl.evaluation.compare import compare_to_folder

    stage = CompareStage(**job.config)
    evaluations = [Path(folder) for folder in stage.evaluations]
    plan = Plan(**job.config["plan"])
    compare_to_folder(evaluations, Path(job.output), job.experiment, job.parent_run, plan)
    return {}


def _follow(job: Job, report: Report) -> dict[str, Any]:
    from mwl.instructions.follow import follow_to_folder

    stage = FollowStage(**job.config)
    return follow_to_folder(stage, Path(job.output), job.experiment, job.parent_run, report)


_KINDS: dict[str, Callable[[Job, Report], dict[str, Any]]] = {
    "fit": _fit,
    "teacher": _teacher,
    "demonstrations": _demonstrations,
    "evaluate": _evaluate,
    "compare": _compare,
    "follow": _follow,
}
