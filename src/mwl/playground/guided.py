"""A guided agent as the one who acts: told by weights over its own skills, and asked what it expects."""

import math
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from mwl.evaluation.agents import NamedAgent
from mwl.robot import CONTROL_HZ, frames
from mwl.rollouts import Agent
from mwl.selection import Guidance
from mwl.world_model.agent import WorldModelAgent

AHEAD = CONTROL_HZ // 2  # imagined control steps
_SEEN, _ENOUGH = 500, 100  # control steps that the way is read off from; fewer say nothing
_RIDGE = 1e-3


def skills_of(found: NamedAgent) -> list[str]:
    """Skills between which words can weigh; none of an agent that can't be told anything."""
    guidance = getattr(found.agent, "guidance", None)
    return list(guidance.library.names) if isinstance(guidance, Guidance) else []


class Told:
    """A guided agent that follows the weights of a plan's step; it stands for each of its skills.

    Args:
        agent: has several skills.
        weights: by skill, as they hold now.
    """

    def __init__(self, agent: Agent, weights: Callable[[], Mapping[str, float]]) -> None:
        self.agent, self.guidance, self._weights = agent, agent.guidance, weights  # type: ignore[attr-defined]
        self.last: TensorDict | None = None

    def reset(self, done: Tensor | None = None) -> None:
        """Begin without a past."""
        self.agent.reset(done)

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Actions `[1, A]`."""
        own = {name: weight for name, weight in self._weights().items() if name in self.guidance.library.names}
        self.agent.set_weights(own)  # type: ignore[attr-defined]
        action = self.agent.act(observation, step)
        self.last = self.agent.last
        return action


class Imagination:
    """What a world model expects, as values by skill and as a way on the floor.

    A latent knows of no places. How far a control step carries the robot is therefore read off by a ridge regression on
    the latents of the last twenty seconds, and added up along imagined ones.
    """

    def __init__(self) -> None:
        self._latents: deque[Tensor] = deque(maxlen=_SEEN)
        self._moves: deque[np.ndarray] = deque(maxlen=_SEEN)
        self._before: tuple[Tensor, np.ndarray] | None = None

    def forget(self) -> None:
        """Begin somewhere else; what a latent says stays known."""
        self._before = None

    def see(self, agent: WorldModelAgent, observation: Tensor, qpos: Tensor) -> None:
        """Take in a control step: its observation `[1, O]` and where the root is, `qpos` `[1, 7 or more]`."""
        pose = _pose(qpos)
        if self._before is not None:
            latent, (x, y, yaw) = self._before
            cos, sin = math.cos(yaw), math.sin(yaw)
            dx, dy, turned = pose - (x, y, yaw)
            self._latents.append(latent)
            self._moves.append(np.array([cos * dx + sin * dy, cos * dy - sin * dx, math.remainder(turned, math.tau)]))
            self._before = None  # every other step, which is enough to learn from
            return
        self._before = agent.model.encode(agent.observer(observation).to(agent.model.device))[0].float().cpu(), pose

    def expects(self, agent: WorldModelAgent, observation: Tensor, qpos: Tensor) -> tuple[dict[str, float], np.ndarray]:
        """Values by skill, and the way `[T, 2]` in m that it sees itself go; empty while it has seen too little."""
        imagined = agent.imagine(observation, AHEAD)
        names = [] if agent.guidance is None else agent.guidance.library.names
        values = dict(zip(("all together", *names), imagined.value[0].tolist(), strict=True))
        if len(self._moves) < _ENOUGH:
            return values, np.zeros((0, 2))
        seen = _with_one(torch.stack(list(self._latents)).double())
        moves = torch.from_numpy(np.stack(self._moves))
        gram = seen.T @ seen + _RIDGE * len(seen) * torch.eye(seen.shape[1], dtype=torch.float64)
        read = torch.linalg.solve(gram, seen.T @ moves)
        x, y, yaw = _pose(qpos)
        way = [(x, y)]
        for ahead, left, turned in (_with_one(imagined.latent[:-1, 0].double()) @ read).tolist():
            x += math.cos(yaw) * ahead - math.sin(yaw) * left
            y += math.sin(yaw) * ahead + math.cos(yaw) * left
            yaw += turned
            way.append((x, y))
        return values, np.array(way)


def _pose(qpos: Tensor) -> np.ndarray:
    """x, y and heading of `qpos` `[1, 7 or more]`."""
    yaw = float(frames.heading(frames.rotation_matrix(qpos[:, 3:7].float()))[0])
    return np.array([float(qpos[0, 0]), float(qpos[0, 1]), yaw])


def _with_one(latents: Tensor) -> Tensor:
    return torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1)
