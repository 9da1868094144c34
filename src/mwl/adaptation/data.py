"""Where experts are tuned: what acts while candidates are compared, and how long."""

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

_STEPS_PER_ROUND = 4


class TryCandidates(TensorDictModuleBase):  # type: ignore[misc]
    """Policy of the collector: every environment acts by the experts, corrected by a candidate of its own.

    Args:
        guidance: what acts.
        candidates: `[N, P]` coefficients, changed in place by who searches.
    """

    def __init__(self, guidance: Guidance, candidates: Tensor) -> None:
        super().__init__()
        self.guidance, self.candidates = guidance, candidates
        self.state: GuidanceState | None = None
        self.in_keys = [keys.OBSERVATION, keys.STEP_COUNT]
        self.out_keys: list[NestedKey] = [keys.ACTION, keys.EXPERT_ACTION]

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Add ACTION and EXPERT_ACTION to a batch of N observations."""
        begins = tensordict[keys.STEP_COUNT].squeeze(-1) == 0
        state = restarted(self.state, begins, self.guidance.begin) if begins.any() else self.state
        guide, self.state = self.guidance.step(tensordict[keys.OBSERVATION], state, self.candidates)
        tensordict[keys.ACTION] = guide[keys.REFERENCE_ACTION].clamp(-1, 1)
        tensordict[keys.EXPERT_ACTION] = guide[keys.EXPERT_ACTION]
        return tensordict

    def memory(self) -> dict[str, Any]:
        """What is remembered between rounds, as plain values and tensors."""
        return {"experts": None if self.state is None else self.state._asdict()}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on where `memory` was taken."""
        self.state = None if memory["experts"] is None else GuidanceState(**memory["experts"])


class AdaptationData(Experience):
    """Collects rounds in which candidates are tried, then compared.

    Args:
        task: benchmark task.
        search_steps: environment steps of the search, counted over all environments.
        race_steps: environment steps after those in which what was found competes with the experts as they are.
        num_envs: parallel environments N.
        seed: of the environments.
        num_threads: threads of the physics; None takes one per core.
        shift: what is changed in the world, as `mwl evaluate --shift` reads it; None for nothing.
    """

    def __init__(
        self,
        task: str = "h1-walk",
        search_steps: Count = 28_800,
        race_steps: Count = 12_800,
        num_envs: Count = 16,
        seed: Seed = 0,
        num_threads: Count | None = None,
        shift: str | None = None,
    ) -> None:
        changed = None if shift is None else Shift.parse(shift)
        steps = search_steps + race_steps
        super().__init__(task, steps, num_envs, _STEPS_PER_ROUND, seed, "embedded", num_threads, changed)
        self.save_hyperparameters()
        self.search_steps, self.race_steps = search_steps, race_steps

    def settings(self) -> dict[str, Any]:
        """What the environments and all that is counted in rounds depend on."""
        return {**super().settings(), "search_steps": self.search_steps, "race_steps": self.race_steps}
