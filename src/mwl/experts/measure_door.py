"""Measuring a skill at the door: in how many episodes it turns the hatch, and how far it opens the leaf."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mwl import keys
from mwl.motion.door import RATCHET
from mwl.simulation import HumanoidEnv

TURNED = 1.0  # rad of the hatch
Policy = Callable[[Tensor], Tensor]


@torch.no_grad()
def measure_opening(policy: Policy, env: HumanoidEnv) -> dict[str, Any]:
    """Whole episodes of the door task from the benchmark's own start.

    Args:
        policy: actions `[N, A]` of observations `[N, O]`.
        env: the door task; one episode per environment.

    Returns:
        `pulled_rate`: share of the episodes in which the hatch went past 1 rad and the leaf past its ratchet, without a
        fall; means of the largest angles of hinge and hatch (rad); shares of the episodes with the leaf past 0.5 and
        1 rad and with the robot beyond the door.
    """
    where = env.task.layout.slices["door_qpos"]
    state = env.reset()
    alive = torch.ones(env.num_envs, dtype=torch.bool)
    furthest = torch.zeros(env.num_envs, 3)  # hinge, hatch, root x
    for _ in range(env.task.max_episode_steps):
        state = env.step(state.set(keys.ACTION, policy(state[keys.OBSERVATION])))[keys.NEXT].exclude(keys.REWARD)
        alive = alive & ~state[keys.TERMINATED].squeeze(-1)
        reached = torch.cat([state[keys.OBSERVATION][:, where], state[keys.OBSERVATION][:, :1]], dim=-1)
        furthest = torch.where(alive.unsqueeze(-1), furthest.maximum(reached), furthest)
    hinge, hatch, ahead = furthest.unbind(-1)
    share = lambda condition: float(condition.float().mean())  # noqa: E731
    return {
        "pulled_rate": share(alive & (hatch > TURNED) & (hinge > RATCHET)),
        "hinge_mean_rad": float(hinge.mean()),
        "hatch_mean_rad": float(hatch.mean()),
        "past_half_rad": share(hinge > 0.5),
        "past_one_rad": share(hinge > 1.0),
        "passed_through": share((hinge > RATCHET) & (ahead > 1.2)),
    }
