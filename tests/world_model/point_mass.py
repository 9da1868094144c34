"""A point mass on a line of two dimensions, batched: the smallest world with falls, time limits and a good expert."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch import Callback
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from mwl.core import keys
from mwl.experts.features import Layout
from mwl.experts.guidance_state import GuidanceState
from mwl.selection import Guidance
from mwl.world_model.data import DecisionSpec, WorldModelData
from mwl.world_model.module import WorldModelModule

EPISODE_STEPS = 50
EDGE = 1.5  # beyond it the mass has fallen off


class PointMass(EnvBase):
    """Hold a mass at the origin; reward `exp(-4 |x|^2)`, an end at the edge, truncation after 50 steps.

    Observation `[N, 4]` is position and velocity; the action `[N, 2]` accelerates it by 0.1 per step.
    """

    def __init__(self, num_envs: int, seed: int = 0) -> None:
        super().__init__(device="cpu", batch_size=[num_envs])
        flag: dict[str, Any] = {"shape": (num_envs, 1), "dtype": torch.bool}
        self.observation_spec = Composite(
            {
                keys.OBSERVATION: Unbounded(shape=(num_envs, 4)),
                keys.STEP_COUNT: Unbounded(shape=(num_envs, 1), dtype=torch.int64),
            },
            shape=(num_envs,),
        )
        self.action_spec = Bounded(-1.0, 1.0, shape=(num_envs, 2), dtype=torch.float32)
        self.reward_spec = Unbounded(shape=(num_envs, 1))
        self.done_spec = Composite(
            {key: Binary(n=1, **flag) for key in (keys.DONE, keys.TERMINATED, keys.TRUNCATED)}, shape=(num_envs,)
        )
        self.state = torch.zeros(num_envs, 4)
        self.steps = torch.zeros(num_envs, dtype=torch.int64)
        self.restored = False
        self.set_seed(seed)

    def _set_seed(self, seed: int | None) -> None:
        self.generator = torch.Generator().manual_seed(seed or 0)

    def _observed(self) -> TensorDict:
        count = self.batch_size[0]
        entries = {keys.OBSERVATION: self.state.clone(), keys.STEP_COUNT: self.steps.unsqueeze(-1).clone()}
        for key in (keys.DONE, keys.TERMINATED, keys.TRUNCATED):
            entries[key] = torch.zeros(count, 1, dtype=torch.bool)
        return TensorDict(entries, batch_size=self.batch_size)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        if self.restored:
            self.restored = False
            return self._observed()
        mask = torch.ones(self.batch_size[0], dtype=torch.bool)
        if tensordict is not None and (chosen := tensordict.get("_reset", None)) is not None:
            mask = chosen.squeeze(-1)
        start = torch.rand(len(mask), 2, generator=self.generator) * 1.6 - 0.8
        self.state = torch.where(mask.unsqueeze(-1), torch.cat([start, torch.zeros_like(start)], -1), self.state)
        self.steps = self.steps.masked_fill(mask, 0)
        return self._observed()

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        velocity = 0.9 * self.state[:, 2:] + 0.1 * tensordict[keys.ACTION].clamp(-1, 1)
        self.state = torch.cat([self.state[:, :2] + velocity, velocity], dim=-1)
        self.steps = self.steps + 1
        out = self._observed()
        out[keys.REWARD] = torch.exp(-4 * self.state[:, :2].square().sum(-1, keepdim=True))
        out[keys.TERMINATED] = (self.state[:, :2].abs() > EDGE).any(-1, keepdim=True)
        out[keys.TRUNCATED] = ~out[keys.TERMINATED] & (self.steps >= EPISODE_STEPS).unsqueeze(-1)
        out[keys.DONE] = out[keys.TERMINATED] | out[keys.TRUNCATED]
        return out

    def snapshot(self) -> dict[str, Tensor]:
        return {"state": self.state.clone(), "steps": self.steps.clone(), "generator": self.generator.get_state()}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        self.state, self.steps = snapshot["state"].clone(), snapshot["steps"].clone()
        self.generator.set_state(snapshot["generator"])
        self.restored = True


class Library:
    """Names of the toy's experts, and how often they were asked."""

    names: ClassVar = ["good", "bad"]
    num_experts = 2
    memory_size = 0
    experts: ClassVar[list[Any]] = []


