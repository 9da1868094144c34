"""Proximal policy optimisation, for teachers and for fine-tuning: small, on one core, resumable.

The teachers' loop is a plain one rather than a Lightning stage: an iteration takes under a second and its forty
minibatch updates a millisecond each, so any per-update bookkeeping would cost more than the update.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

from mwl.core.checkpoints import load_checkpoint, refuse_changed, save_checkpoint
from mwl.core.errors import CorruptFile, NonFiniteLoss, PhysicsError
from mwl.core.normaliser import RunningNormaliser
from mwl.core.ranges import Between0And1, Count, NonNegative, Positive, Share, Whole
from mwl.core.terminal import tell


class TrainingEnv(Protocol):
    """What the trainer asks of an environment: N robots whose episodes begin anew by themselves.

    Attributes:
        num_envs: N.
        action_size: number A of actions.
        preferred_speed: where the curriculum stands, kept in checkpoints.
    """

    num_envs: int
    action_size: int
    preferred_speed: float

    def reset(self) -> Tensor:
        """Begin every episode; returns the observation `[N, O]`."""
        ...

    def observe(self) -> Tensor:
        """Observation `[N, O]` of the present state."""
        ...

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance with actions `[N, A]`: reached observation `[N, O]`, reward, terminated and truncated `[N]`."""
        ...

    def end_iteration(self, iteration: int, mean_length: float) -> dict[str, float]:
        """Move the curriculum on; returns the environment's own metrics of this iteration."""
        ...


@dataclass(frozen=True)
class PPOConfig:
    """Hyperparameters; the defaults learn to walk in about two million steps."""

    num_envs: Count = 256
    rollout_steps: Count = 24
    epochs: Count = 4
    minibatches: ClassVar[int] = 4
    clip: ClassVar[Positive] = 0.2
    discount: Between0And1 = 0.97
    trace: Share = 0.95
    entropy: NonNegative = 0.002
    max_grad_norm: ClassVar[Positive] = 1.0
    learning_rate: Positive = 5e-4
    learning_rate_range: tuple[float, float] = (1e-4, 1.5e-3)
    value_learning_rate: Positive | None = None
    """Of the values alone, and constant; None: as the policy's."""
    kl_high: Positive = 0.03
    """Above it the epochs of an iteration end and the learning rate falls; below `kl_low` it rises."""
    kl_low: NonNegative = 0.01
    hidden: tuple[int, int] = (256, 128)
    start_std: Positive = 0.5
    std_range: tuple[float, float] = (0.1, 0.8)
    value_iterations: Whole = 0
    """First iterations in which values alone are learned, of a policy that is not to be spoilt by wrong ones."""


