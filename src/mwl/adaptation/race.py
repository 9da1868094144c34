"""Which of several corrections is kept: each is followed by some environments, and the one with most reward wins.

A racing algorithm: Maron & Moore, Hoeffding races, 1994; Birattari et al., F-Race, 2002.
"""

import torch
from torch import Tensor, nn

from mwl.adaptation.step_profile import CERTAINTY, StepProfile


class Race(nn.Module):
    """Tries corrections side by side for hundreds of steps; the first is the experts as they are.

    Environments follow the corrections in turn, without noise: each heat of M has every correction once, and where its
    environments draw alike (`draws`, common random numbers), what one gains over the experts in that heat
    owes nothing to the luck of the start. Scores are compared at the same step of an episode, so it does not matter
    where in an episode an environment stands. A fall forfeits the rest of the race. The score is the reward, less what
    the motion is charged.

    Args:
        corrections: `[M, P]` coefficients; zeros in the first row.
        num_envs: N.
        steps: steps per environment.
        episode_steps: longest episode.
    """

    corrections: Tensor
    reward: Tensor
    score: Tensor
    step: Tensor
    fell: Tensor
    age: Tensor

    def __init__(self, corrections: Tensor, num_envs: int, steps: int, episode_steps: int) -> None:
        super().__init__()
        self.episode_steps = episode_steps
        self.register_buffer("corrections", corrections.clone())
        for name in ("reward", "score"):
            self.register_buffer(name, torch.zeros(steps, num_envs, dtype=torch.float64))
        self.register_buffer("step", torch.zeros(steps, num_envs, dtype=torch.int64))
        self.register_buffer("fell", torch.zeros(steps, num_envs, dtype=torch.bool))
        self.register_buffer("age", torch.zeros((), dtype=torch.int64))

    @property
    def follows(self) -> Tensor:
        """The correction `[N]` that each environment follows."""
        return torch.arange(self.reward.shape[1]) % len(self.corrections)

    @property
    def draws(self) -> list[int]:
        """The environment that each environment should draw like: the first of its heat, which follows the experts."""
        heats = torch.arange(self.reward.shape[1]) // len(self.corrections)
        return (heats * len(self.corrections)).tolist()

    @property
    def candidates(self) -> Tensor:
        """The coefficients `[N, P]` that each environment follows."""
        return self.corrections[self.follows]

    def observe(self, reward: Tensor, step: Tensor, terminated: Tensor, charge: Tensor | float = 0.0) -> None:
        """One step: rewards, steps since the episode began, falls, charges, each `[N]`; ignored after the last."""
        if self.age < len(self.reward):
            self.reward[self.age], self.step[self.age], self.fell[self.age] = reward.double(), step, terminated
            self.score[self.age] = reward.double() - charge
        self.age += 1

    def profile(self, correction: int) -> StepProfile:
        """Reward per step of an episode of those that follow a correction."""
        return self._profile(self.reward, correction)

    def _profile(self, earned: Tensor, correction: int) -> StepProfile:
        profile = StepProfile(self.episode_steps)
        seen, mine = min(int(self.age), len(earned)), self.follows == correction
        profile.record(earned[:seen, mine].flatten(), self.step[:seen, mine].flatten())
        return profile

    def winner(self) -> int:
        """The correction that gained most, if that is more than chance: else 0, the experts as they are.

        Where an episode's draw decides what can be earned, as a goal's distance does, one always seems best.
        """
        gain, error = self.gains()
        return int(gain.masked_fill(gain <= CERTAINTY * error, 0.0).argmax())

    def gains(self) -> tuple[Tensor, Tensor]:
        """Score per step `[M]` by which corrections exceed the experts in the same heat, and the standard error `[M]`.

        The error is that between heats; of a single heat it is taken to be none.
        """
        seen = min(int(self.age), len(self.reward))
        expected = self._profile(self.score, 0).expectation(self.step[:seen].flatten()).view(seen, -1)
        fallen = self.fell[:seen].cumsum(dim=0) - self.fell[:seen].long() > 0  # the step of the fall still counts
        gain = (torch.where(fallen, 0.0, self.score[:seen]) - expected).mean(dim=0)
        ahead = gain - gain[self.draws]
        heats = [ahead[self.follows == m] for m in range(len(self.corrections))]
        error = [heat.std() / len(heat) ** 0.5 if len(heat) > 1 else gain.new_zeros(()) for heat in heats]
        return torch.stack([heat.mean() for heat in heats]), torch.stack(error)
