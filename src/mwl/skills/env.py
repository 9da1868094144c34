"""Any task at the rate of decisions: a TorchRL environment whose actions are skills and commands, held for a while."""

from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.simulation import HumanoidEnv
from mwl.simulation.task import TaskSpec
from mwl.skills.control import SkillControl
from mwl.skills.space import SkillSpace


class SkillEnv(EnvBase):
    """N episodes of a task in which one step is a decision, held for several control steps of 20 ms.

    Observation `[N, O]` is the task's own, with what the agent remembers (`SkillSpace.observed`). The reward `[N, 1]`
    of a decision is the sum over its control steps. An episode that ends while a decision is held earns nothing more,
    and shows the observation in which it ended; a true end is `terminated`, the time limit `truncated`. `SkillControl`
    says who acts within a decision.

    Args:
        env: the task, as `mwl.make_env` makes it.
        space: the skills.
        hold: control steps for which a decision holds.

    Raises:
        BadInput: a hold below one step.
    """

    def __init__(self, env: HumanoidEnv, space: SkillSpace, hold: int = 10) -> None:
        if hold < 1:
            raise BadInput(f"hold is {hold}; a decision holds for at least one control step")
        super().__init__(device="cpu", batch_size=env.batch_size)
        self.env, self.space, self.hold = env, space, hold
        count = env.num_envs
        self.decisions = torch.zeros(count, dtype=torch.int64)
        self.control_steps, self._restored = 0, False
        self.control = SkillControl(space, count)
        self._now = torch.zeros(count, env.task.layout.size)
        self.layout = space.observed(env.task.layout)
        flag = {"shape": (count, 1), "dtype": torch.bool}
        self.observation_spec = Composite(
            {
                keys.OBSERVATION: Unbounded(shape=(count, self.layout.size), dtype=torch.float32),
                keys.STEP_COUNT: Unbounded(shape=(count, 1), dtype=torch.int64),
            },
            shape=(count,),
        )
        self.action_spec = Bounded(-1.0, 1.0, shape=(count, space.size), dtype=torch.float32)
        self.reward_spec = Unbounded(shape=(count, 1), dtype=torch.float32)
        self.done_spec = Composite(
            {key: Binary(n=1, **flag) for key in (keys.DONE, keys.TERMINATED, keys.TRUNCATED)}, shape=(count,)
        )

    @property
    def task(self) -> TaskSpec:
        """What to do."""
        return self.env.task

    @property
    def num_envs(self) -> int:
        """N."""
        return self.env.num_envs

    @property
    def max_decisions(self) -> int:
        """Decisions in an episode that ends by the time limit."""
        return -(-self.task.max_episode_steps // self.hold)

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the task as well."""
        super().close(raise_if_closed=raise_if_closed)
        self.env.close(raise_if_closed=False)

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides how the episodes go on, as plain tensors, numbers and lists."""
        own = {"decisions": self.decisions.clone(), "observation": self._now.clone()}
        return {"env": self.env.snapshot(), "control": self.control.snapshot(), "steps": self.control_steps, **own}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot: the next full reset returns its states instead of beginning new episodes.

        Raises:
            BadInput: it was taken of another number of environments, task or library.
        """
        self.control.restore(snapshot["control"])
        self.env.restore(snapshot["env"])
        self.decisions, self._now = snapshot["decisions"].clone(), snapshot["observation"].clone()
        self.control_steps, self._restored = int(snapshot["steps"]), True

    def _set_seed(self, seed: int | None) -> None:
        self.env.set_seed(seed)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDict:
        mask = torch.ones(self.num_envs, dtype=torch.bool)
        if tensordict is not None and (chosen := tensordict.get("_reset", None)) is not None:
            mask = chosen.reshape(self.num_envs)
        begun = self.env.reset(TensorDict({"_reset": mask.unsqueeze(-1)}, batch_size=self.batch_size))
        if self._restored and mask.all():
            self._restored = False
        else:
            self.control.reset(mask)
            self.decisions = self.decisions.masked_fill(mask, 0)
        self._now = torch.where(mask.unsqueeze(-1), begun[keys.OBSERVATION], self._now)
        return self._observed()

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        self.control.decide(self.space.decode(tensordict.get(keys.ACTION).detach().cpu()))
        earned = torch.zeros(self.num_envs, dtype=torch.float64)
        terminated, truncated = torch.zeros(2, self.num_envs, dtype=torch.bool)
        for _ in range(self.hold):
            running = ~(terminated | truncated)
            if not running.any():
                break
            action = self.control.act(self._now, self.task.layout)
            outcome = self.env.world.step(self.env.world.valid_action(action.numpy()))
            reached = torch.from_numpy(self.env.world.observation())
            self._now = torch.where(running.unsqueeze(-1), reached, self._now)
            reward = torch.from_numpy(outcome.reward) * running
            self.control.remember(reward.float())
            earned += reward
            terminated |= torch.from_numpy(outcome.terminated) & running
            truncated |= torch.from_numpy(outcome.truncated) & running
            self.control_steps += int(running.sum())
        self.decisions = self.decisions + 1
        flags = {keys.TERMINATED: terminated, keys.TRUNCATED: truncated, keys.DONE: terminated | truncated}
        return self._observed(
            **{keys.REWARD: earned.float().unsqueeze(-1)}, **{key: flag.unsqueeze(-1) for key, flag in flags.items()}
        )

    def _observed(self, **more: Tensor) -> TensorDict:
        entries = {
            keys.OBSERVATION: self.control.observed(self._now).clone(),
            keys.STEP_COUNT: self.decisions.unsqueeze(-1).clone(),
            **{key: torch.zeros(self.num_envs, 1, dtype=torch.bool) for key in _FLAGS if key not in more},
            **more,
        }
        return TensorDict(entries, batch_size=self.batch_size, device=self.device)


_FLAGS = (keys.DONE, keys.TERMINATED, keys.TRUNCATED)
