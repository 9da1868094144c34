"""The stage in which an expert finds a better posture: a search over shifts of its joint targets, then learned by it.

Where a task rewards how a robot stands, exploring every step anew shows little of what another posture is worth.
One constant shift of the joint targets does, and has only as many numbers as the robot has joints.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mwl.core.errors import BadInput
from mwl.core.ranges import Count, Whole
from mwl.experts.finetuning.env import FineTuningEnv
from mwl.experts.finetuning.module import FineTuningStage
from mwl.experts.network import PolicyNetwork
from mwl.robot.h1 import RADIANS_PER_ACTION
from mwl.training.cmaes import Evolution

_CERTAINTY = 2.0  # standard errors by which a shift has to gain to be learned
_UNIT = 0.1  # rad of a shift per unit of the search


@dataclass(frozen=True)
class PostureConfig:
    """How a posture is searched and learned."""

    steps: Count = 500
    """Of a roll-out."""
    rollouts: Count = 6
    """Of every candidate, from the same states for all, which were reached before and in which the task rewards."""
    step_size: ClassVar[float] = 0.04
    """First standard deviation of the shifts, rad."""
    reward_range: tuple[float, float] = (0.45, 0.6)
    """Reward of a step from which on, and from which in full, targets are shifted."""
    first_rounds: ClassVar[int] = 2
    """Rounds in which the expert acts as it is, to reach states with reward."""
    learning_rounds: Whole = 20
    """The last rounds, in which its network learns the shift."""
    epochs: ClassVar[int] = 4  # of a round, as of the teachers' PPO
    batch_size: ClassVar[int] = 1024
    learning_rate: ClassVar[float] = 3e-4  # falls to none over the learning rounds

    def __post_init__(self) -> None:
        low, high = self.reward_range
        if self.steps < 1 or self.rollouts < 2 or not low < high:
            raise BadInput(
                f"posture: steps is {self.steps}, rollouts {self.rollouts}, reward_range {list(self.reward_range)}; "
                "needed are at least 1 step, 2 roll-outs, and a lower reward before a higher one"
            )


_CONFIG = PostureConfig()


class Posture(FineTuningStage):
    """Searches the shift of an expert's joint targets with most reward, and lets its network learn it.

    The shift acts in full where the present reward is high, and not at all before, so that what leads there stays as
    it was. The search is a separable CMA-ES (`Evolution`). Its mean is then rolled out beside the expert as it is, from
    the same states; where it gains no more than chance would, there is nothing to learn. Else the network learns the
    shifted targets in the states that it visits itself (DAgger).

    Args:
        expert: artifact of the expert; it needs to be one without memory, of a task without goals.
        name: what it is called afterwards; None keeps its name.
        card: by which instructions find it afterwards; None keeps its card.
        posture: how it is searched and learned.
        evaluation_episodes: episodes of the measurement that goes into the manifest; 0 skips it.
    """

    kind = "posture"
    shift: Tensor
    gain: Tensor

    def __init__(
        self,
        expert: str,
        name: str | None = None,
        card: dict[str, Any] | None = None,
        posture: PostureConfig = _CONFIG,
        evaluation_episodes: Whole = 20,
    ) -> None:
        super().__init__(expert, name, card, posture.steps, evaluation_episodes)
        self.config = posture

    def meet(self, network: PolicyNetwork, env: FineTuningEnv) -> None:
        """Prepare the search.

        Raises:
            BadInput: too few environments for a search, or too few rounds.
        """
        config, data = self.config, self.data()
        population, rest = divmod(env.num_envs, config.rollouts)
        searched = data.rounds - config.first_rounds - config.learning_rounds - 1
        if rest or population < 4 or searched < 1:
            raise BadInput(
                f"posture: {env.num_envs} environments and {data.rounds} rounds of {config.steps} steps; needed are a "
                f"multiple of rollouts ({config.rollouts}), at least fourfold, and with data.env_steps at least "
                f"{(config.first_rounds + config.learning_rounds + 2) * data.frames_per_round}, more than "
                f"{config.first_rounds} first rounds, one that judges and {config.learning_rounds} of learning"
            )
        self.network, self.env = network, env
        self.before = deepcopy(network).requires_grad_(False)
        self.evolution = Evolution(env.action_size, population, config.step_size / _UNIT)
        self.register_buffer("shift", torch.zeros(env.action_size))  # rad
        self.register_buffer("gain", torch.zeros(2))  # of the shift when judged, per step, and its standard error
        self.unit = torch.as_tensor(RADIANS_PER_ACTION).float() * network.action_std

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the expert's network alone."""
        return torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One round: act as before, try candidates, judge what was found, or learn it."""
        data, config = self.data(), self.config
        judging = data.rounds - config.learning_rounds - 1
        if batch < config.first_rounds:
            metrics = {"reward": float(self._act(learn=False))}
        elif batch < judging:
            metrics = self._search()
        elif batch == judging:
            metrics = self._judge()
            self.env.reset()
        elif self.shift.any():
            metrics = {"reward": float(self._act(learn=True))}
        else:  # the network stays as it is
            metrics = {}
        if batch <= judging or not self.shift.any():  # else Lightning would see no progress to keep
            self.optimizers().step()  # type: ignore[union-attr]
        data.rounds_done = batch + 1
        self.log_dict({f"posture/{name}": value for name, value in metrics.items()})
        self.log("env_steps", float(self.steps_done))

    def _target(self, features: Tensor, shift: Tensor) -> Tensor:
        """Standardised actions `[N, A]`: the expert's as it was, shifted by `[A]` or `[N, A]` rad."""
        low, high = self.config.reward_range
        share = ((self.env.reward() - low) / (high - low)).clamp(0, 1)
        return self.before.standardised(features) + share.unsqueeze(-1) * shift / self.unit

    @torch.no_grad()
    def _rollout(self, shift: Tensor, states: Tensor) -> Tensor:
        """Mean reward per step `[N]` of acting from states `[N, W]` with shifts `[N, A]`; nothing after a fall."""
        features, total = self.env.begin_in(states), torch.zeros(self.env.num_envs)
        on_its_feet = torch.ones(self.env.num_envs, dtype=torch.bool)
        for _ in range(self.config.steps):
            _, reward, terminated, _ = self.env.step(self._target(features, shift))
            on_its_feet &= ~terminated
            total += reward * on_its_feet
            features = self.env.observe()
        return total / self.config.steps

    def _rewarding_states(self, count: int) -> Tensor:
        """States `[count, W]` that were reached and have reward.

        Raises:
            BadInput: the expert reached none with reward.
        """
        states = self.env.reached_states.draw(count, self.config.reward_range[1], evenly=False)
        if states is None:
            raise BadInput(
                f"posture: {self.folder} reached too few states with a reward of {self.config.reward_range[1]} "
                "per step; lower model.posture.reward_range"
            )
        return states

    def _search(self) -> dict[str, float]:
        """One generation."""
        rollouts, population = self.config.rollouts, self.env.num_envs // self.config.rollouts
        shifts = _UNIT * self.evolution.ask()
        states = self._rewarding_states(rollouts).repeat(population, 1)
        score = self._rollout(shifts.repeat_interleave(rollouts, dim=0), states).view(population, rollouts).mean(dim=1)
        self.evolution.tell(score.double())
        self.shift.copy_(_UNIT * self.evolution.mean)
        size = float(self.shift.norm())
        return {"score": float(score.mean()), "shift": size, "step_size": float(_UNIT * self.evolution.sigma)}

    def _judge(self) -> dict[str, float]:
        """Try the shift that was found beside none, from starts too; it is dropped if its gain may be chance."""
        half = self.env.num_envs // 2
        states = torch.cat([self.env.starts(half - half // 2), self._rewarding_states(half // 2)]).repeat(2, 1)
        states = torch.cat([states, states[: self.env.num_envs - 2 * half]])
        with_shift = (torch.arange(self.env.num_envs) < half).unsqueeze(-1)
        score = self._rollout(torch.where(with_shift, self.shift, torch.zeros_like(self.shift)), states)
        ahead = score[:half] - score[half : 2 * half]
        self.gain.copy_(torch.stack([ahead.mean(), ahead.std() / half**0.5]))
        if self.gain[0] <= _CERTAINTY * self.gain[1]:
            self.shift.zero_()
        return {"gain": float(self.gain[0]), "gain_error": float(self.gain[1])}

    def _act(self, *, learn: bool) -> Tensor:
        """Act by the network as it stands, and learn the shifted targets; returns the mean reward per step."""
        features, targets, total = [], [], torch.zeros(())
        with torch.no_grad():
            for _ in range(self.config.steps):
                seen = self.env.observe()
                features.append(seen)
                targets.append(self._target(seen, self.shift))
                total += self.env.reward().mean() / self.config.steps
                self.env.step(self.network.standardised(seen))
        if learn:
            self._learn(torch.cat(features), torch.cat(targets))
        return total

    def _learn(self, features: Tensor, targets: Tensor) -> None:
        optimizer, data = self.optimizers(), self.data()
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = self.config.learning_rate * (data.rounds - data.rounds_done) / self.config.learning_rounds
        for _ in range(self.config.epochs):
            for rows in torch.randperm(len(features)).split(self.config.batch_size):
                loss = nn.functional.mse_loss(self.network.standardised(features[rows]), targets[rows])
                optimizer.zero_grad()  # type: ignore[union-attr]
                self.manual_backward(loss)
                optimizer.step()  # type: ignore[union-attr]

    def artifact(self) -> dict[str, Any]:
        """What the artifact holds; the manifest says what the shift gained."""
        entries = super().artifact()
        gain, error = self.gain.tolist()
        entries["provenance"]["posture"] = {"shift_rad": self.shift.tolist(), "gain": gain, "gain_error": error}
        return entries
