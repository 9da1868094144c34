"""Grids of a pipeline: tasks x agents x seeds become ordinary stages, which fit, evaluate and compare."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from mwl.core.errors import ConfigError, UnknownAgent, did_you_mean
from mwl.core.ranges import Count
from mwl.evaluation.config import Planned, name_without
from mwl.pipeline.seeds import SEED
from mwl.training.stage_files import merge

BEST_EXPERT = "best expert"


@dataclass(frozen=True)
class Cells:
    """What a grid says of all its agents, and one of them for itself."""

    config: str | None = None
    """What is fitted, as of a stage of kind `fit`."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Merged over it: those of the grid, of the agent, of the agent's task."""
    seeds: Count | list[int] | None = None
    """Training seeds, or how many of them; None fits once, with the seed of the configuration."""
    steps: Count | None = None
    """Environment steps of a fit; None is what the configuration says."""
    evaluate: dict[str, Any] = field(default_factory=dict)
    """Settings of the evaluations, as of a stage of kind `evaluate`."""


@dataclass(frozen=True)
class GridAgent(Cells):
    """One agent of a grid: fitted on every task, or there already. `${name}` is the agent `name` on the same task."""

    agent: str | None = None
    """Who is evaluated where nothing is fitted: an address as of `evaluate`, `${name}`, or `best expert`, the shipped
    one that returned most on the task."""
    tasks: dict[str, dict[str, Any] | str] = field(default_factory=dict)
    """Task -> overrides on it, or why the agent is not run there."""


@dataclass(frozen=True)
class GridStage(Cells):
    """Fit and evaluate every agent on every task with every seed, and compare."""

    tasks: list[str] = field(default_factory=list)
    agents: dict[str, Any] = field(default_factory=dict)
    """`GridAgent` by name; the others are compared with the first."""


def spread_grid(name: str, grid: GridStage, agents: Mapping[str, GridAgent]) -> dict[str, dict[str, Any]]:
    """The stages of a grid: `<agent>_<task>` fits, `look_<agent>_<task>` evaluates, both with seeds, `name` compares.

    Raises:
        ConfigError: no task, no agent, an agent that has nothing to fit, or a task that is none of the grid.
    """
    if not grid.tasks or not agents:
        raise ConfigError(f"stage {name!r}: a grid needs `tasks` and `agents`, at least one of each")
    stages: dict[str, dict[str, Any]] = {}
    shown = {label: _shown(grid, label, agent) for label, agent in agents.items()}
    planned: Planned = {shown[label]: {} for label in agents}
    for label, agent in agents.items():
        if strange := next((task for task in agent.tasks if task not in grid.tasks), None):
            hint = did_you_mean(strange, grid.tasks)
            raise ConfigError(f"stage {name!r}: agent {label!r} names {strange!r}, no task of the grid{hint}")
        for task in grid.tasks:
            found = _cell(name, grid, agents, label, task)
            if isinstance(found, str):
                planned[shown[label]][task] = found
            else:
                stages |= found
                planned[shown[label]][task] = len(found[f"look_{_stage(label, task)}"].get("seeds", [None]))
    looks = [f"${{{stage}}}" for stage, spec in stages.items() if spec["kind"] == "evaluate"]
    plan = {"cells": planned, "against": next(iter(shown.values()))}
    return {**stages, name: {"kind": "compare", "evaluations": looks, "plan": plan}}


def _cell(name: str, grid: GridStage, agents: Mapping[str, GridAgent], label: str, task: str) -> dict[str, Any] | str:
    """The stages of an agent on a task, or why there are none."""
    agent, stage = agents[label], _stage(label, task)
    own = agent.tasks.get(task, {})
    if isinstance(own, str):
        return own
    config = agent.config or grid.config
    stages: dict[str, dict[str, Any]] = {}
    address, seeds = agent.agent, _seeds(agent.seeds or grid.seeds)
    if address is None and config is None:
        raise ConfigError(f"stage {name!r}: agent {label!r} needs a `config` to fit, or an `agent` that is there")
    if address is None:
        steps = agent.steps or grid.steps
        seeded = {"seed_everything": SEED, "data": {"init_args": {"seed": SEED}}} if seeds else {}
        said = {"env": task} | ({"steps": steps} if steps else {})
        overrides = reduce(merge, [grid.overrides, agent.overrides, own or {}, said, seeded])
        stages[stage] = {"kind": "fit", "config": config, "overrides": _on_task(overrides, agents, task)}
        address = f"${{{stage}}}"
    else:
        if address == BEST_EXPERT:
            from mwl.evaluation.agents import best_expert

            try:
                address = best_expert(task)
            except UnknownAgent as error:
                return str(error)
        filled = _on_task(address, agents, task)
        seeds = seeds if filled != address else []
        address = filled
    look = {"kind": "evaluate", "name": label, "task": task, "agent": address, "video": False}
    stages[f"look_{stage}"] = {**look, **grid.evaluate, **agent.evaluate}
    return {key: {**spec, "seeds": seeds} if seeds else spec for key, spec in stages.items()}


def _shown(grid: GridStage, label: str, agent: GridAgent) -> str:
    """What tables call an agent, which is evaluated under this name."""
    part = {**grid.evaluate, **agent.evaluate}.get("without")
    return label if part is None else name_without(label, part)


def _seeds(said: int | list[int] | None) -> list[int]:
    return list(range(said)) if isinstance(said, int) else list(said or [])


def _stage(label: str, task: str) -> str:
    return f"{label}_" + re.sub(r"[^\w.-]+", "-", task)  # it names a folder


def _on_task(value: Any, agents: Mapping[str, GridAgent], task: str) -> Any:
    """The value, in which `${agent}` of the grid is what that one has on the task."""
    if isinstance(value, Mapping):
        return {key: _on_task(item, agents, task) for key, item in value.items()}
    if isinstance(value, list):
        return [_on_task(item, agents, task) for item in value]
    if isinstance(value, str):
        return re.sub(
            r"\$\{([\w.\-]+)\}",
            lambda found: f"${{{_stage(found[1], task)}}}" if found[1] in agents else found[0],
            value,
        )
    return value
