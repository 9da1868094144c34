"""Tuning experts to a task while acting: every environment tries a variant, and the better ones are followed."""

from typing import Any

import torch
from torch import Tensor, nn

from mwl.errors import BadInput
from mwl.experts.evolution import Evolution
from mwl.gating import Guidance
from mwl.gating.tuning import Tuning
from mwl.motion.symmetry import joint_mirror
from mwl.world_model.config import GuidanceConfig
from mwl.world_model.data import EnvSpec
from mwl.world_model.race import Race
from mwl.world_model.roughness import Roughness
from mwl.world_model.trust import StepProfile

_SETTLING = 0.2  # share of a window in which what the variant before left behind still shows
_SMALLEST_POPULATION = 4
_STAGES = 3  # a search may move on from what was good to what breaks after a window has ended; earlier stages compete


class Tuner(nn.Module):
    """Runs an evolutionary search of a `Tuning`, one candidate per environment and window, then a race.

    In the first window the experts act as they are. Candidates are compared with what was earned so far at the same
    step of an episode, so that it does not matter where in an episode one is tried. A candidate that falls earns
    nothing for the rest of its window. As windows are short and some harm shows late, the means of the search after
    each third of it then race, from new episodes on, against the experts as they are, see `Race`; the best is kept.

    Args:
        tuning: what is searched; zero at first.
        num_envs: N.
        episode_steps: longest episode.
        steps: steps per environment of the search.
        window: steps for which a candidate is tried.
        step_size: of the search.
        race_steps: steps per environment of the race.
        smoothness: what the mean square jerk of the joints costs per step, in units of reward where it is the experts'.
        joints: number J of joints whose velocities are shown; needed for that.

    Raises:
        BadInput: too few environments for a generation, or too few steps for a search.
    """

    variants: Tensor
    windows: Tensor
    age: Tensor
    score: Tensor
    fell: Tensor

    def __init__(
        self,
        tuning: Tuning,
        num_envs: int,
        episode_steps: int,
        *,
        steps: int,
        window: int,
        step_size: float,
        race_steps: int,
        smoothness: float = 0.0,
        joints: int = 0,
    ) -> None:
        super().__init__()
        if num_envs < _SMALLEST_POPULATION:
            raise BadInput(
                f"guidance.tune_steps needs data.num_envs of at least {_SMALLEST_POPULATION}, not {num_envs}"
            )
        stages = min(_STAGES, num_envs - 1)
        if steps // window < 1 + stages:
            raise BadInput(
                f"guidance.tune_steps gives each of {num_envs} environments {steps} steps; at least "
                f"{(1 + stages) * window} are needed for the experts and {stages} variants of {window} steps each"
            )
        size = len(tuning.numbers)
        self.tuning, self.window, self.generations = tuning, window, steps // window - 1
        self.smoothness = smoothness
        self.roughness = Roughness(num_envs, joints) if smoothness > 0 else None
        self.evolution = Evolution(size, num_envs, step_size)
        self.profile = StepProfile(episode_steps)
        self.race = Race(torch.zeros(1 + stages, size), num_envs, max(race_steps, 1), episode_steps)
        self.register_buffer("variants", torch.zeros(num_envs, size))
        self.register_buffer("score", torch.zeros(num_envs, dtype=torch.float64))
        self.register_buffer("fell", torch.zeros(num_envs, dtype=torch.bool))
        for name in ("windows", "age"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def observe(
        self,
        reward: Tensor,
        step: Tensor,
        terminated: Tensor,
        expert_action: Tensor,
        joint_velocity: Tensor | None = None,
    ) -> None:
        """One step of the search.

        Args:
            reward, step, terminated: rewards, steps since the episode began, falls, each `[N]`.
            expert_action: `[N, K, A]`.
            joint_velocity: after the step, rad/s, `[N, J]`; None where motion costs nothing.
        """
        first = bool(self.windows == 0)
        reward = reward - self._charge(joint_velocity, step, learning=first)
        self.profile.record(reward, step)  # of variants too: some experts earn less the longer an episode lasts
        if first:
            share = 1 / (1 + int(self.age))
            self.tuning.centre.lerp_(expert_action.mean(dim=0), share)
        elif self.age >= _SETTLING * self.window:
            expected = self.profile.expectation(step)
            self.score += torch.where(self.fell, -expected, reward.double() - expected)
        self.fell |= terminated
        self.age += 1
        if self.age >= self.window:
            self._end_window()

    def _end_window(self) -> None:
        if self.windows > 0:
            self.evolution.tell(self.score)
            self._enter_race(int(self.windows))
        self.variants.copy_(self.evolution.ask())
        for total in (self.score, self.fell, self.age):
            total.zero_()
        self.windows += 1

    def _enter_race(self, generation: int) -> None:
        """Where a stage of the search ends, its mean enters the race."""
        stages = len(self.race.tunings) - 1
        for stage in range(1, stages + 1):
            if generation == stage * self.generations // stages:
                self.race.tunings[stage] = self.evolution.mean

    def begin_race(self) -> list[int]:
        """The search is over; from now on the environments follow what it found at its stages, or the experts.

        Returns:
            The environment that each should draw like, see `Race.draws`.
        """
        self.variants.copy_(self.race.variants)
        return self.race.draws

    def compete(self, reward: Tensor, step: Tensor, terminated: Tensor, joint_velocity: Tensor | None = None) -> None:
        """One step of the race: rewards, steps since the episode began, falls `[N]`, joint velocities `[N, J]`."""
        self.race.observe(reward, step, terminated, self._charge(joint_velocity, step))

    def _charge(self, joint_velocity: Tensor | None, step: Tensor, *, learning: bool = False) -> Tensor | float:
        """What the motion of a step costs, `[N]`; the experts' own is the unit while `learning`."""
        if self.roughness is None or joint_velocity is None:
            return 0.0
        return self.smoothness * self.roughness.observe(joint_velocity, step, learning=learning)

    def report(self) -> dict[str, Any]:
        """How the race ended, for the record: gains in score per step by stage of the search, and who won."""
        gain, error = self.race.gains()
        return {"gains": gain[1:].tolist(), "errors": error[1:].tolist(), "kept_stage": self.race.winner()}

    def decide(self) -> StepProfile:
        """Keep what earned most in the race; returns the reward per step of what is followed from now on."""
        winner = self.race.winner()
        self.tuning.numbers.copy_(self.race.tunings[winner])
        self.variants.copy_(self.tuning.numbers.expand_as(self.variants))
        return self.race.profile(winner)


def make_tuner(guidance: Guidance, config: GuidanceConfig, num_envs: int, spec: EnvSpec, unit: Tensor) -> Tuner:
    """Let the experts that the instruction weighs most be tuned; where the gate alone decides, all of them alike.

    Args:
        guidance: whose experts; it gets the tuning.
        config: how long, and what is charged.
        num_envs: N.
        spec: of the environment.
        unit: `[A]` action per radian.

    Raises:
        BadInput: motion is charged on a task that shows no joints; or see `Tuner`.
    """
    if config.tune_smoothness > 0 and spec.layout is None:
        raise BadInput(f"guidance.tune_smoothness needs a task with a robot's joints, which {spec.task} lacks")
    weights = guidance.semantic_weights
    chosen = torch.ones(guidance.num_experts, dtype=torch.bool) if weights is None else weights == weights.max()
    mirror = joint_mirror() if spec.layout is not None and config.tune_mirrored else None
    guidance.tuning = Tuning(chosen, unit, mirror)
    return Tuner(
        guidance.tuning,
        num_envs,
        spec.episode_steps,
        steps=config.tune_steps // num_envs,
        window=config.tune_window,
        step_size=config.tune_step_size,
        race_steps=config.race_steps // num_envs,
        smoothness=config.tune_smoothness,
        joints=spec.action_size,
    )
