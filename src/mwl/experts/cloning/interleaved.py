"""Experts take turns, right and wrong, while a demonstrator of several skills says whose turn it should be.

Where a demonstrator acts itself, the state shows who is acting: the arm is raised because the robot reaches. Where
another may be in charge than the right one, only what calls for a skill tells them apart; and what a skill has to take
over from is what the other one really leaves behind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mwl.datasets.demonstrations import Demonstrations, InterruptibleDemonstrator, record_demonstrations
from mwl.demonstrators.registry import DemonstrationConfig, build_demonstrator
from mwl.experts.features import Layout
from mwl.experts.library import ExpertLibrary
from mwl.experts.network import Actor
from mwl.robot.h1 import CONTROL_DT
from mwl.simulation import make_env

Acts = Callable[[Tensor], Tensor]
"""Actions `[N, A]` at observations `[N, O]`, from the beginning of an episode on."""


@dataclass(frozen=True)
class TurnsConfig:
    """Who is in charge for how long."""

    seconds: float = 1.5
    """Mean length of a turn."""
    right: float = 0.6
    """Share of the turns that go to the one the demonstrator would choose as they begin; the others go to anyone."""


class Turns:
    """Pilot of a recording: who acts changes at random; see `mwl.datasets.demonstrations.Pilot`.

    Args:
        demonstrator: says whose turn it is.
        acts: one for each of its skills, in their order.
        config: how often whom.
        seed: of the turns.
    """

    def __init__(
        self, demonstrator: InterruptibleDemonstrator, acts: Sequence[Acts], config: TurnsConfig, seed: int
    ) -> None:
        self._demonstrator, self._acts, self._config = demonstrator, acts, config
        self._generator = torch.Generator().manual_seed(seed)
        self._in_charge: Tensor | None = None

    def __call__(self, observation: Tensor, command: Tensor | None, answer: Tensor) -> Tensor:
        """Actions `[N, A]` of those in charge; all of them act along, so that each remembers the whole episode."""
        count = len(observation)
        right = self._demonstrator.skill
        anyone = torch.randint(len(self._acts), (count,), generator=self._generator)
        begins, chance = torch.rand(2, count, generator=self._generator)
        chosen = torch.where(chance < self._config.right, right, anyone)
        begins = begins < CONTROL_DT / self._config.seconds
        self._in_charge = right if self._in_charge is None else torch.where(begins, chosen, self._in_charge)
        self._demonstrator.acted(self._in_charge)
        actions = torch.stack([act(observation) for act in self._acts])
        return actions[self._in_charge, torch.arange(count)]


@torch.no_grad()
def rehearse(
    demonstration: DemonstrationConfig, library: ExpertLibrary, config: TurnsConfig | None = None
) -> Demonstrations:
    """Record what a demonstrator of several skills says while the experts of their names take turns.

    One that shows a single skill, or cannot be interrupted, acts itself.

    Raises:
        BadInput: the library lacks one of the skills.
    """
    recording = demonstration.recording
    env = make_env(demonstration.task, num_envs=recording.episodes, seed=recording.seed)
    demonstrator = build_demonstrator(demonstration, env)
    if not isinstance(demonstrator, InterruptibleDemonstrator):
        return record_demonstrations(demonstrator, env, recording)
    acts = [acting(library, name, env.task.layout) for name in demonstrator.skills]
    turns = Turns(demonstrator, acts, config or TurnsConfig(), recording.seed)
    return record_demonstrations(demonstrator, env, recording, turns)


def acting(library: ExpertLibrary, name: str, layout: Layout) -> Acts:
    """How an expert of the library acts from the beginning of an episode on.

    Raises:
        BadInput: there is no such expert.
    """
    expert = library.experts[library.index(name)]
    actor = Actor(expert.network)
    return lambda observation: actor(expert.spec.featurise(observation, layout))
