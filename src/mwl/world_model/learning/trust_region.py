"""How far plans may leave the experts: a standard deviation that has to be earned."""

import torch
from torch import Tensor

from mwl.adaptation.step_profile import CERTAINTY, StepProfile
from mwl.training.host import HostModule

_FALL_COSTS = 200  # steps of the experts' reward that a fall is held to forfeit, at most what is left of the episode
_SHRINKAGE = 0.5
_SMALLEST = 0.1  # of the first radius; from nothing it could not recover


class TrustRegion(HostModule):
    """The planner's first standard deviation around the reference, widened while plans earn what the experts do.

    During the warm start the reward of the experts is recorded, per step since the episode began, in environments
    without noise. Later the reward of planned steps is compared with it, window by window: where it is reached up to a
    tolerance for exploration, the radius grows, else it is halved. Experts that do poorly are overtaken at once and the
    radius soon is that of unguided search; experts that do well hold the plans near while the model is still poor.
    Nothing bounds the radius below that of unguided search, so guidance is a start and no ceiling. What is handed over
    is the radius that was last accepted.

    Where reward grows along an episode, the rewards of a warm start that saw only its beginning are no
    measure of what follows. Then some environments have to go on following the experts, as controls. As a few of them
    may be lucky or not in what their episodes drew, plans then have to hold their own by more than chance.

    Without experts the policy prior takes their place. As it gets better all the time, controls alone measure it.

    Args:
        episode_steps: longest episode.
        num_envs: N.
        initial: first radius, rad.
        largest: radius of unguided search.
        growth: factor per window that earned trust.
        window: steps per environment in a window.
        tolerance: share of the reward that may be missing.
    """

    radius: Tensor
    last_accepted: Tensor
    lead: Tensor
    expected: Tensor
    steps: Tensor

    def __init__(
        self,
        episode_steps: int,
        num_envs: int,
        *,
        initial: float,
        largest: float,
        growth: float,
        window: int,
        tolerance: float,
    ) -> None:
        super().__init__()
        self.episode_steps, self.initial, self.largest = episode_steps, initial, largest
        self.growth, self.window, self.tolerance = growth, window, tolerance
        for name in ("radius", "last_accepted"):
            self.register_buffer(name, torch.tensor(float(initial), dtype=torch.float64))
        self.reference = StepProfile(episode_steps)
        for name in ("lead", "expected"):
            self.register_buffer(name, torch.zeros(num_envs, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def lambda_scale(self) -> float:
        """First radius over the present one: 1 at the start, towards 0 as trust is earned, above 1 where it is lost."""
        return self.initial / float(self.radius)

    def observe(self, reward: Tensor, step: Tensor, terminated: Tensor, control: Tensor | None = None) -> None:
        """Compare planned steps with the experts.

        Args:
            reward, step, terminated: rewards, steps since the episode began, falls, each `[N]`.
            control: where the experts acted, bool `[N]`; None where they nowhere did.
        """
        if control is None:
            control = torch.zeros_like(terminated)
        self.reference.record(reward[control], step[control])
        expected = self.reference.expectation(step)
        rest = (self.episode_steps - 1 - step).clamp(0, _FALL_COSTS)
        self.lead += reward.double() - expected - terminated * rest * expected
        self.expected += expected
        self.steps += 1
        if self.steps < self.window:
            return
        slack = self.tolerance * self.expected[~control].mean().abs()
        held = bool(self._certain_lead(control) >= -slack)
        if held:
            self.last_accepted.copy_(self.radius)
        self.radius.mul_(self.growth if held else _SHRINKAGE).clamp_(min=_SMALLEST * self.initial, max=self.largest)
        for total in (self.lead, self.expected, self.steps):
            total.zero_()
        self.last_accepted.clamp_(max=float(self.radius))

    def _certain_lead(self, control: Tensor) -> Tensor:
        """What plans earned in this window more than the experts; with controls, the low end of what is likely."""
        planned, controls = self.lead[~control], self.lead[control]
        if len(controls) == 0:
            return planned.mean()
        error = sum(group.var() / len(group) for group in (planned, controls) if len(group) > 1)
        return planned.mean() - controls.mean() - CERTAINTY * torch.as_tensor(error).sqrt()
