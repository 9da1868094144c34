"""Reward terms that several tasks share, as pure functions of batched measurements.

Formulas: HumanoidBench (Sferrazza et al., 2024) and the `tolerance` of the DeepMind Control Suite (Tassa et al., 2018).
"""

from typing import Literal

import numpy as np

from mwl.simulation.task import Array, Measurement

STAND_HEIGHT = 1.65  # m, of the head


def tolerance(
    x: Array,
    low: float = 0.0,
    high: float = 0.0,
    margin: float = 0.0,
    kind: Literal["gaussian", "linear", "quadratic"] = "gaussian",
    value_at_margin: float = 0.1,
) -> Array:
    """1 inside [low, high], falling to `value_at_margin` at a distance of `margin` outside; elementwise."""
    outside = np.maximum(np.maximum(low - x, x - high), 0.0)
    if margin == 0:
        return (outside == 0).astype(np.float64)
    distance = outside / margin
    if kind == "gaussian":
        return np.exp(np.log(value_at_margin) * distance**2)
    if kind == "linear":
        return np.maximum(0.0, 1 - (1 - value_at_margin) * distance)
    return np.maximum(0.0, 1 - (1 - value_at_margin) * distance**2)


def upright(measured: Measurement, margin: float = 1.9, bound: float = 0.9) -> Array:
    """How upright the torso is `[N]`."""
    return tolerance(measured["torso_up"][:, 2], bound, np.inf, margin, "linear", 0.0)


def standing(
    measured: Measurement, upright_margin: float = 1.9, upright_bound: float = 0.9, height: float = STAND_HEIGHT
) -> Array:
    """Head at standing height and torso upright `[N]`."""
    high = tolerance(measured["head_position"][:, 2], height, np.inf, STAND_HEIGHT / 4)
    return high * upright(measured, upright_margin, upright_bound)


def small_control(measured: Measurement) -> Array:
    """Prefers joints that need little force `[N]`, in [0.8, 1]; a joint counts nothing from 10 N m up."""
    relaxed = tolerance(measured["actuator_force"], margin=10, kind="quadratic", value_at_margin=0.0)
    return (4 + relaxed.mean(axis=-1)) / 5


def stillness(measured: Measurement) -> Array:
    """Centre of mass not moving in the plane `[N]`."""
    return tolerance(measured["com_velocity"][:, :2], margin=2).mean(axis=-1)


def forward_speed(measured: Measurement, speed: float) -> Array:
    """Centre of mass moving along +x at `speed` m/s or faster `[N]`, in [1/6, 1]."""
    moving = tolerance(measured["com_velocity"][:, 0], speed, np.inf, speed, "linear", 0.0)
    return (5 * moving + 1) / 6


def fallen(measured: Measurement, height: float = 0.2) -> np.ndarray:
    """Root below `height` m `[N]`, bool."""
    return measured.qpos[:, 2] < height


def never(measured: Measurement) -> np.ndarray:
    """No end before the time limit `[N]`, bool."""
    return np.zeros(len(measured.qpos), dtype=bool)
