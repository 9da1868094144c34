"""Where experts take over: states in which others leave a robot, for those to practise in who go on from there."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mwl import keys
from mwl.experts.library import ExpertLibrary
from mwl.experts.rehearsal import acting
from mwl.experts.spec import ExpertSpec
from mwl.motion import frames
from mwl.simulation import make_env

_ROBOTS = 64
_FIRST, _LAST, _EVERY = 50, 250, 5  # control steps: at full speed within a second or two, and every phase of a gait
_UPRIGHT = 0.9  # cosine of the tilt; what lies on the floor is nothing to take over


class LeftBehind(NamedTuple):
    """States in which experts leave a robot.

    Attributes:
        states: `[S, W]`, positions and velocities of the simulation.
        features: `[S, F]` that the expert taking over sees there.
        env_steps: simulated for them.
    """

    states: Tensor
    features: Tensor
    env_steps: int


@torch.no_grad()
def left_behind(
    folders: Sequence[str], spec: ExpertSpec, lowest_root: float, seed: int, num_threads: int | None
) -> LeftBehind:
    """Let experts act on the task of another, from the benchmark's starts, and keep where they are on the way.

    Args:
        folders: hand-over folders of those that act.
        spec: of the expert that is to take over.
        lowest_root: m; a root below it is a fall.
        seed: of the starts.
        num_threads: of the physics; None takes one per core.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: a folder holds no expert that this version can load.
    """
    library = ExpertLibrary.load(list(folders))
    states, features = [], []
    for number, name in enumerate(library.names):
        env = make_env(spec.task, _ROBOTS, seed=seed + number, num_threads=num_threads)
        layout = env.task.layout
        act, now = acting(library, name, layout), env.reset()
        stands = torch.ones(_ROBOTS, dtype=torch.bool)
        for step in range(_LAST):
            observation = now[keys.OBSERVATION]
            qpos, qvel = env.state
            stands = stands & (qpos[:, 2] > lowest_root) & (frames.rotation_matrix(qpos[:, 3:7])[:, 2, 2] > _UPRIGHT)
            if step >= _FIRST and step % _EVERY == 0:
                states.append(torch.cat([qpos, qvel], dim=-1)[stands])
                features.append(spec.featurise(observation, layout)[stands])
            now = env.step(now.set(keys.ACTION, act(observation)))[keys.NEXT].exclude(keys.REWARD)
        env.close()
    return LeftBehind(torch.cat(states), torch.cat(features), len(library.names) * _ROBOTS * _LAST)
