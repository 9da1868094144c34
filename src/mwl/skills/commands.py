"""What an expert can be told: names, units and ranges of its command."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mwl.core.errors import BadInput
from mwl.core.manifest import Manifest


@dataclass(frozen=True)
class Command:
    """The command of one expert.

    Args:
        names: of its numbers, for example `forward`.
        units: of each.
        low, high: least and greatest value of each that the expert was trained on.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.names), len(self.units), len(self.low), len(self.high)}
        if len(sizes) != 1 or any(not low < high for low, high in zip(self.low, self.high, strict=False)):
            raise BadInput(f"command {', '.join(self.names)}: needs a unit and a range, low below high, for each name")

    @property
    def size(self) -> int:
        """Number C of its values."""
        return len(self.names)

    def values(self, normalised: Tensor) -> Tensor:
        """Commands `[..., C]` in their units, of numbers `[..., C]` in [-1, 1]; those outside count as the bound."""
        low, high = normalised.new_tensor(self.low), normalised.new_tensor(self.high)
        return low + (normalised.clamp(-1, 1) + 1) / 2 * (high - low)

    def normalised(self, values: Tensor) -> Tensor:
        """Numbers `[..., C]` in [-1, 1] of commands `[..., C]` in their units; inverse of `values` within ranges."""
        low, high = values.new_tensor(self.low), values.new_tensor(self.high)
        return (2 * (values - low) / (high - low) - 1).clamp(-1, 1)

    def described(self, values: Tensor | Sequence[float]) -> str:
        """One command `[C]` in words, for example `forward 1.1 m/s, sideways 0.0 m/s, turning 0.2 rad/s`."""
        numbers = torch.as_tensor(values).tolist()
        parts = zip(self.names, numbers, self.units, strict=True)
        return ", ".join(f"{name} {number:.2g} {unit}" for name, number, unit in parts)


VELOCITY = Command(("forward", "sideways", "turning"), ("m/s", "m/s", "rad/s"), (-0.5, -0.3, -0.6), (1.6, 0.3, 0.6))
"""Of a walker whose manifest states no ranges."""
_KINDS = {  # by kind of command, see `mwl.experts.spec.COMMANDS`; the ranges hold where a manifest states none
    "velocity": VELOCITY,
    "velocity_over_ground": VELOCITY,
    "hand_target": Command(("ahead", "left", "up"), ("m", "m", "m"), (0.1, -0.1, -0.4), (0.6, 0.6, 0.6)),
    "arm": Command(("arm",), ("(1 left, -1 right, 0 both)",), (-1.0,), (1.0,)),
}


def command_of(manifest: Manifest) -> Command | None:
    """The command that an expert's manifest states, within the ranges of its entry `command_range` where it has one.

    None for an expert that takes no command, and for one whose command is a reading of the scene (a door's state).

    Raises:
        BadInput: a range that is none, or that does not fit the kind of command.
    """
    stated = manifest.observation.command
    command = _KINDS.get(stated.kind) if stated else None
    given = manifest.get("command_range")
    if command is None or given is None:
        return command
    try:
        low, high = (tuple(float(x) for x in given[bound]) for bound in ("low", "high"))
        return replace(command, low=low, high=high)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"command_range of expert {manifest.name}: needs low and high, a number each ({error})"
        ) from error
