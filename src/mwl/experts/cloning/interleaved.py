"""Interleaved roll-outs: experts act in turn, also wrong ones, and a demonstrator of several skills labels the states.

Where a demonstrator acts itself, the state shows who is acting: the arm is raised because the robot reaches. Where
another skill may act than the one that is called for, only what calls for a skill tells them apart; and the states in
which a skill begins are those in which the other one really leaves the robot.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mwl.datasets.demonstrations import Demonstrations, InterruptibleDemonstrator
from mwl.datasets.recording import record_demonstrations
from mwl.demonstrators.registry import DemonstrationConfig, build_demonstrator
from mwl.experts.features import Layout
from mwl.experts.library import ExpertLibrary
from mwl.experts.network import Actor
from mwl.robot.h1 import CONTROL_DT
from mwl.simulation import make_env

Acts = Callable[[Tensor], Tensor]
"""Actions `[N, A]` at observations `[N, O]`, from the beginning of an episode on."""


class InterleavedPolicy:
    """Behaviour policy of a recording in which who acts changes at random.

    Args:
        demonstrator: says which skill each state calls for.
        acts: one for each of its skills, in their order.
        seed: of the turns.
        seconds: mean length of a turn.
        correct_share: share of the turns that go to the skill the demonstrator would choose as they begin.
    """

    def __init__(
        self,
        demonstrator: InterruptibleDemonstrator,
        acts: Sequence[Acts],
        seed: int,
        seconds: float = 1.5,
        correct_share: float = 0.6,
    ) -> None:
        self._demonstrator, self._acts = demonstrator, acts
        self._ending, self._correct_share = CONTROL_DT / seconds, correct_share
        self._generator = torch.Generator().manual_seed(seed)
        self._acting: Tensor | None = None

    def __call__(self, observation: Tensor, command: Tensor | None, answer: Tensor) -> Tensor:
        """Actions `[N, A]` of those that act; all are asked, so that each remembers the whole episode."""
        count = len(observation)
        correct = self._demonstrator.skill
        anyone = torch.randint(len(self._acts), (count,), generator=self._generator)
        begins, chance = torch.rand(2, count, generator=self._generator)
        chosen = torch.where(chance < self._correct_share, correct, anyone)
        begins = begins < self._ending
        self._acting = correct if self._acting is None else torch.where(begins, chosen, self._acting)
        self._demonstrator.acted(self._acting)
        actions = torch.stack([act(observation) for act in self._acts])
        return actions[self._acting, torch.arange(count)]


@torch.no_grad()
def record_interleaved(demonstration: DemonstrationConfig, library: ExpertLibrary) -> Demonstrations:
    """Record what a demonstrator of several skills says while the experts of their names act in turn.

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
    turns = InterleavedPolicy(demonstrator, acts, recording.seed)
    return record_demonstrations(demonstrator, env, recording, turns)


def acting(library: ExpertLibrary, name: str, layout: Layout) -> Acts:
    """How an expert of the library acts from the beginning of an episode on.

    Raises:
        BadInput: there is no such expert.
    """
    expert = library.experts[library.index(name)]
    actor = Actor(expert.network)
    return lambda observation: actor(expert.spec.featurise(observation, layout))
