"""Where a residual is learned: experts act in a changed world with a little noise, and later race each other."""

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from mwl.core import keys
from mwl.core.ranges import Count, Seed
from mwl.experts.guidance_state import GuidanceState, restarted
from mwl.rollouts.experience import Experience
from mwl.selection import Guidance
from mwl.simulation import Shift

STEPS_PER_ROUND = 40


class ActWithNoise(TensorDictModuleBase):  # type: ignore[misc]
    """Policy of the collector: the reference action, and white noise from which the effect of an action is learned.

    Args:
        guidance: what acts.
        noise: `[N, A]` standard deviation by environment and joint, changed in place by who learns.
    """

    def __init__(self, guidance: Guidance, noise: Tensor) -> None:
        super().__init__()
        self.guidance, self.noise = guidance, noise
        self.state: GuidanceState | None = None
        self.in_keys = [keys.OBSERVATION, keys.STEP_COUNT]
        self.out_keys: list[NestedKey] = [keys.ACTION]

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Add an ACTION to a batch of N observations."""
        begins = tensordict[keys.STEP_COUNT].squeeze(-1) == 0
        state = restarted(self.state, begins, self.guidance.begin) if begins.any() else self.state
        before = self.guidance.begin(len(begins)) if state is None else state
        guide, after = self.guidance.step(tensordict[keys.OBSERVATION], before)
        action = guide[keys.REFERENCE_ACTION] + self.noise * torch.randn_like(self.noise)
        tensordict[keys.ACTION] = action.clamp(-1, 1)
        self.state = self.guidance.carried_out(after, before, tensordict[keys.ACTION])
        return tensordict

    def memory(self) -> dict[str, Any]:
        """What is remembered between rounds, as plain values and tensors."""
        return {"experts": None if self.state is None else self.state._asdict()}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on where `memory` was taken."""
        self.state = None if memory["experts"] is None else GuidanceState(**memory["experts"])


class ResidualData(Experience):
    """Collects rounds in a changed world: first to learn from, then to compare.

    Args:
        task: benchmark task.
        shift: what is changed in the world, as `mwl evaluate --shift` reads it; None for nothing.
        learning_steps: environment steps in the changed world from which is learned; as many follow in which
            what was learned competes with the experts as they are: 1000 in each of twelve environments are a whole
            episode, and falls come late. Four times as many in the world as the experts know it come first, which are
            counted by themselves.
        num_envs: parallel environments N.
        seed: of the environments.
        num_threads: threads of the physics; None takes one per core.

    Raises:
        BadInput: no such shift.
    """

    def __init__(
        self,
        task: str = "h1-walk",
        shift: str | None = None,
        learning_steps: Count = 12_000,
        num_envs: Count = 12,
        seed: Seed = 0,
        num_threads: Count | None = None,
    ) -> None:
        changed = None if shift is None else Shift.parse(shift)
        self.learning_steps, self.nominal_steps = learning_steps, 4 * learning_steps
        self.race_steps = learning_steps
        steps = learning_steps + self.race_steps
        super().__init__(task, steps, num_envs, STEPS_PER_ROUND, seed, "embedded", num_threads, changed)
        self.save_hyperparameters()

    def nominal(self) -> Experience:
        """The same environments in the world as it was, not yet set up."""
        own = (self.task, self.nominal_steps, self.num_envs, STEPS_PER_ROUND, self.seed, self.suite, self.num_threads)
        return Experience(*own)

    def settings(self) -> dict[str, Any]:
        """What the environments and all that is counted in rounds depend on."""
        return {**super().settings(), "learning_steps": self.learning_steps}