class ToyGuidance:
    """A good expert (proportional-derivative control) and a bad one (full thrust away); follows the named one."""

    def __init__(self, follow: str = "good") -> None:
        self.library, self.gate, self.num_experts = Library(), None, 2
        self.weights = torch.tensor({"good": [1.0, 0.0], "bad": [0.0, 1.0], "both": [0.5, 0.5]}[follow])
        self.calls = 0
        self.semantic_weights = self.weights

    def begin(self, count: int) -> GuidanceState:
        return GuidanceState.begin(torch.zeros(count, 0))

    def with_weights(self, weights: Tensor) -> "ToyGuidance":
        told = ToyGuidance()
        told.weights = told.semantic_weights = weights
        return told

    def step(self, observation: Tensor, state: GuidanceState | None = None) -> tuple[TensorDict, GuidanceState]:
        return self.reference(observation), self.begin(len(observation))

    def reference(self, observation: Tensor, memory: Tensor | None = None, age: Tensor | None = None) -> TensorDict:
        self.calls += 1
        position, velocity = observation[..., :2], observation[..., 2:]
        good = (-3 * position - 9 * velocity).clamp(-1, 1)
        experts = torch.stack([good, torch.sign(position)], dim=-2)
        return TensorDict(
            {
                keys.EXPERT_ACTION: experts,
                keys.FUSED_WEIGHTS: self.weights.expand(len(observation), -1),
                keys.REFERENCE_ACTION: (self.weights.unsqueeze(-1) * experts).sum(dim=-2),
            },
            batch_size=[len(observation)],
        )


class PacingLibrary:
    """One expert, which paces up and down by counting its own steps; it remembers the count."""

    names: ClassVar = ["pace"]
    num_experts, memory_size = 1, 1
    experts: ClassVar = [SimpleNamespace(spec=SimpleNamespace(name="pace"), manifest={})]

    def initial_memory(self, count: int) -> Tensor:
        return torch.zeros(count, 1)

    def step(
        self, observation: Tensor, layout: Layout | None, memory: Tensor, commands: None = None
    ) -> tuple[Tensor, Tensor]:
        action = (0.2 * memory).sin().expand(-1, 2) - observation[:, :2]
        return action.clamp(-1, 1).unsqueeze(1), memory + 1


class PacingGuidance(Guidance):
    """Of a point mass, which has no joints for a correction to look at."""

    def _ask_experts(
        self,
        observation: Tensor,
        memory: Tensor,
        age: Tensor | None,
        coefficients: Tensor | None,
        commands: object,
    ) -> tuple[Tensor, Tensor]:
        action, after = self.library.step(observation, None, memory=memory)
        if self.correction is None:
            return action, after
        return self.correction(action, None, coefficients, age), after


class ToyData(WorldModelData):
    """Rounds in the toy world."""

    def make_env(self) -> tuple[EnvBase, DecisionSpec]:
        return PointMass(self.num_envs, self.seed), DecisionSpec("point-mass", 4, 2, EPISODE_STEPS, None, (1.0, 1.0))


class ToyModule(WorldModelModule):
    """The world model with the toy's experts."""

    follow = "good"

    def make_guidance(self) -> Any:
        return ToyGuidance(self.follow) if self.guiding.enabled else None


class StopAfter(Callback):
    """Saves after a number of rounds and ends the process of learning there, as a kill would."""

    def __init__(self, rounds: int, path: Path) -> None:
        self.rounds, self.path = rounds, path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.datamodule.rounds == self.rounds:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.path)
            raise InterruptedError
