"""Acting as a baseline: observe, ask its actor; and reading one from its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from mwl.baselines.network import Actor
from mwl.core.artifact import checkpoint_of, read_checkpoint, read_manifest
from mwl.core.checkpoints import load_module
from mwl.core.plain import from_plain
from mwl.selection import ExpertAgent
from mwl.skills import SkillAgent
from mwl.teachers.acting.base import ActingTeacher
from mwl.world_model import WorldModelAgent
from mwl.world_model import agent as world_model
from mwl.world_model.observation import Observer

STAGE = "baseline"


class BaselineAgent:
    """Acts for N environments at once; what it sees and does stays on the CPU, its network may be on a GPU.

    Args:
        actor: the network.
        observer: observation to features.
        explore: draw actions instead of taking the middle of their distribution.
    """

    kind = "actor"
    network: ClassVar[type[nn.Module]] = Actor
    last: TensorDict | None = None

    def __init__(self, actor: Actor, observer: Observer, explore: bool = False) -> None:
        self.actor, self.observer, self.explore = actor, observer, explore

    def reset(self, done: Tensor | None = None) -> None:
        """Nothing is remembered."""

    @torch.no_grad()
    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Actions `[N, A]` in [-1, 1] at observations `[N, O]`; without batch dimension likewise."""
        if observation.ndim == 1:
            return self.act(observation.unsqueeze(0), step).squeeze(0)
        features = self.observer(observation).to(self.actor.norm.mean.device)
        action: Tensor = self.actor(features, self.explore).to(observation.device)
        return action

    def state_dict(self) -> dict[str, Tensor]:
        """What is remembered from one step to the next: nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where `state_dict` was taken."""

    def to_plain(self, actor: dict[str, Any]) -> dict[str, Any]:
        """Everything acting needs, as plain values and tensors; `actor` are the arguments of `Actor`."""
        layout = self.observer.layout
        sizes = None if layout is None else dict(layout.sizes)
        return {
            "hyper_parameters": {"kind": self.kind, "actor": actor, "sizes": sizes, "position": self.observer.position},
            "state_dict": {name: value.cpu() for name, value in self.actor.state_dict().items()},
        }

    @classmethod
    def from_plain(cls, checkpoint: dict[str, Any]) -> "BaselineAgent":
        """The agent that `to_plain` described.

        Raises:
            CorruptFile, SpecMismatch: entries are missing or of another type, or weights do not fit.
        """
        told = from_plain(_Settings, checkpoint["hyper_parameters"], "hyper_parameters")
        world_model.check_sizes(told.sizes)
        actor: Any = load_module(lambda: cls.network(**told.actor), checkpoint["state_dict"], "baseline")
        observer = Observer(told.sizes, told.position)
        world_model.check_reads(observer, told.actor["feature_size"])
        return cls(actor.eval(), observer)


@dataclass(frozen=True)
class _Settings:
    """Those of `BaselineAgent.to_plain`, for their types."""

    kind: Literal["actor", "dreamer"]
    actor: dict[str, Any]
    sizes: dict[str, int] | None
    position: bool


def load_agent(folder: Path | str) -> BaselineAgent | WorldModelAgent | SkillAgent | ExpertAgent | ActingTeacher:
    """The agent in an artifact: a baseline, or what `mwl.world_model.load_agent` knows.

    Raises:
        MissingFile, CorruptFile: the folder is incomplete or differs from its manifest.
        SpecMismatch: made for another robot or by another version.
        UnknownAgent: the folder holds something that can't act.
    """
    if read_manifest(folder, files=False).stage != STAGE:
        return world_model.load_agent(folder)
    read_manifest(folder, stage=STAGE)
    with checkpoint_of("a baseline", folder):
        checkpoint = read_checkpoint(folder)
        if checkpoint["hyper_parameters"]["kind"] == BaselineAgent.kind:
            return BaselineAgent.from_plain(checkpoint)
        from mwl.baselines.dreamer import DreamerAgent  # which is built on this one

        return DreamerAgent.from_plain(checkpoint)
