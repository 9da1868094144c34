"""Acting on the experts' reference actions alone, without planning: the baseline that guidance is measured against."""

from collections.abc import Mapping

from tensordict import TensorDict
from torch import Tensor

from mwl.core import keys
from mwl.experts.guidance_state import GuidanceState, restarted
from mwl.selection.guidance import Guidance, retold


class ExpertAgent:
    """Executes the reference action; with all weight on one expert, that is this expert.

    Args:
        guidance: experts and how to weigh them.

    Attributes:
        commands: what experts are told from now on, `[N, C]` by name; None leaves it to the task or their default.
    """

    def __init__(self, guidance: Guidance) -> None:
        self.guidance = guidance
        self.state: GuidanceState | None = None
        self.commands: Mapping[str, Tensor] | None = None
        self.last: TensorDict | None = None

    def __repr__(self) -> str:
        return f"ExpertAgent({self.guidance!r})"

    def reset(self, done: Tensor | None = None) -> None:
        """Begin new episodes where `done` `[N]` holds; None: everywhere."""
        self.state = restarted(self.state, done, self.guidance.begin)

    def set_weights(self, weights: Mapping[str, float] | Tensor | None) -> None:
        """Follow another instruction from the next step on, see `Guidance.with_weights`."""
        self.guidance, self.state = retold(self.guidance, self.state, weights)

    def leave_out(self, part: str) -> None:
        """Go on without a part, see `Guidance.without`."""
        self.guidance = self.guidance.without(part)

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Action `[N, A]` in [-1, 1] at observations `[N, O]`; without batch dimension likewise."""
        if observation.ndim == 1:
            return self.act(observation.unsqueeze(0), step).squeeze(0)
        self.last, self.state = self.guidance.step(observation, self.state, commands=self.commands)
        action: Tensor = self.last[keys.REFERENCE_ACTION]
        self.last[keys.ACTION] = action
        return action
