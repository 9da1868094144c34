"""Tuning experts to a task while acting: every environment tries a variant, and the better ones are followed."""

from typing import Any

import torch
from torch import Tensor

from mwl.core.errors import BadInput
from mwl.core.host import HostModule
from mwl.experts.finetuning.cmaes import Evolution
from mwl.robot.symmetry import joint_mirror
from mwl.selection import Guidance
from mwl.selection.action_correction import Tuning
from mwl.world_model.adaptation.jerk import Roughness
from mwl.world_model.adaptation.race import Race
from mwl.world_model.adaptation.trust_region import StepProfile
from mwl.world_model.config import GuidanceConfig
from mwl.world_model.data import EnvSpec

_SETTLING = 0.2  # share of a window in which what the variant before left behind still shows
_SMALLEST_POPULATION = 4
_STAGES = 3  # a search may move on from what was good to what breaks after a window has ended; earlier stages compete
_AFTERMATH = 0.2  # share by which windows of setting off are longer than that, to see what it leads to


class Tuner(HostModule):
    """Runs an evolutionary search of a `Tuning`, one candidate per environment and window, then a race.

    In the first window the experts act as they are. Candidates are compared with what was earned so far at the same
    step of an episode, so that it does not matter where in an episode one is tried. A candidate that falls earns
    nothing for the rest of its window. As windows are short and some harm shows late, the means of the search after
    each third of it then race, from new episodes on, against the experts as they are, see `Race`; the best is kept.

    Where setting off has numbers of its own they are searched first, in windows that begin new episodes from a start
    that all candidates share: what they score then owes nothing to luck, and few windows show the way. Going on is
    searched after that, with what was found, which also races without it.

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
        setting_off_steps: of the steps per environment, those in which setting off is searched, where it is tuned.
        setting_off_step_size: of that search.

    Attributes:
        waits: whether all environments have to `set_off` before the search goes on.

    Raises:
        BadInput: too few environments for a generation, or too few steps for a search.
    """

    variants: Tensor
    windows: Tensor
    age: Tensor
    waits: Tensor
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
        setting_off_steps: int = 0,
        setting_off_step_size: float = 0.6,
    ) -> None:
        super().__init__()
        if num_envs < _SMALLEST_POPULATION:
            raise BadInput(
                f"guidance.tune_steps needs data.num_envs of at least {_SMALLEST_POPULATION}, not {num_envs}"
            )
        stages, off = min(_STAGES, num_envs - 1), tuning.setting_off
        self.first_window = round((1 + _AFTERMATH) * off) if off else window
        first_windows = setting_off_steps // self.first_window if off else 1
        if first_windows < 2 and off:
            raise BadInput(
                f"guidance.tune_setting_off_steps gives each of {num_envs} environments {setting_off_steps} steps; at "
                f"least {2 * self.first_window} are needed for the experts and one variant that sets off for "
                f"{self.first_window} steps each"
            )
        rest, self.going_on_stages = steps - first_windows * self.first_window, stages - (off > 0)
        if rest // window < self.going_on_stages:
            raise BadInput(
                f"guidance.tune_steps gives each of {num_envs} environments {steps} steps; at least "
                f"{first_windows * self.first_window + self.going_on_stages * window} are needed for the experts"
                f"{', setting off' if off else ''} and {self.going_on_stages} variants of {window} steps each"
            )
        size = len(tuning.numbers)
        self.tuning, self.window = tuning, window
        self.setting_off_generations, self.generations = first_windows - 1, rest // window
        self.smoothness = smoothness
        self.roughness = Roughness(num_envs, joints) if smoothness > 0 else None
        self.evolution = Evolution(tuning.size, num_envs, step_size)
        self.setting_off = Evolution(tuning.size, num_envs, setting_off_step_size) if off else None
        self.profile = StepProfile(episode_steps)
        self.race = Race(torch.zeros(1 + stages, size), num_envs, max(race_steps, 1), episode_steps)
        self.register_buffer("variants", torch.zeros(num_envs, size))
        self.register_buffer("score", torch.zeros(num_envs, dtype=torch.float64))
        self.register_buffer("fell", torch.zeros(num_envs, dtype=torch.bool))
        self.register_buffer("waits", torch.tensor(False))
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
        if self.waits:
            return
        first, sets_off = bool(self.windows == 0), self._sets_off
        reward = reward - self._charge(joint_velocity, step, learning=first)
        self.profile.record(reward, step)  # of variants too: some experts earn less the longer an episode lasts
        if first:
            share = 1 / (1 + int(self.age))
            self.tuning.centre.lerp_(expert_action.mean(dim=0), share)
        elif sets_off or self.age >= _SETTLING * self.window:
            expected = self.profile.expectation(step)
            self.score += torch.where(self.fell, -expected, reward.double() - expected)
        self.fell |= terminated
        self.age += 1
        if self.age >= (self.first_window if first or sets_off else self.window):
            self._end_window(sets_off)

    @property
    def _sets_off(self) -> bool:
        """Whether candidates for setting off are tried in this window."""
        return self.setting_off is not None and 0 < int(self.windows) <= self.setting_off_generations

    def set_off(self) -> list[int]:
        """All environments begin new episodes now, to try how candidates set off.

        Returns:
            The environment that each should draw its start like.
        """
        self.waits.fill_(False)
        return [0] * len(self.variants)

    def _end_window(self, sets_off: bool) -> None:
        if self.windows > 0:
            (self.setting_off if sets_off and self.setting_off is not None else self.evolution).tell(self.score)
            self._enter_race(int(self.windows) - self.setting_off_generations)
        self.windows += 1
        self.waits.fill_(self._sets_off)
        if self.setting_off is None:
            self.variants.copy_(self.evolution.ask())
        elif self._sets_off:
            tried = self.setting_off.ask()
            self.variants.copy_(torch.cat([torch.zeros_like(tried), tried], dim=-1))
        else:
            tried = self.evolution.ask()
            self.variants.copy_(torch.cat([tried, self.setting_off.mean.expand_as(tried)], dim=-1))
        for total in (self.score, self.fell, self.age):
            total.zero_()

    def _enter_race(self, generation: int) -> None:
        """Where a stage of the search ends, its mean enters the race; `generation` counts those of going on."""
        stages, numbers = self.going_on_stages, self.evolution.mean
        before = len(self.race.tunings) - 1 - stages
        if self.setting_off is not None:
            numbers = torch.cat([numbers, self.setting_off.mean])
            if generation == 0:
                self.race.tunings[before] = numbers
        for stage in range(1, stages + 1):
            if generation == stage * self.generations // stages:
                self.race.tunings[before + stage] = numbers

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
        BadInput: motion is charged on a task that shows no joints; no single expert leads that could act alone; or see
            `Tuner`.
    """
    if config.tune_smoothness > 0 and spec.layout is None:
        raise BadInput(f"guidance.tune_smoothness needs a task with a robot's joints, which {spec.task} lacks")
    weights = guidance.semantic_weights
    chosen = torch.ones(guidance.num_experts, dtype=torch.bool) if weights is None else weights == weights.max()
    if config.tune_alone and (leading := int(chosen.sum())) > 1:
        raise BadInput(
            f"guidance.tune_alone needs one expert that the instruction weighs most; {leading} of the experts "
            f"{', '.join(guidance.library.names)} weigh the same"
        )
    mirror = joint_mirror() if spec.layout is not None and config.tune_mirrored else None
    guidance.tuning = Tuning(chosen, unit, mirror, config.tune_setting_off)
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
        setting_off_steps=config.tune_setting_off_steps // num_envs,
        setting_off_step_size=config.tune_setting_off_step_size,
    )
