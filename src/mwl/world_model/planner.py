"""Model predictive path integral control in latent space, batched over environments, with experts among the candidates.

Shapes: H steps, N environments, S action sequences per environment, K experts, A actions, D latent units.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mwl.world_model.config import PlannerConfig
from mwl.world_model.learning.compiling import compiled
from mwl.world_model.network import WorldModel


class ReferenceActions(NamedTuple):
    """What the experts say at the present observations."""

    reference: Tensor  # [N, A]
    expert_action: Tensor  # [N, K, A]
    weights: Tensor  # [N, K], composed the reference and compose those of imagined states

    def to(self, device: torch.device) -> "ReferenceActions":
        """The same on another device."""
        return ReferenceActions(*(part.to(device) for part in self))


class GuidanceSwitches(NamedTuple):
    """Where the experts guide the search."""

    candidates: bool = True
    base: bool = True
    policy_base: bool = True


class MPPIPlan(NamedTuple):
    """Result of planning."""

    action: Tensor  # [N, A] to execute
    mean: Tensor  # [H, N, A] of the final distribution
    std: Tensor  # [H, N, A]
    base: Tensor  # [H, N, A] sequence the distribution was centred on at first; zeros without guidance
    value: Tensor  # [N] of the best sequence

    def to(self, device: torch.device) -> "MPPIPlan":
        """The same on another device."""
        return MPPIPlan(*(part.to(device) for part in self))


class Imagined(NamedTuple):
    """What the model expects where nothing is done about it."""

    value: Tensor  # [N, 1 + K] discounted return under the reference, and under each expert alone
    latent: Tensor  # [T + 1, N, D] along the policy prior, from the present one on


class MPPIPlanner:
    """MPPI as in TD-MPC2, with two changes that guidance needs and that vanish without it.

    The distribution is kept as a deviation from a base sequence: the reference rolled out in the model, or zeros. Last
    step's deviation, shifted by one, starts the next plan, so feedback from the experts is never a step old. And the
    search is confined to a trust region around the base: its first standard deviation is `radius`, no candidate lies
    further than two of these from the base, and last step's deviation counts by the share of the full radius. A small
    radius keeps a poor model from leading a good expert astray (elites are the best of what is drawn, however little
    better they are); it widens as the plans earn trust, and at its upper bound this is the search of TD-MPC2.

    Args:
        model: the world model.
        config: budget.
        horizon: H.
        discount: gamma.
        unit: `[A]` action per unit of radius. An action of 0.1 moves a hip by 16 degrees and an ankle by 4, so a
            radius is meant in radians; ones for actions of equal size.
        switches: where the experts guide.
        candidates: `[C, A]` actions that are tried for a whole plan, as single skills are.
    """

    def __init__(
        self,
        model: WorldModel,
        config: PlannerConfig,
        horizon: int,
        discount: float,
        unit: Tensor | None = None,
        switches: GuidanceSwitches | None = None,
        candidates: Tensor | None = None,
    ) -> None:
        self.model, self.config, self.horizon, self.discount = model, config, horizon, discount
        self.unit = torch.ones(model.action_size) if unit is None else unit
        self.switches = switches or GuidanceSwitches()
        self.candidates = torch.zeros(0, model.action_size) if candidates is None else candidates
        self._search = compiled(self._search, config.compile)  # type: ignore[method-assign]

    @torch.no_grad()
    def plan(
        self,
        latent: Tensor,
        deviation: Tensor,
        guide: ReferenceActions | None,
        radius: float,
        pick: str,
        noise: bool = False,
    ) -> MPPIPlan:
        """Plan from latents `[N, D]`.

        Args:
            latent: encoded observations, on the model's device, as everything that follows.
            deviation: `[H, N, A]` of the last plan from its base, already shifted; zeros where an episode begins.
            guide: what the experts do there; None without guidance.
            radius: first standard deviation.
            pick: `sample`, `mean` or `best` elite.
            noise: add the final standard deviation, to explore.
        """
        return self._search(latent, deviation, guide, self._widest(radius).to(latent.device), pick, noise)

    def _search(
        self, latent: Tensor, deviation: Tensor, guide: ReferenceActions | None, top: Tensor, pick: str, noise: bool
    ) -> MPPIPlan:
        """`plan` with the largest standard deviation `top` `[A]`; tensors alone change from call to call."""
        config, members = self.config, self.model.draw()
        reference, experts = self.expert_sequences(latent, guide)
        base = reference if guide is not None and self.switches.base else torch.zeros_like(deviation)
        if guide is None and config.around_policy:
            base = self._policy_sequence(latent)
        low = top * (config.min_std / config.max_std)
        around = base.unsqueeze(2)
        fixed = _within(self._fixed_candidates(latent, guide, experts), around, 2 * top)
        fixed_value = self.value(latent, fixed, members, guide)
        mean, std = base + deviation * (top / config.max_std), top.expand_as(base)
        count = max(config.samples - fixed.shape[2], 1)
        held = round(config.held * count)
        for _ in range(config.iterations):
            step = torch.randn(*mean.shape[:2], count, mean.shape[-1], device=mean.device)
            if held:
                step[:, :, :held] = step[:1, :, :held]
            step = std.unsqueeze(2) * step
            drawn = _within(mean.unsqueeze(2) + step, around, 2 * top)
            value = torch.cat([fixed_value, self.value(latent, drawn, members, guide)], dim=1)
            elite, elite_value = _elites(torch.cat([fixed, drawn], dim=2), value, config.elites)
            score = _scores(elite_value, config.temperature)
            mean, std = _moments(elite, score)
            std = std.maximum(low).minimum(top)
        action = _pick(elite[0], mean[0], elite_value, score, pick)
        if noise:
            action = action + std[0] * torch.randn_like(action)
        return MPPIPlan(action.clamp(-1, 1), mean, std, base, elite_value.amax(dim=1))

    def _widest(self, radius: float) -> Tensor:
        """Largest standard deviation `[A]` of the search, in units of action."""
        return (radius * self.unit).clamp(max=self.config.max_std)

    def trusted(self, action: Tensor, base: Tensor, radius: float) -> Tensor:
        """Actions `[..., A]` brought within the trust region around a base: two standard deviations, in [-1, 1]."""
        return _within(action, base, 2 * self._widest(radius))

    def value(self, latent: Tensor, actions: Tensor, members: Tensor, guide: ReferenceActions | None) -> Tensor:
        """Discounted return `[N, S]` the model expects of action sequences `[H, N, S, A]`.

        An imagined fall does not cut the return at a threshold but weighs what follows with the chance of standing.
        """
        envs, count = actions.shape[1:3]
        z = latent.unsqueeze(1).expand(-1, count, -1).flatten(0, 1)
        total, weight = latent.new_zeros(z.shape[0]), latent.new_ones(z.shape[0])
        for action in actions.flatten(1, 2):
            z, reward = self.model.step(z, action)
            total = total + weight * reward
            weight = weight * self.discount * torch.sigmoid(-self.model.termination_logit(z))
        last = self.model.policy(z, self.imagined_reference(z, guide)).action
        end = self.model.q(z, last, members).mean(dim=0)
        total = total + weight * end
        return total.nan_to_num(0.0).view(envs, count)

    def imagined_reference(self, z: Tensor, guide: ReferenceActions | None) -> Tensor | None:
        """Reference `[R, A]` at imagined latents `[R, D]`, R a multiple of N with environments outermost."""
        if guide is None or not self.switches.policy_base:
            return None
        repeats = z.shape[0] // guide.weights.shape[0]
        weights = guide.weights.unsqueeze(-1).repeat_interleave(repeats, dim=0)
        return (weights * self.model.expert_actions(z)).sum(dim=-2)

    def expert_sequences(self, latent: Tensor, guide: ReferenceActions | None) -> tuple[Tensor, Tensor]:
        """The reference sequence `[H, N, A]` and those of it and every expert `[H, N, 1 + K, A]`.

        The first actions come from the present observation and are exact; the later ones are predicted along the
        imagined latents.
        """
        if guide is None:
            none = latent.new_zeros(self.horizon, latent.shape[0], 0, self.model.action_size)
            return none.sum(dim=2), none
        experts = guide.expert_action.shape[1]
        sequence = [torch.cat([guide.reference.unsqueeze(1), guide.expert_action], dim=1)]
        composed = guide.weights.unsqueeze(-1).unsqueeze(1)
        single = (
            torch.eye(experts, device=latent.device).unsqueeze(-1).expand(latent.shape[0], -1, -1, composed.shape[-1])
        )
        weights = torch.cat([composed, single], dim=1)
        z = latent.unsqueeze(1).expand(-1, 1 + experts, -1)
        for _ in range(1, self.horizon):
            z = self.model.next(z, sequence[-1])
            sequence.append((weights * self.model.expert_actions(z)).sum(dim=-2))
        stacked = torch.stack(sequence)
        return stacked[:, :, 0], stacked

    def _policy_sequence(self, latent: Tensor) -> Tensor:
        """What the policy prior would do `[H, N, A]`, by its means."""
        z, actions = latent, []
        for _ in range(self.horizon):
            actions.append(self.model.policy(z).mean)
            z = self.model.next(z, actions[-1])
        return torch.stack(actions)

    def _fixed_candidates(self, latent: Tensor, guide: ReferenceActions | None, experts: Tensor) -> Tensor:
        """Sequences `[H, N, S', A]` that stay the same in all iterations: the policy's, and the experts'."""
        count = self.config.policy_samples
        sequences = [experts] if guide is not None and self.switches.candidates else []
        if count:
            z = latent.repeat_interleave(count, dim=0)
            actions = []
            for t in range(self.horizon):
                exact = guide is not None and t == 0 and self.switches.policy_base
                base = (
                    guide.reference.repeat_interleave(count, dim=0)  # type: ignore[union-attr]
                    if exact
                    else self.imagined_reference(z, guide)
                )
                actions.append(self.model.policy(z, base).action)
                if t < self.horizon - 1:
                    z = self.model.next(z, actions[-1])
            sequences.append(torch.stack(actions).unflatten(1, (latent.shape[0], count)))
        if len(self.candidates):
            shape = (self.horizon, latent.shape[0], -1, -1)
            sequences.append(self.candidates.to(latent.device).expand(*shape))
        if not sequences:
            return latent.new_zeros(self.horizon, latent.shape[0], 0, self.model.action_size)
        return torch.cat(sequences, dim=2)


def _within(action: Tensor, base: Tensor, furthest: Tensor) -> Tensor:
    """Actions `[..., A]` brought to within `furthest` `[A]` of a base, and into [-1, 1]."""
    return action.clamp((base - furthest).clamp(min=-1), (base + furthest).clamp(max=1))


def shifted(deviation: Tensor) -> Tensor:
    """The plan `[H, N, A]` as seen one step later; what lies beyond its end is zero."""
    return torch.cat([deviation[1:], torch.zeros_like(deviation[:1])])


def _elites(actions: Tensor, value: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best sequences `[H, N, E, A]` and their values `[N, E]`."""
    best = value.topk(min(count, value.shape[1]), dim=1)
    index = best.indices[None, :, :, None].expand(len(actions), -1, -1, actions.shape[-1])
    return actions.gather(2, index), best.values


def _scores(value: Tensor, temperature: float) -> Tensor:
    """Weights `[N, E]`, sum 1; subtracting the best value first keeps the exponential finite."""
    return (temperature * (value - value.amax(dim=1, keepdim=True))).softmax(dim=1)


def _moments(elite: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation `[H, N, A]` of elites `[H, N, E, A]` with scores `[N, E]`."""
    weight = score.unsqueeze(-1)
    mean = (weight * elite).sum(dim=2)
    return mean, (weight * (elite - mean.unsqueeze(2)).square()).sum(dim=2).sqrt()


def _pick(first: Tensor, mean: Tensor, value: Tensor, score: Tensor, pick: str) -> Tensor:
    """First action `[N, A]` of the mean, of the best elite, or of one drawn by score, from `[N, E, A]`."""
    if pick == "mean":
        return mean
    index = value.argmax(dim=1) if pick == "best" else torch.multinomial(score, 1).squeeze(1)
    return first[torch.arange(first.shape[0], device=first.device), index]
