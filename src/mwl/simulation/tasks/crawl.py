"""Crawl through a tunnel 1.15 m high."""

from collections.abc import Mapping

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Reward, Task

LOW, HIGH = 0.6, 1.0  # m, of head and torso while crawling
ON_ALL_FOURS = np.array([0.75, 0.0, 0.65, 0.0])  # pelvis orientation, wxyz, as the benchmark has it (not normalised)


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Parts `[N]` of the reward, which lies in [0, 1]; nothing outside the tunnel's width."""
    torso = rewards.tolerance(measured["imu_position"][:, 2], LOW, HIGH, 1.0)
    head = rewards.tolerance(measured["head_position"][:, 2], LOW, HIGH, 1.0)
    away = np.linalg.norm(measured["pelvis_orientation"] - ON_ALL_FOURS, axis=-1)
    in_tunnel = rewards.tolerance(measured["imu_position"][:, 1], -1.0, 1.0)
    return {
        "small_control": 0.1 * rewards.small_control(measured) * in_tunnel,
        "low": 0.25 * np.minimum(torso, head) * in_tunnel,
        "forward_speed": 0.4 * rewards.forward_speed(measured, 1.0) * in_tunnel,
        "on_all_fours": 0.25 * rewards.tolerance(away, margin=1.0) * in_tunnel,
    }


CRAWL = Task(
    name="h1-crawl",
    scene="crawl.xml",
    instruction="crawl through the tunnel",
    description="Move along +x at 1 m/s on all fours; episodes never end early.",
    success_bar=700.0,
    reward=Reward(terms, sum),
    fixed_scene=True,
    terminated=rewards.never,
)
