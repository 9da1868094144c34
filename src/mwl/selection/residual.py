"""A residual around experts in a changed world: they act on where the robot is by now, so that it moves as it did.

Both rest on two learned networks: what a control step does in the world as the experts knew it, and what it does now.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mwl.core.checkpoints import load_module
from mwl.core.errors import CorruptFile
from mwl.core.normaliser import normalise
from mwl.experts import features
from mwl.experts.features import EGOCENTRIC_SIZE, Layout
from mwl.robot.h1 import ACTION_SIZE, RADIANS_PER_ACTION

MAX_DELAY = 3  # control steps
REACH = 0.5  # rad by which a residual moves a joint's target at most
_HIDDEN = (256, 128)
_CUT = 6.0  # standard deviations
_ITERATIONS = 2  # of Gauss and Newton; the third moved no target by more than 0.01 rad


def _network(inputs: int, hidden: int) -> nn.Sequential:
    """Features out, for so many inputs."""
    layers: list[nn.Module] = []
    for before in (inputs, hidden):
        layers += [nn.Linear(before, hidden), nn.LayerNorm(hidden), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, EGOCENTRIC_SIZE))


class Dynamics(nn.Module):
    """What one control step does to the robot, in the world as it was and as it is now.

    States are features `[N, 50]` as of `egocentric`, actions `[N, A]`. What changes in a step is told in standard
    deviations of what changed in the steps of the world as it was.

    Attributes:
        precision: `[50]`, by how much each feature counts where motions are compared: one over the mean square error
            with which it is predicted, of mean 1.
    """

    precision: Tensor
    state_mean: Tensor
    state_std: Tensor
    step_mean: Tensor
    step_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        inputs = EGOCENTRIC_SIZE + ACTION_SIZE
        self.before, self.change = _network(inputs, _HIDDEN[0]), _network(inputs, _HIDDEN[1])
        nn.init.zeros_(self.change[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.change[-1].bias)  # type: ignore[arg-type]
        sizes = {"state": EGOCENTRIC_SIZE, "step": EGOCENTRIC_SIZE, "action": ACTION_SIZE}
        for name, size in sizes.items():
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.register_buffer("precision", torch.ones(EGOCENTRIC_SIZE))

    def read(self, state: Tensor, action: Tensor) -> Tensor:
        """What the networks read of states `[..., 50]` and actions `[..., A]`."""
        seen = normalise(state, self.state_mean, self.state_std, _CUT)
        return torch.cat([seen, (action - self.action_mean) / self.action_std], dim=-1)

    def as_before(self, state: Tensor, action: Tensor) -> Tensor:
        """Change of the features `[..., 50]` in a step of the world as it was, in standard deviations."""
        told: Tensor = self.before(self.read(state, action))
        return told

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Change of the features `[..., 50]` in a step of the world as it is, in standard deviations."""
        seen = self.read(state, action)
        told: Tensor = self.before(seen) + self.change(seen)
        return told

    def in_deviations(self, state: Tensor, after: Tensor) -> Tensor:
        """What changed from one state to the next `[..., 50]`, in standard deviations."""
        told: Tensor = (after - state - self.step_mean) / self.step_std
        return told

    def next(self, state: Tensor, action: Tensor) -> Tensor:
        """The state `[N, 50]` after a step of the world as it is."""
        told: Tensor = state + self.step_mean + self.step_std * self(state, action)
        return told


