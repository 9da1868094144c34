"""Hand-over states: where experts leave a robot, for who goes on from there to be fine-tuned or evaluated in.

An expert fine-tuned in them is a transition policy (Lee et al., Composing Complex Skills by Learning Transition
Policies, 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.experts.library import ExpertLibrary
from mwl.experts.measure import Alone
from mwl.rollouts import rollout
from mwl.rollouts.falls import HAND_OVER
from mwl.simulation import make_env

_ROBOTS = 64
_FIRST, _LAST, _EVERY = 50, 250, 5  # control steps: at full speed within a second or two, and every phase of a gait


class HandOverStates(NamedTuple):
    """States in which experts leave a robot.

    Attributes:
        states: `[S, W]`, positions and velocities of the simulation.
        observations: `[S, O]` of the task there.
        env_steps: simulated for them.
    """

    states: Tensor
    observations: Tensor
    env_steps: int


@dataclass(frozen=True, kw_only=True)
class HandOverStarts:
    """Episodes of which some begin in hand-over states."""

    hand_over_share: float = 0.0
    """Share that begins where one of the experts in `hand_over_from` leaves the robot."""
    hand_over_from: list[str] | None = None
    """Folders of those experts."""

    def check_starts(self, where: str, **shares: float) -> None:
        """Refuse shares of the episodes, by the states in which they begin, that are no distribution.

        Args:
            where: begins the message.
            shares: by name, those besides `hand_over_share`.

        Raises:
            BadInput: one is negative, all together are more than 1, or there is a share without such experts.
        """
        shares = {**shares, "hand_over_share": self.hand_over_share}
        told = ", ".join(f"{name} is {share}" for name, share in shares.items())
        if min(shares.values()) < 0 or sum(shares.values()) > 1 + 1e-9:
            raise BadInput(f"{where}: {told}; all together are at most 1, and none is negative")
        if bool(self.hand_over_from) != (self.hand_over_share > 0):
            raise BadInput(
                f"{where}: hand_over_share is {self.hand_over_share} and hand_over_from is {self.hand_over_from}; "
                "to go on where others leave the robot, an expert needs both"
            )


def hand_over_states(
    folders: Sequence[str], task: str, seed: int = 0, num_threads: int | None = None
) -> HandOverStates:
    """Let experts act on a task, from the benchmark's starts, and keep where they are on the way.

    Args:
        folders: artifacts of those that act.
        task: of the expert that is to go on.
        seed: of the starts.
        num_threads: of the physics; None takes one per core.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: a folder holds no expert that this version can load.
        BadInput: none of them stays up long enough to hand over.
    """
    library = ExpertLibrary.load(list(folders))
    states, observations = [], []
    for number, expert in enumerate(library.experts):
        env = make_env(task, _ROBOTS, seed=seed + number, num_threads=num_threads)
        stands = torch.ones(_ROBOTS, dtype=torch.bool)
        for step in rollout(env, Alone(expert), _LAST):
            qpos, qvel = env.state
            stands = stands & ~HAND_OVER.lost(qpos)
            if step.index >= _FIRST and step.index % _EVERY == 0:
                states.append(torch.cat([qpos, qvel], dim=-1)[stands])
                observations.append(step.after[keys.OBSERVATION][stands])
        env.close()
    if not any(len(kept) for kept in states):
        raise BadInput(
            f"hand_over_from: {', '.join(library.names)} fell on {task} within a second; name experts that stay up"
        )
    return HandOverStates(torch.cat(states), torch.cat(observations), len(library.names) * _ROBOTS * _LAST)
