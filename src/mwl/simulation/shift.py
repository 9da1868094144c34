"""What a robot may meet without having trained for it: a load, weak motors, slippery or sloping ground, late senses."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import mujoco
import numpy as np
from numpy.typing import NDArray

from mwl.core.errors import BadInput
from mwl.core.files import shown
from mwl.robot import CONTROL_HZ
from mwl.robot.spec import RobotSpec

_BOUNDS = {
    "payload": (0.0, 200.0),
    "motors": (0.05, 2.0),
    "friction": (0.01, 5.0),
    "slope": (-45.0, 45.0),
    "delay": (0.0, 1.0),
}

MET = 0.3  # so that of five changes a robot in six meets none, and hardly one meets all


@dataclass(frozen=True)
class Shift:
    """Changes of the world, the same through an episode; the default changes nothing.

    Args:
        payload: mass in kg that the trunk carries at its centre of mass.
        motors: share of the servos' gain, damping and largest force that is left.
        friction: coefficient of sliding of everything, instead of the scene's own.
        slope: degrees by which the ground rises along +x, made by tilting gravity: the scene still looks level.
        delay: s by which observations come late, rounded to control steps of 20 ms.

    Raises:
        BadInput: a number is out of bounds.
    """

    payload: float = 0.0
    motors: float = 1.0
    friction: float | None = None
    slope: float = 0.0
    delay: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is None and name == "friction":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise BadInput(f"shift: {name} is {shown(value)}; it must be a number from {low:g} to {high:g}")

    @classmethod
    def parse(cls, text: str) -> "Shift":
        """Read `payload=10,motors=0.7`, as `str` writes it.

        Raises:
            BadInput: no such change, one that is named twice, or no number.
        """
        values: dict[str, float] = {}
        for part in text.split(","):
            name, equals, number = (piece.strip() for piece in part.partition("="))
            if not equals or name not in _BOUNDS:
                raise BadInput(f"shift: {shown(part)}; write NAME=NUMBER,... with {', '.join(_BOUNDS)}")
            if name in values:
                raise BadInput(f"shift: {name} is said twice in {shown(text)}")
            try:
                values[name] = float(number)
            except ValueError:
                raise BadInput(f"shift: {name} is {shown(number)}, which is no number") from None
        return cls(**values)

    def __str__(self) -> str:
        """What is changed, as `parse` reads it; empty where nothing is."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return ",".join(f"{name}={value:g}" for name, value in values.items() if value != _NONE[name])

    @property
    def delay_steps(self) -> int:
        """Control steps by which observations come late."""
        return round(self.delay * CONTROL_HZ)

    def applied(self, model: mujoco.MjModel, robot: RobotSpec) -> mujoco.MjModel:
        """A model with these changes: a copy, or the model itself where its physics stays as it is."""
        if self == Shift(delay=self.delay):
            return model
        changed = copy.copy(model)
        if self.payload:
            shoulder = changed.joint(robot.names.both("shoulder")[0]).bodyid[0]
            changed.body_mass[changed.body_parentid[shoulder]] += self.payload
            mujoco.mj_setConst(changed, mujoco.MjData(changed))
        changed.actuator_gainprm[:, 0] *= self.motors
        changed.actuator_biasprm[:, 1:3] *= self.motors
        changed.actuator_forcerange[:] *= self.motors
        if self.friction is not None:
            changed.geom_friction[:, 0] = self.friction
        angle = math.radians(self.slope)
        strength = float(np.linalg.norm(model.opt.gravity))
        if self.slope:
            changed.opt.gravity[:] = -strength * np.array([math.sin(angle), 0.0, math.cos(angle)])
        return changed


_NONE = {field.name: field.default for field in fields(Shift)}
Shifts = Shift | Sequence[Shift]
"""One for all environments, or one for each."""


def one_each(shift: "Shifts | None", num_envs: int) -> list[Shift]:
    """The shift of every environment.

    Raises:
        BadInput: not one, nor one for each.
    """
    shifts = [shift or Shift()] * num_envs if shift is None or isinstance(shift, Shift) else list(shift)
    if len(shifts) != num_envs or not all(isinstance(one, Shift) for one in shifts):
        raise BadInput(f"shift takes one Shift, or one for each of the {num_envs} environments")
    return shifts


def draw_shifts(ranges: Mapping[str, tuple[float, float]], count: int, seed: int) -> list[Shift]:
    """Shifts of some robots: each meets each of the named changes with a chance of `MET`, evenly within its range.

    Args:
        ranges: lowest and highest by the names of `Shift`'s changes.
        count: how many.
        seed: the same one draws the same shifts.

    Raises:
        BadInput: no such change, or a range whose ends are out of bounds or in the wrong order.
    """
    for name, (low, high) in ranges.items():
        if name not in _BOUNDS or low > high:
            raise BadInput(
                f"shifts: {shown(name)}: [{low:g}, {high:g}]; write NAME: [LOW, HIGH] of {', '.join(_BOUNDS)}"
            )
        Shift(**{name: low})
        Shift(**{name: high})
    random = np.random.default_rng(seed)
    drawn = [
        {name: float(random.uniform(*ranges[name])) for name in ranges if random.random() < MET} for _ in range(count)
    ]
    return [Shift(**values) for values in drawn]


class LateObservations:
    """Observations as they are known some control steps later; an episode begins with its first one known.

    Args:
        delays: `[N]` control steps.
        size: O.

    Attributes:
        history: `[1 + D, N, O]`, the newest first.
    """

    def __init__(self, delays: NDArray[np.int64], size: int) -> None:
        self._delays, self._each = delays, np.arange(len(delays))
        self.history = np.zeros((1 + int(delays.max()), len(delays), size), dtype=np.float32)

    def begin(self, mask: NDArray[np.bool_], seen: NDArray[np.float32]) -> None:
        """Forget what was before an episode that begins where `mask [N]` is set, with `seen [N, O]`."""
        self.history[:, mask] = seen[mask]

    def see(self, seen: NDArray[np.float32]) -> None:
        """Take in what is there after a control step, `[N, O]`."""
        self.history = np.concatenate([seen[None], self.history[:-1]])

    def shown(self) -> NDArray[np.float32]:
        """What is known by now, `[N, O]`."""
        return self.history[self._delays, self._each]
