"""Agents as TorchRL sees policies: a module from one TensorDict to the same with an action in it."""

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase

from mwl.core import keys
from mwl.rollouts.episodes import Agent


class AgentPolicy(TensorDictModuleBase):  # type: ignore[misc]
    """Any agent as the `policy=` of a collector or of `env.rollout`.

    Reads `observation` `[N, O]` and `step_count` `[N, 1]`, and writes `action` `[N, A]`. Where the count is 0, an
    episode begins, and the agent forgets the one before.

    Args:
        agent: what acts.
    """

    in_keys = (keys.OBSERVATION, keys.STEP_COUNT)
    out_keys = (keys.ACTION,)

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Add the action."""
        observation = tensordict[keys.OBSERVATION]
        begins = tensordict[keys.STEP_COUNT].reshape(-1) == 0
        if begins.any():
            self.agent.reset(None if begins.all() else begins)
        return tensordict.set(keys.ACTION, self.agent.act(observation))
