"""What an evaluation is of: the settings of `mwl evaluate`, of a pipeline's stage, of `make results`; and of a grid."""

from dataclasses import dataclass, field
from typing import Literal

from mwl.core.ranges import Count, Seed


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate."""

    task: str
    agent: str
    """Artifact, `expert:<name>`, `agent:<task>`, `run:<MLflow id>` or `class:<path>`."""
    name: str | None = None
    """What the agent is called in tables; default: what its manifest says."""
    episodes: Count = 10
    seed: Seed = 0
    suite: str = "embedded"
    instruction: str | None = None
    """What a guided agent is told; default: what it was fitted with."""
    act: Literal["mean", "best", "sample", "policy"] | None = None
    """How a world model chooses actions: `mean`, `best` or `sample` of the elites, or `policy`; default as fitted."""
    without: Literal["plan", "gate", "tuning", "residual"] | None = None
    """Part of its agent that is left out."""
    num_threads: Count | None = None
    """Of the physics; None takes one per core."""
    shift: str | None = None
    """What is changed in the world, as `payload=10,motors=0.7`, see `mwl.simulation.Shift`."""


Planned = dict[str, dict[str, int | str]]
"""Agent -> task -> how many fitted agents there are to be, or why there are none."""


@dataclass(frozen=True)
class Plan:
    """What the grids of a pipeline are to measure, and the agent that the others are compared with."""

    cells: Planned = field(default_factory=dict)
    against: str | None = None


def name_without(name: str, part: str) -> str:
    """What an agent is called where a part of it is left out: it is not to be taken for the whole one."""
    return f"{name} without {part}"
