"""The baselines' experience: who acts, and what is kept of it."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModuleBase

from mwl.baselines.agent import BaselineAgent
from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.core.ranges import Count, Seed
from mwl.rollouts.experience import Experience
from mwl.world_model.learning.replay import Replay


class Behaviour(TensorDictModuleBase):  # type: ignore[misc]
    """Policy of the collector: random actions at first, then the agent; numbers episodes.

    Args:
        agent: the exploring agent.
        num_envs: N.
        action_size: A.
    """

    def __init__(self, agent: BaselineAgent, num_envs: int, action_size: int) -> None:
        super().__init__()
        self.agent, self.action_size = agent, action_size
        self.seeding = True
        self.episode = torch.zeros(num_envs, dtype=torch.int64)
        self.in_keys = [keys.OBSERVATION, keys.STEP_COUNT]
        self.out_keys: list[NestedKey] = [keys.ACTION, keys.EPISODE]

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Add EPISODE and ACTION to a batch of N observations."""
        begins, observation = tensordict[keys.STEP_COUNT].squeeze(-1) == 0, tensordict[keys.OBSERVATION]
        if begins.any():
            self.episode[begins] = self.episode.max() + 1 + torch.arange(int(begins.sum()))
            self.agent.reset(begins)
        random = torch.rand(len(observation), self.action_size) * 2 - 1
        tensordict[keys.ACTION] = random if self.seeding else self.agent.act(observation)
        tensordict[keys.EPISODE] = self.episode.clone()
        return tensordict

    def memory(self) -> dict[str, Any]:
        """What is remembered between rounds, as plain values and tensors."""
        return {"episode": self.episode.clone(), "seeding": self.seeding, "agent": self.agent.state_dict()}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on where `memory` was taken."""
        self.episode, self.seeding = memory["episode"].clone(), bool(memory["seeding"])
        self.agent.load_state_dict(memory["agent"])


class BaselineData(Experience):
    """Collects one round of experience at a time.

    Args:
        task: benchmark task, or an environment of another package, see `mwl.rollouts.external`.
        env_steps: environment steps of the whole training, counted over all environments.
        num_envs: parallel environments N.
        steps_per_round: steps k of every environment in a round.
        capacity: transitions kept in the replay buffer; methods that learn from a round alone keep none.
        seed: of the environments.
        suite: see `mwl.make_env`.
        num_threads: threads of the physics; None takes one per core.
    """

    def __init__(
        self,
        task: str = "h1-walk",
        env_steps: Count = 1_000_000,
        num_envs: Count = 1,
        steps_per_round: Count = 1,
        capacity: Count = 1_000_000,
        seed: Seed = 0,
        suite: Literal["embedded", "humanoid_bench"] = "embedded",
        num_threads: Count | None = None,
    ) -> None:
        super().__init__(task, env_steps, num_envs, steps_per_round, seed, suite, num_threads)
        self.save_hyperparameters()
        self.capacity = min(capacity, self.total_rounds * self.frames_per_round)
        self.replay: Replay | None = None
        self.behaviour: Behaviour | None = None

    def connect(self, behaviour: Behaviour) -> None:
        """Say what acts."""
        self.behaviour = self.policy = behaviour

    def keep(self, steps: int, batch_size: int) -> Replay:
        """Keep what is collected, to be drawn as slices of so many steps; returns the replay buffer.

        Raises:
            BadInput: it never holds as many steps of an episode as are drawn at once.
        """
        kept, longest = max(self.capacity // self.num_envs, 1), self.spec.episode_steps
        if min(kept, longest) < steps:
            raise BadInput(
                f"{steps} steps of an episode are drawn at once, but of each of {self.num_envs} environments {kept} "
                f"are kept (data.capacity and data.env_steps over data.num_envs), and an episode has {longest}"
            )
        self.replay = Replay(self.capacity, self.num_envs, steps, batch_size)
        return self.replay

    def state_dict(self) -> dict[str, Any]:
        """Environment, behaviour and what is kept, as plain values and tensors."""
        kept = {} if self.replay is None else {"replay": self.replay.state_dict()}
        return {**super().state_dict(), **kept}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; environments that can't be restored begin new episodes."""
        super().load_state_dict(state_dict)
        if self.replay is not None and state_dict:
            self.replay.load_state_dict(state_dict["replay"])
