"""The smallest environment in which there is something to learn: a dial that pays best at half way up."""

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

STEPS = 10


class Dial(EnvBase):
    """Pays 1 less the distance of the action to 0.5; shows signs that mean nothing."""

    max_episode_steps = STEPS

    def __init__(self) -> None:
        super().__init__(device="cpu")
        self.observation_spec = Composite(sign=Unbounded((1,)))
        self.action_spec = Bounded(-1.0, 1.0, (1,))
        self.reward_spec = Unbounded((1,))
        self.done_spec = Composite({key: Binary(1, (1,), dtype=torch.bool) for key in ("done", "terminated")})
        self.generator = torch.Generator()

    def _set_seed(self, seed: int | None) -> None:
        self.generator.manual_seed(seed or 0)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDict:
        over = torch.zeros(1, dtype=torch.bool)
        sign = torch.randint(2, (1,), generator=self.generator) * 2.0 - 1
        return TensorDict({"sign": sign, "done": over, "terminated": over.clone()})

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        return self._reset().set("reward", 1 - (tensordict["action"] - 0.5).abs())
