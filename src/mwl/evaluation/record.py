"""The result of one evaluation: what is stored, what `--json` prints, and reading it back."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mwl.core.errors import CorruptFile
from mwl.core.files import parse_json, read_text, shown
from mwl.core.plain import from_plain

FILE = "evaluation.json"
MAX_RECORD_BYTES = 16 * 2**20
_PRINTED = (
    "task",
    "suite",
    "agent",
    "instruction",
    "episodes",
    "seed",
    "return_mean",
    "return_std",
    "return_ci95",
    "returns",
    "length_mean",
    "success_rate",
    "fall_rate",
    "action_rate",
    "jerk",
    "energy",
    "env_steps_per_s",
)


class RowKey(NamedTuple):
    """What has to agree for evaluations to be figures of the same thing."""

    task: str
    agent: str
    suite: str = "embedded"
    instruction: str | None = None
    act: str | None = None
    shift: str | None = None

    @property
    def label(self) -> str:
        """The agent, with what sets these evaluations apart from those made as usual."""
        apart = [f"on {self.suite}"] if self.suite != "embedded" else []
        apart += [f"told “{self.instruction}”"] if self.instruction is not None else []
        apart += [f"by {self.act}"] if self.act is not None and f"({self.act})" not in self.agent else []
        apart += [f"under {self.shift}"] if self.shift is not None else []
        return ", ".join([self.agent, *apart])

    @property
    def order(self) -> tuple[str, ...]:
        """Sorts rows by task, then agent."""
        return tuple("" if part is None else part for part in self)


Curves = dict[RowKey, list[list[tuple[int, float]]]]
"""Learning curves by row, one of (environment steps, value) per fitted agent."""


def newest(records: "Sequence[Record]") -> "list[Record]":
    """The last evaluation of every fitted agent in every row, of records from the oldest to the newest."""
    kept = {(record.row, record.fitted_agent): record for record in records}
    return list(kept.values())


@dataclass(frozen=True)
class Record:
    """Measurements over whole episodes of one agent on one task."""

    task: str
    suite: str
    agent: str
    instruction: str | None
    episodes: int
    seed: int
    return_mean: float
    return_std: float
    return_ci95: list[float] | None
    returns: list[float]
    lengths: list[int]
    length_mean: float
    success_rate: float | None
    """Share of episodes whose return reaches the task's success bar, or that ended because the task was done; None
    where no return counts as one."""
    fall_rate: float | None
    """Share of episodes that ended in a fall (`mwl.rollouts.falls`); None, as all that follows, where there is no
    robot."""
    action_rate: float | None
    """Mean absolute change of an action between two control steps, in units of the action range [-1, 1]."""
    jerk: float | None
    """Root mean square of the joints' third derivative, rad/s^3."""
    energy: float | None
    """Mean mechanical power over all joints, sum |torque x velocity|, W."""
    env_steps_per_s: float
    address: str = ""
    """How the agent was named: folder, `expert:<name>` or `run:<id>`."""
    env_steps: int = 0
    """Environment steps the agent was fitted with."""
    expert_steps: int = 0
    """Environment steps that the experts behind it cost."""
    act: str | None = None
    """How a world model was told to choose actions; None as it was fitted."""
    shift: str | None = None
    """What was changed in the world, see `mwl.simulation.Shift`; None is the world as it is."""
    down_rate: float | None = None
    """Share of episodes in which the head was near the floor at some time; h1-reach does not end with that."""
    foot_skate: float | None = None
    """Mean speed along the floor of what touches it, m/s; None of a robot whose feet aren't known."""
    agent_run_id: str | None = None
    """MLflow run in which the agent was fitted."""
    agent_sha256: str | None = None
    """Of the agent's checkpoint: what was measured, wherever it lies."""
    run_id: str | None = None
    """MLflow run of this evaluation."""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> "RowKey":
        """The row of a comparison that this evaluation belongs to."""
        return RowKey(self.task, self.agent, self.suite, self.instruction, self.act, self.shift)

    @property
    def fitted_agent(self) -> str:
        """Which fitted agent was measured: the run that fitted it, else its checkpoint, else where it lies."""
        kind, _, _ = self.address.partition(":")
        named = kind in ("expert", "agent", "run") and kind != self.address
        return self.agent_run_id or self.agent_sha256 or (self.address if named else os.path.realpath(self.address))

    def printed(self) -> dict[str, Any]:
        """The public part, as `mwl evaluate --json` prints it; `shift` only where there was one."""
        shifted = {} if self.shift is None else {"shift": self.shift}
        return {name: getattr(self, name) for name in _PRINTED} | shifted

    def to_json(self) -> str:
        """Everything, for `evaluation.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read `evaluation.json`, or the one in a folder.

        Raises:
            MissingFile: there is none.
            CorruptFile: it is not one.
        """
        file = path / FILE if path.is_dir() else path
        return cls.parse(read_text(file, limit=MAX_RECORD_BYTES), str(file))

    @classmethod
    def parse(cls, text: str, source: str) -> "Record":
        """Build a record from its JSON text; `source` names it in messages.

        Raises:
            CorruptFile: not a record: a field is missing, of another type or not finite, or figures contradict.
        """
        record = from_plain(cls, parse_json(text, source), shown(Path(source)), unknown=True)
        if not 1 <= record.episodes == len(record.returns) == len(record.lengths):
            raise CorruptFile(
                f"{shown(Path(source))}: says {record.episodes} episodes, but holds {len(record.returns)} returns and "
                f"{len(record.lengths)} lengths"
            )
        if record.return_ci95 is not None and len(record.return_ci95) != 2:
            raise CorruptFile(f"{shown(Path(source))}: return_ci95 is no interval")
        return record
