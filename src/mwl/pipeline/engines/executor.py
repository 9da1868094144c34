"""What an engine can do: take a stage, say which ones ended, stop them all."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from mwl.core.errors import ConfigError
from mwl.pipeline.config import Resources
from mwl.pipeline.worker import Job

GRACE_S = 60.0  # a round of the world model may take this long; checkpoints are written between rounds


@dataclass(frozen=True)
class Ended:
    """A stage whose process is gone; whether it left a result is seen in its folder."""

    name: str
    why: str
    lost: bool = False
    """Not its own doing: its machine or worker is gone, and it may go on elsewhere."""


class Executor(ABC):
    """Runs stages, each in a process of its own.

    Args:
        slots: how many at the same time, at most.
        threads: of a stage that asks for no number of CPUs.
        machines: what each machine has to give; none where somebody else keeps the queue.
    """

    notices: Sequence[str] = ()
    """What the user should know before stages start."""

    def __init__(self, slots: float, threads: int, machines: Sequence[Resources]) -> None:
        self.slots, self.threads, self.machines = slots, threads, machines
        self.running: dict[str, Resources] = {}

    @abstractmethod
    def submit(self, job: Job, asked: Resources) -> None:
        """Start a stage, or let it wait for its turn."""

    @abstractmethod
    def poll(self) -> list[Ended]:
        """Wait a moment, and say which stages ended."""

    @abstractmethod
    def cancel(self) -> None:
        """Ask every stage to save and end, make it end when it does not within `GRACE_S`, and wait for that."""

    def close(self) -> None:  # noqa: B027  # most have nothing to let go of
        """Let go of the engine; no stage is running."""

    def needed(self, asked: Resources) -> Resources:
        """What is set aside for a stage, where it leaves something unsaid."""
        return replace(asked, cpus=asked.cpus or self.threads)

    def check(self, asked: Mapping[str, Resources]) -> None:
        """Refuse stages that would wait for ever.

        Raises:
            ConfigError: no machine has what a stage asks for.
        """
        for name, each in asked.items():
            if self.machines and not any(_fits([self.needed(each)], machine) for machine in self.machines):
                has = "; ".join(_told(machine) for machine in self.machines)
                told = _told(self.needed(each))
                raise ConfigError(f"stage {name!r} asks for {told}, and no machine has that (they have: {has})")

    def has_room(self, asked: Resources) -> bool:
        """Whether a stage can start now, beside those that run."""
        if len(self.running) >= self.slots:
            return False
        everything = [self.needed(each) for each in (*self.running.values(), asked)]
        return not self.machines or _fits(everything, _sum(self.machines))


def _sum(several: Sequence[Resources]) -> Resources:
    return Resources(*(sum(column) for column in zip(*(asdict(each).values() for each in several), strict=True)))


def _fits(asked: Sequence[Resources], machine: Resources) -> bool:
    wanted, there = asdict(_sum(asked)), asdict(machine)
    return all(wanted[name] <= there[name] for name in wanted)


def _told(resources: Resources) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in asdict(resources).items() if value)
