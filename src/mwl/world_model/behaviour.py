"""What acts while data are collected: experts with noise or random actions at first, then the planning agent."""

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.world_model.agent import WorldModelAgent
from mwl.world_model.exploration import HeldActions


class Behaviour(TensorDictModuleBase):  # type: ignore[misc]
    """Policy of the collector; numbers episodes and writes the experts' reference actions beside the action.

    Args:
        agent: the exploring agent.
        num_envs: N.
        action_size: A.
        warm_start: act by the experts rather than at random in the seed phase.
        noise: standard deviations of the noise on the experts' actions, rad; pairs of environments take turns.
        controls: whether some environments never plan, for plans to be compared with: those without noise go on
            following the experts; without experts every other one acts by the policy prior.
        held: random actions to explore by; None does without.

    Raises:
        BadInput: no environment would be left to plan.
    """

    def __init__(
        self,
        agent: WorldModelAgent,
        num_envs: int,
        action_size: int,
        warm_start: bool,
        noise: tuple[float, ...],
        controls: bool = False,
        held: HeldActions | None = None,
    ) -> None:
        super().__init__()
        self.agent, self.action_size = agent, action_size
        self.warm_start = warm_start and agent.guidance is not None
        self.held = held
        self.seeding = True
        self.noise = torch.tensor([noise[i // 2 % len(noise)] for i in range(num_envs)]).unsqueeze(-1)
        self.clean = self.noise.squeeze(-1) == 0
        compared = torch.arange(num_envs) % 2 == 0 if agent.guidance is None else self.clean
        self.control = compared & controls
        if self.control.all():
            raise BadInput(
                f"guidance.trust_controls leaves none of {num_envs} environments to plan, as all are to compare with; "
                "give data.num_envs of 3 or more"
            )
        self.episode = torch.zeros(num_envs, dtype=torch.int64)
        self.episodes_begun = 0
        self.in_keys = [keys.OBSERVATION, keys.STEP_COUNT]
        self.out_keys: list[NestedKey] = [keys.ACTION, keys.EPISODE]
        if agent.guidance is not None:
            self.out_keys += [keys.EXPERT_ACTION, keys.FUSED_WEIGHTS, keys.REFERENCE_ACTION]
            if agent.guidance.library.memory_size:
                self.out_keys += [keys.MEMORY, (keys.NEXT, keys.MEMORY)]

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Add EPISODE, ACTION and, under guidance, the experts' reference actions to a batch of N observations."""
        begins = tensordict[keys.STEP_COUNT].squeeze(-1) == 0
        self._number_episodes(begins)
        observation = tensordict[keys.OBSERVATION]
        if begins.any():
            self.agent.reset(begins)
        action = self._seed(observation) if self.seeding else self._plan(observation)
        if self.held is not None:
            held, random = self.held.take(begins, everywhere=self.seeding and not self.warm_start)
            action = torch.where(held.unsqueeze(-1), random, action)
        tensordict[keys.ACTION] = action
        tensordict[keys.EPISODE] = self.episode.clone()
        if self.agent.guidance is not None:
            assert self.agent.last is not None
            for key in self.out_keys[2:]:
                tensordict[key] = self.agent.last[key]
        return tensordict

    def _number_episodes(self, begins: Tensor) -> None:
        count = int(begins.sum())
        self.episode[begins] = torch.arange(self.episodes_begun, self.episodes_begun + count)
        self.episodes_begun += count

    def _plan(self, observation: Tensor) -> Tensor:
        action = self.agent.act(observation)
        if self.control.any():
            action = torch.where(self.control.unsqueeze(-1), self._without_plan(observation), action)
        return action

    def _without_plan(self, observation: Tensor) -> Tensor:
        """What plans are compared with."""
        if self.agent.guidance is None:
            with self.agent.model.autocast():
                return self.agent.by_policy(observation, None)
        assert self.agent.last is not None
        reference: Tensor = self.agent.last[keys.REFERENCE_ACTION]
        return reference.clamp(-1, 1)

    def _seed(self, observation: Tensor) -> Tensor:
        if self.agent.guidance is None:
            return torch.rand(len(observation), self.action_size) * 2 - 1
        reference = self.agent.ask_experts(observation)[keys.REFERENCE_ACTION]
        if not self.warm_start:
            return torch.rand(len(observation), self.action_size) * 2 - 1
        result: Tensor = (reference + self.noise * self.agent.planner.unit * torch.randn_like(reference)).clamp(-1, 1)
        return result

    def memory(self) -> dict[str, Any]:
        """What is remembered between rounds, as plain values and tensors."""
        return {
            "agent": self.agent.state_dict(),
            "episode": self.episode.clone(),
            "episodes_begun": self.episodes_begun,
            "seeding": self.seeding,
            "held": None if self.held is None else self.held.state_dict(),
        }

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on where `memory` was taken."""
        self.agent.load_state_dict(memory["agent"])
        self.episode = memory["episode"].clone()
        self.episodes_begun, self.seeding = int(memory["episodes_begun"]), bool(memory["seeding"])
        if self.held is not None and memory.get("held") is not None:
            self.held.load_state_dict(memory["held"])