class Residual(nn.Module):
    """Changes what experts see and do, as far as a world differs from theirs.

    Where observations come late, the experts are shown the state to which the actions since then have led, by the
    learned dynamics (Walsh et al., Learning and planning in environments with delayed feedback, 2009). Where the same
    action moves the robot otherwise than it did, another is looked for that moves it as the expert's would have
    (Hanna and Stone, Grounded action transformation, 2017): damped least squares over one step,
    `min_d |f(s, a + d) - f_before(s, a)|^2_precision + damping |d|^2`.

    Args:
        damping: what a change of the action by a standard deviation of the experts' costs, in units of the mean
            precision.
        delay: control steps by which observations come late.

    Attributes:
        shares: `[1, 2]` or `[N, 2]`, how much of the two is done: the state shown (none below a half), the action
            changed.
        memory_size: width M of what is remembered, the last actions.
    """

    shares: Tensor
    _reach: Tensor
    memory_size = MAX_DELAY * ACTION_SIZE

    def __init__(self, damping: float, delay: int = 0) -> None:
        super().__init__()
        self.damping, self.delay = damping, delay
        self.dynamics = Dynamics()
        self.register_buffer("_reach", torch.as_tensor(REACH / RADIANS_PER_ACTION).float(), persistent=False)
        self.register_buffer("shares", torch.zeros(1, 2))

    def remember(self, memory: Tensor, action: Tensor) -> Tensor:
        """Memory `[N, M]` after another action `[N, A]`."""
        return torch.cat([action, memory[:, : -action.shape[-1]]], dim=-1)

    def present(self, observation: Tensor, layout: Layout, memory: Tensor, age: Tensor | None) -> Tensor:
        """Observations `[N, O]` of where the robots are by now.

        Args:
            observation: as they come, `[N, O]`.
            layout: where their parts lie.
            memory: the last actions `[N, M]`.
            age: steps since the episode began `[N]`; None where that is long ago.
        """
        if not self.delay or not self.shares[:, 0].any():
            return observation
        known = state = features.egocentric(observation, layout)
        for ago, action in reversed(list(enumerate(memory.split(ACTION_SIZE, dim=-1)[: self.delay], start=1))):
            since = self.shares[:, :1] > 0.5  # an episode begins with its first state known
            if age is not None:
                since = since & (age >= ago).unsqueeze(-1)
            state = torch.where(since, self.dynamics.next(state, action), state)
        led = (state != known).any(dim=-1, keepdim=True)
        return torch.where(led, features.moved(observation, layout, state), observation)

    def act(self, observation: Tensor, layout: Layout, action: Tensor) -> Tensor:
        """Actions `[N, K, A]` that move the robots as the experts' `[N, K, A]` would have, seen as `present` shows."""
        if not self.shares[:, 1].any():
            return action
        state = features.egocentric(observation, layout).unsqueeze(1).expand(-1, action.shape[1], -1)
        matched = self._matched(state.flatten(0, 1), action.flatten(0, 1)).view_as(action)
        return (action + self.shares[:, 1, None, None] * (matched - action)).clamp(-1, 1)

    def _matched(self, state: Tensor, action: Tensor) -> Tensor:
        """Actions `[B, A]` in states `[B, 50]` by Gauss and Newton."""
        dynamics, unit, weight = self.dynamics, self.dynamics.action_std, self.dynamics.precision
        damping, reach = self.damping * len(weight) / ACTION_SIZE, self._reach / unit
        wanted, change = dynamics.as_before(state, action), torch.zeros_like(action)

        def moved(change: Tensor, state: Tensor, action: Tensor) -> Tensor:
            told: Tensor = dynamics(state, action + unit * change)
            return told

        slopes = torch.func.vmap(torch.func.jacfwd(moved))
        for _ in range(_ITERATIONS):
            slope = slopes(change, state, action)  # [B, 50, A]
            weighted = slope.mT * weight
            missing = wanted - moved(change, state, action) + (slope @ change.unsqueeze(-1)).squeeze(-1)
            normal = weighted @ slope + damping * torch.eye(ACTION_SIZE)
            change = torch.linalg.solve(normal, weighted @ missing.unsqueeze(-1)).squeeze(-1)
            change = change.clamp(-reach, reach)
        matched: Tensor = action + unit * change
        return matched

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain values and tensors, to be read back by `from_plain`."""
        return {"damping": self.damping, "delay": self.delay, "state_dict": self.state_dict()}

    @classmethod
    def from_plain(cls, entries: Mapping[str, Any]) -> "Residual":
        """The residual that `to_plain` described.

        Raises:
            CorruptFile, SpecMismatch: entries are of another type or shape.
        """
        damping, delay = entries["damping"], entries["delay"]
        if not isinstance(damping, float) or damping <= 0 or not isinstance(delay, int) or not 0 <= delay <= MAX_DELAY:
            raise CorruptFile("residual: its damping or delay is out of range")
        return load_module(lambda: cls(damping, delay), entries["state_dict"], "residual").eval()