def _mlp(sizes: tuple[int, ...], last_gain: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        last = index == len(sizes) - 2
        linear = nn.Linear(fan_in, fan_out)
        nn.init.orthogonal_(linear.weight, last_gain if last else 2**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.ELU()]
    return nn.Sequential(*layers)


class ActorCriticPolicy(nn.Module):
    """What learns: a policy, and the values by which it does, of what is made of observations."""

    critic: nn.Module

    def normalized(self, observation: Tensor) -> Tensor:
        """What policy and values read, of raw observations `[N, O]`; these themselves unless overridden."""
        return observation

    def learn_scale(self, observation: Tensor) -> None:
        """Take in raw observations `[B, O]`, where their scale is learned."""

    def policy(self, normalized: Tensor) -> torch.distributions.Normal:
        """Distribution over actions `[B, A]`."""
        raise NotImplementedError

    def value(self, normalized: Tensor) -> Tensor:
        """Value `[B]`."""
        raise NotImplementedError


class ActorCritic(ActorCriticPolicy):
    """Gaussian policy with state-independent spread, and a separate value network."""

    def __init__(self, observation_size: int, action_size: int, config: PPOConfig) -> None:
        super().__init__()
        self.normalizer = RunningNormaliser(observation_size, limit=6.0, least=0.0, added=1e-6)
        self.actor = _mlp((observation_size, *config.hidden, action_size), last_gain=0.02)
        self.critic = _mlp((observation_size, *config.hidden, 1), last_gain=1.0)
        self.log_std = nn.Parameter(torch.full((action_size,), config.start_std).log())
        self._std_range = config.std_range

    def policy(self, normalized: Tensor) -> torch.distributions.Normal:
        """Distribution over actions `[B, A]` at normalised observations `[B, O]`."""
        return torch.distributions.Normal(
            self.actor(normalized), self.log_std.exp().clamp(*self._std_range), validate_args=False
        )

    def value(self, normalized: Tensor) -> Tensor:
        """Value `[B]` of normalised observations `[B, O]`."""
        return self.critic(normalized).squeeze(-1)

    def normalized(self, observation: Tensor) -> Tensor:
        """Standardised observations `[N, O]`."""
        normalized: Tensor = self.normalizer(observation)
        return normalized

    def learn_scale(self, observation: Tensor) -> None:
        """Take in raw observations `[B, O]`."""
        self.normalizer.update(observation)

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        """Mean action `[N, A]` at raw observations `[N, O]`."""
        return self.actor(self.normalizer(observation))


@dataclass
class Rollout:
    """What one iteration learns from; time-major `[T, N, ...]`, observations normalised."""

    observation: Tensor
    action: Tensor
    log_prob: Tensor
    value: Tensor
    next_value: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor


class PPO:
    """An agent that acts in an environment and learns from it, one iteration at a time.

    Args:
        env: environment of `config.num_envs` robots.
        agent: what learns.
        config: hyperparameters.
    """

    optimizer: Any  # torch's, or Lightning's about it

    def __init__(self, env: TrainingEnv, agent: ActorCriticPolicy, config: PPOConfig) -> None:
        self.env, self.agent, self.config = env, agent, config
        self.optimizer = torch.optim.Adam(self._parameter_groups(), lr=config.learning_rate)
        self.iteration = 0
        self.env_steps = 0
        self._length = torch.zeros(env.num_envs)
        self.mean_length = 0.0

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """What the adapted learning rate holds for first, then what has a rate of its own."""
        rate, everything = self.config.value_learning_rate, list(self.agent.parameters())
        if rate is None:
            return [{"params": everything}]
        values = list(self.agent.critic.parameters())
        own = {id(parameter) for parameter in values}
        return [{"params": [p for p in everything if id(p) not in own]}, {"params": values, "lr": rate}]

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Play one rollout from where the environment stands."""
        agent, gathered, raw = self.agent, [], []
        observation = self.env.observe()
        for _ in range(self.config.rollout_steps):
            normalized = agent.normalized(observation)
            policy = agent.policy(normalized)
            action = policy.sample()
            reached, reward, terminated, truncated = self.env.step(action)
            self._check(reached, reward)
            raw.append(observation)
            gathered.append(
                Rollout(
                    observation=normalized,
                    action=action,
                    log_prob=policy.log_prob(action).sum(-1),
                    value=agent.value(normalized),
                    next_value=agent.value(agent.normalized(reached)),
                    reward=2 * (1 - self.config.discount) * reward,  # keeps values near 1 whatever the discount
                    terminated=terminated,
                    truncated=truncated,
                )
            )
            observation = self.env.observe()
            self._count_lengths(terminated | truncated)
        self.env_steps += self.config.rollout_steps * self.env.num_envs
        self._raw = torch.cat(raw)
        fields = Rollout.__dataclass_fields__
        return Rollout(**{name: torch.stack([getattr(step, name) for step in gathered]) for name in fields})

    def _check(self, reached: Tensor, reward: Tensor) -> None:
        """Refuse what would spoil the networks, and with them every checkpoint from now on."""
        finite = torch.isfinite(reward) & torch.isfinite(reached).all(dim=-1)
        if not finite.all():
            broken = int(torch.nonzero(~finite)[0])
            raise PhysicsError(
                f"reward or observation of environment {broken} is not finite in iteration {self.iteration}, after "
                f"{self.env_steps} environment steps; nothing of it was kept: go on from the last checkpoint"
            )

    def _count_lengths(self, ended: Tensor) -> None:
        self._length += 1
        if ended.any():
            finished = self._length[ended].mean().item()
            share = min(1.0, ended.sum().item() / 100)
            self.mean_length += share * (finished - self.mean_length)
            self._length[ended] = 0

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Learn from a rollout, which ends the iteration; returns its metrics."""
        config = self.config
        columns = [rollout.value, rollout.next_value, rollout.reward]
        value, next_value, reward = (column.T.unsqueeze(-1) for column in columns)
        done = (rollout.terminated | rollout.truncated).T.unsqueeze(-1)
        advantage, returns = vec_generalized_advantage_estimate(
            config.discount, config.trace, value, next_value, reward, done, rollout.terminated.T.unsqueeze(-1)
        )
        advantage, returns = advantage.squeeze(-1).T.flatten(), returns.squeeze(-1).T.flatten()
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        flat = (rollout.observation.flatten(0, 1), rollout.action.flatten(0, 1), rollout.log_prob.flatten())
        with torch.no_grad():
            before = self.agent.policy(flat[0])
        divergence = 0.0
        for _ in range(config.epochs):
            for batch in torch.randperm(len(returns)).chunk(config.minibatches):
                self._descend(flat[0][batch], flat[1][batch], flat[2][batch], advantage[batch], returns[batch])
            with torch.no_grad():
                kl = torch.distributions.kl_divergence(before, self.agent.policy(flat[0]))
            divergence = kl.sum(-1).mean().item()
            if divergence > config.kl_high:
                break
        if self.iteration >= config.value_iterations:
            self._adapt_learning_rate(divergence)
        self.agent.learn_scale(self._raw)
        self.iteration += 1
        return {
            "reward": rollout.reward.mean().item() / (2 * (1 - config.discount)),
            "episode_length": self.mean_length,
            "kl": divergence,
            "std": before.stddev.mean().item(),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **self.env.end_iteration(self.iteration, self.mean_length),
        }

    def _descend(self, observation: Tensor, action: Tensor, old_log_prob: Tensor, advantage: Tensor, returns: Tensor):
        policy = self.agent.policy(observation)
        loss = 0.5 * (self.agent.value(observation) - returns).square().mean()
        if self.iteration >= self.config.value_iterations:
            ratio = (policy.log_prob(action).sum(-1) - old_log_prob).exp()
            clipped = ratio.clamp(1 - self.config.clip, 1 + self.config.clip)
            loss = loss - torch.min(ratio * advantage, clipped * advantage).mean()
            loss = loss - self.config.entropy * policy.entropy().sum(-1).mean()
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.agent.parameters(), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise NonFiniteLoss(
                f"the gradient is not finite in iteration {self.iteration}; nothing of it was kept: go on from the "
                "last checkpoint, with a smaller learning rate if it recurs"
            )
        self.optimizer.step()

    def counts(self) -> dict[str, Any]:
        """What it counts, beside weights and optimiser, as plain values and tensors."""
        return {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "mean_length": self.mean_length,
            "length": self._length,
        }

    def recount(self, counts: dict[str, Any]) -> None:
        """Go on from what `counts` gave."""
        self.iteration, self.env_steps = counts["iteration"], counts["env_steps"]
        self.mean_length, self._length = counts["mean_length"], counts["length"].clone()

    def _adapt_learning_rate(self, divergence: float) -> None:
        group, (low, high) = self.optimizer.param_groups[0], self.config.learning_rate_range
        if divergence > self.config.kl_high:
            group["lr"] = max(group["lr"] / 1.5, low)
        elif divergence < self.config.kl_low:
            group["lr"] = min(group["lr"] * 1.3, high)


class PPOTrainer(PPO):
    """Trains an actor-critic of a teacher, with a checkpoint of its own.

    Args:
        env: environment of `config.num_envs` robots.
        config: hyperparameters.
        checkpoint: file that `save` writes and `resume` reads.
        description: plain values that a checkpoint carries along, to build the policy again.
        seed: seed of network and action noise.
    """

    agent: ActorCritic

    def __init__(
        self, env: TrainingEnv, config: PPOConfig, checkpoint: Path, description: dict[str, Any], seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        observation = env.reset()
        agent = ActorCritic(observation.shape[-1], env.action_size, config)
        agent.learn_scale(observation)
        super().__init__(env, agent, config)
        self.checkpoint, self.description = checkpoint, description

    def fit(self, iterations: int, report: Callable[[dict[str, float]], None], save_every: int = 20) -> None:
        """Train until `iterations` have been done in all, reporting metrics after each."""
        started, first_step = time.perf_counter(), self.env_steps
        while self.iteration < iterations:
            metrics = self.learn(self.collect())
            rate = (self.env_steps - first_step) / (time.perf_counter() - started)
            report({"iteration": self.iteration, "env_steps": self.env_steps, "steps_per_s": rate, **metrics})
            if self.iteration % save_every == 0 or self.iteration == iterations:
                self.save()

    def save(self) -> None:
        """Write the checkpoint; a kill leaves the old one or the new one."""
        content = {
            "description": self.description,
            "ppo": asdict(self.config),
            "agent": self.agent.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "preferred_speed": self.env.preferred_speed,
            "mean_length": self.mean_length,
            "rng": torch.get_rng_state(),
        }
        save_checkpoint(self.checkpoint, content)

    def begin_with(self, weights: dict[str, Tensor], env_steps: int) -> None:
        """Begin with the networks of an earlier training, whose steps count along."""
        self.agent.load_state_dict(weights)
        self.env_steps = env_steps

    def resume(self) -> bool:
        """Go on from the checkpoint if there is one; episodes begin anew. Returns whether there was one.

        A damaged one is set aside.

        Raises:
            BadInput: it was made with networks of another size.
        """
        if not self.checkpoint.is_file():
            return False
        try:
            content = load_checkpoint(self.checkpoint)
        except CorruptFile as error:
            os.replace(self.checkpoint, aside := self.checkpoint.with_name(self.checkpoint.name + ".damaged"))
            tell(f"{error}; set aside as {aside.name}, so the training begins anew")
            return False
        refuse_changed("ppo.", content["ppo"], asdict(self.config), ["hidden"])
        self.agent.load_state_dict(content["agent"])
        self.optimizer.load_state_dict(content["optimizer"])
        rates = [self.config.learning_rate, self.config.value_learning_rate]
        before = [content["ppo"]["learning_rate"], content["ppo"]["value_learning_rate"]]
        for group, rate, then in zip(self.optimizer.param_groups, rates, before, strict=False):
            if rate != then:  # what the user changed holds; else the rate stays as it was adapted
                group["lr"] = rate
        self.iteration, self.env_steps = content["iteration"], content["env_steps"]
        self.env.preferred_speed, self.mean_length = content["preferred_speed"], content["mean_length"]
        torch.set_rng_state(content["rng"])
        return True
