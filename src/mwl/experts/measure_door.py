"""Measuring a skill at the door: in how many episodes it turns the hatch, and how far it opens the leaf."""

from typing import Any

import torch
from torch import Tensor

from mwl.core import keys
from mwl.rollouts import Agent, rollout
from mwl.simulation import HumanoidEnv
from mwl.teachers.door.geometry import RATCHET

TURNED = 1.0  # rad of the hatch


def measure_opening(agent: Agent, env: HumanoidEnv) -> dict[str, Any]:
    """Whole episodes of the door task from the benchmark's own start.

    Args:
        agent: acts.
        env: the door task; one episode per environment.

    Returns:
        `pulled_rate`: share of the episodes in which the hatch went past 1 rad and the leaf past its ratchet, without a
        fall; means of the largest angles of hinge and hatch (rad); shares of the episodes with the leaf past 0.5 and
        1 rad and with the robot beyond the door.
    """
    where = env.task.layout.slices["door_qpos"]
    alive = torch.ones(env.num_envs, dtype=torch.bool)
    furthest = torch.zeros(env.num_envs, 3)  # hinge, hatch, root x
    for step in rollout(env, agent):
        after = step.after
        alive = alive & torch.from_numpy(step.running) & ~after[keys.TERMINATED].squeeze(-1)
        reached = torch.cat([after[keys.OBSERVATION][:, where], after[keys.OBSERVATION][:, :1]], dim=-1)
        furthest = torch.where(alive.unsqueeze(-1), furthest.maximum(reached), furthest)
    hinge, hatch, ahead = furthest.unbind(-1)
    return {
        "pulled_rate": _share(alive & (hatch > TURNED) & (hinge > RATCHET)),
        "hinge_mean_rad": float(hinge.mean()),
        "hatch_mean_rad": float(hatch.mean()),
        "past_half_rad": _share(hinge > 0.5),
        "past_one_rad": _share(hinge > 1.0),
        "passed_through": _share((hinge > RATCHET) & (ahead > 1.2)),
    }


def _share(condition: Tensor) -> float:
    return float(condition.float().mean())
