"""What the stages of a pipeline name is looked up before anything is started: tasks, agents, evaluations."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import get_args

from mwl._extensions import import_class
from mwl.core.errors import BadInput, ConfigError, MissingFile, StoreFailed
from mwl.core.files import shown
from mwl.pipeline.config import CompareStage, EvaluateStage, FitStage, FollowStage, Stage, references

_WHOLE = re.compile(r"\$\{([\w.\-]+)\}")


def check_stage(name: str, stage: Stage, stages: Mapping[str, Stage], where: str) -> None:
    """Refuse a stage that evaluates, compares or follows what does not exist.

    Args:
        name: the stage's name.
        stage: its configuration, references not filled in.
        stages: all stages of the pipeline.
        where: file and line, for the message.

    Raises:
        ConfigError: a task, suite, agent, evaluation or head that there is not, or a stage of another kind.
    """
    try:
        if isinstance(stage, EvaluateStage):
            _check_world(stage.task, stage.suite)
            _check_agent(stage.agent, stages)
        elif isinstance(stage, CompareStage):
            _check_evaluations(stage, stages)
        elif isinstance(stage, FollowStage):
            _check_followed(stage, stages)
    except BadInput as error:
        raise ConfigError(f"{where}: stage {name!r}: {error}") from error


def _check_world(task: str, suite: str) -> None:
    from mwl.rollouts.external import ExternalEnv, is_external
    from mwl.simulation import Suite, get_task

    if suite not in get_args(Suite):
        raise BadInput(f"unknown suite {shown(suite)}; there are: {', '.join(get_args(Suite))}")
    if suite == "embedded" and is_external(task):
        ExternalEnv(task).close()
    elif suite == "embedded":
        get_task(task)


def _check_agent(address: str, stages: Mapping[str, Stage]) -> None:
    """Refuse an address behind which nothing is, unless a stage makes it."""
    from mwl.core.artifact import read_manifest
    from mwl.evaluation.agents import find_agent, find_expert
    from mwl.experiments import tracking

    if any(True for _ in references(address)):
        _check_kind(address, FitStage, "fit", "hands over an agent", stages)
    elif address.startswith("class:"):
        import_class(address.removeprefix("class:"))
    elif address.startswith("expert:"):
        find_expert(address.removeprefix("expert:"))
    elif address.startswith("agent:"):
        find_agent(address.removeprefix("agent:"))
    elif address.startswith("run:"):
        with suppress(StoreFailed):  # a server that is busy now is asked again where the evaluation is
            tracking.check_artifact(address.removeprefix("run:"))
    else:
        read_manifest(Path(address))


def _check_evaluations(stage: CompareStage, stages: Mapping[str, Stage]) -> None:
    from mwl.evaluation.record import FILE

    if not stage.evaluations:
        raise BadInput("evaluations is empty; name at least one")
    for folder in stage.evaluations:
        if any(True for _ in references(folder)):
            _check_kind(folder, EvaluateStage, "evaluate", "is an evaluation", stages)
        elif not (Path(folder) / FILE).is_file():
            raise MissingFile(f"{shown(Path(folder))}: holds no {FILE}")


def _check_followed(stage: FollowStage, stages: Mapping[str, Stage]) -> None:
    from mwl.core.artifact import read_manifest

    if stage.task:  # else the words choose it
        _check_world(stage.task, stage.suite)
    if not stage.instruction.strip():
        raise BadInput("instruction is empty")
    for address in stage.agents.values():
        _check_agent(address, stages)
    if any(True for _ in references(stage.semantic)):
        _check_kind(stage.semantic, FitStage, "fit", "hands over a semantic head", stages)
    elif stage.semantic != "embedded":
        read_manifest(Path(stage.semantic), stage="semantic")


def _check_kind(value: str, cls: type, kind: str, does: str, stages: Mapping[str, Stage]) -> None:
    """Refuse a reference to a stage of a kind that makes something else; part of a path may be anything."""
    for other in _wholly(value):
        if not isinstance(stages[other], cls):
            raise BadInput(f"${{{other}}} is a stage of another kind; only one of kind {kind} {does}")


def _wholly(value: str) -> Iterator[str]:
    found = _WHOLE.fullmatch(value)
    if found:
        yield found[1]
