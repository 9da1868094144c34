"""Where experts take over: states in which others leave a robot, to practise or to be tried in by who goes on."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.experts.library import ExpertLibrary
from mwl.experts.measure import Alone
from mwl.rollouts import rollout
from mwl.rollouts.falls import TAKEN_OVER
from mwl.simulation import make_env

_ROBOTS = 64
_FIRST, _LAST, _EVERY = 50, 250, 5  # control steps: at full speed within a second or two, and every phase of a gait


class LeftBehind(NamedTuple):
    """States in which experts leave a robot.

    Attributes:
        states: `[S, W]`, positions and velocities of the simulation.
        observations: `[S, O]` of the task there.
        env_steps: simulated for them.
    """

    states: Tensor
    observations: Tensor
    env_steps: int


def check_starts(where: str, predecessors: Sequence[str] | None, **shares: float) -> None:
    """Refuse shares of the episodes, by the states in which they begin, that are no distribution.

    Args:
        where: begins the message.
        predecessors: folders of experts to take over from.
        shares: by name, `takeover_share` among them.

    Raises:
        BadInput: one is negative, all together are more than 1, or there is a share without anybody to take over from.
    """
    told = ", ".join(f"{name} is {share}" for name, share in shares.items())
    if min(shares.values()) < 0 or sum(shares.values()) > 1 + 1e-9:
        raise BadInput(f"{where}: {told}; all together are at most 1, and none is negative")
    if bool(predecessors) != (shares["takeover_share"] > 0):
        raise BadInput(
            f"{where}: takeover_share is {shares['takeover_share']} and predecessors are {predecessors}; to take over, "
            "an expert needs both"
        )


def left_behind(folders: Sequence[str], task: str, seed: int = 0, num_threads: int | None = None) -> LeftBehind:
    """Let experts act on a task, from the benchmark's starts, and keep where they are on the way.

    Args:
        folders: hand-over folders of those that act.
        task: of the expert that is to take over.
        seed: of the starts.
        num_threads: of the physics; None takes one per core.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: a folder holds no expert that this version can load.
        BadInput: none of them stays up long enough to be taken over from.
    """
    library = ExpertLibrary.load(list(folders))
    states, observations = [], []
    for number, expert in enumerate(library.experts):
        env = make_env(task, _ROBOTS, seed=seed + number, num_threads=num_threads)
        stands = torch.ones(_ROBOTS, dtype=torch.bool)
        for step in rollout(env, Alone(expert), _LAST):
            qpos, qvel = env.state
            stands = stands & ~TAKEN_OVER.lost(qpos)
            if step.index >= _FIRST and step.index % _EVERY == 0:
                states.append(torch.cat([qpos, qvel], dim=-1)[stands])
                observations.append(step.after[keys.OBSERVATION][stands])
        env.close()
    if not any(len(kept) for kept in states):
        raise BadInput(
            f"predecessors: {', '.join(library.names)} fell on {task} within a second; name experts that stay up"
        )
    return LeftBehind(torch.cat(states), torch.cat(observations), len(library.names) * _ROBOTS * _LAST)
