"""What the gate sees: the robot's own state, and of everything that experts act on whether it is there and where.

A standing robot may be waiting, or about to touch something an arm's length away: only the task's observation tells.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mwl.experts.features import EGOCENTRIC_SIZE, Layout, egocentric
from mwl.experts.spec import COMMANDS

_SHOWN = {name: kind for name, kind in COMMANDS.items() if kind.read is not None}
CONTEXT_SIZE = EGOCENTRIC_SIZE + sum(1 + kind.size + kind.feature_size for kind in _SHOWN.values())


def gate_context(observation: Tensor, layout: Layout, commands: Mapping[str, Tensor] | None = None) -> Tensor:
    """Features `[N, CONTEXT_SIZE]` of observations `[N, O]`.

    Args:
        observation: of a task with the robot's qpos and qvel.
        layout: where its parts lie.
        commands: `[N, C]` by kind, for recordings of a task that does not show the skill's command.

    Returns:
        the 50 egocentric features; then, for every kind of command that tasks can show (`hand_target`, `door`), 1, the
        command and the features of a skill that takes it, or zeros where there is no such thing.
    """
    parts = [egocentric(observation, layout)]
    for name, kind in _SHOWN.items():
        command = (commands or {}).get(name)
        if command is None and kind.from_observation in layout.slices:
            assert kind.read is not None
            command = kind.read(observation, layout)
        if command is None:
            parts.append(observation.new_zeros(observation.shape[0], 1 + kind.size + kind.feature_size))
        else:
            there = observation.new_ones(observation.shape[0], 1)
            parts += [there, command, kind.featurise(observation, layout, command)]
    return torch.cat(parts, dim=-1)
