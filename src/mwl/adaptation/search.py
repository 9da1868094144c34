"""Evolutionary search of an action correction while acting: every environment tries a candidate."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from mwl.adaptation.jerk import JerkCost
from mwl.adaptation.race import Race
from mwl.adaptation.step_profile import StepProfile
from mwl.core.errors import BadInput
from mwl.core.ranges import NonNegative, Positive, Whole
from mwl.robot.joint_mirror import joint_mirror
from mwl.rollouts.experience import EnvSpec
from mwl.selection import Guidance
from mwl.selection.action_correction import ActionCorrection
from mwl.training.cmaes import Evolution
from mwl.training.host import HostModule

_SETTLING = 0.2  # share of a window in which what the candidate before left behind still shows
_SMALLEST_POPULATION = 4
_STAGES = 3  # a search may move on from what was good to what breaks after a window has ended; earlier stages compete
_AFTERMATH = 0.2  # share by which windows of the start phase are longer than it, to see what it leads to


@dataclass(frozen=True)
class SearchConfig:
    """How a correction is searched, and what it is charged for."""

    window: Annotated[int, Ge(5)] = 100
    """Steps for which an environment tries a candidate."""
    step_size: Positive = 0.5
    """First standard deviation of the search, in units of its coefficients."""
    start_phase: Whole = 0
    """Steps from the beginning of an episode that have a correction of their own, as starting differs from going on; 0
    corrects all steps alike."""
    start_steps: Whole = 13_440
    """Of the steps of the search those in which the start phase is searched, first."""
    start_step_size: Positive = 0.6
    """First standard deviation of that search."""
    alone: bool = False
    """The gate has no say meanwhile: others that act in between hide what a candidate earns, though they also catch
    falls."""
    mirrored: bool = True
    """Left and right share coefficients; for a task whose left and right differ, as at a door, they should not."""
    jerk_weight: NonNegative = 0.0
    """What a candidate is charged per step for the mean square jerk of its joints: this much, in units of reward, where
    it is the experts' own, and in proportion; 0: nothing."""

    def __post_init__(self) -> None:
        if 0 < self.start_phase < 5:
            raise BadInput(f"search.start_phase is {self.start_phase}; it must be 0 or at least 5")


class CorrectionSearch(HostModule):
    """Runs an evolutionary search of an `ActionCorrection`, one candidate per environment and window, then a race.

    In the first window the experts act as they are. Candidates are compared with what was earned so far at the same
    step of an episode, so that it does not matter where in an episode one is tried. A candidate that falls earns
    nothing for the rest of its window. As windows are short and some harm shows late, the means of the search after
    each third of it then race, from new episodes on, against the experts as they are, see `Race`; the best is kept.

    Where the start phase has coefficients of its own they are searched first, in windows that begin new episodes from a
    start that all candidates share: what they score then owes nothing to luck, and few windows show the way. The main
    phase is searched after that, with what was found, which also races without it.

    Args:
        correction: what is searched; zero at first.
        num_envs: N.
        episode_steps: longest episode.
        steps: steps per environment of the search.
        window: steps for which a candidate is tried.
        step_size: of the search.
        race_steps: steps per environment of the race.
        jerk_weight: what the mean square jerk of the joints costs per step, in units of reward, where it is the
            experts'.
        joints: number J of joints whose velocities are shown; needed for that.
        start_search_steps: of the steps per environment, those in which the start phase is searched, where it
            has coefficients.
        start_search_step_size: of that search.

    Attributes:
        waits: whether all environments have to `begin_start_phase` before the search goes on.
        racing: whether the race has begun.

    Raises:
        BadInput: too few environments for a generation, or too few steps for a search.
    """

    candidates: Tensor
    windows: Tensor
    age: Tensor
    waits: Tensor
    racing: Tensor
    score: Tensor
    fell: Tensor

    def __init__(
        self,
        correction: ActionCorrection,
        num_envs: int,
        episode_steps: int,
        *,
        steps: int,
        window: int,
        step_size: float,
        race_steps: int,
        jerk_weight: float = 0.0,
        joints: int = 0,
        start_search_steps: int = 0,
        start_search_step_size: float = 0.6,
    ) -> None:
        super().__init__()
        if num_envs < _SMALLEST_POPULATION:
            raise BadInput(f"the search needs data.num_envs of at least {_SMALLEST_POPULATION}, not {num_envs}")
        stages, off = min(_STAGES, num_envs - 1), correction.start_phase
        self.first_window = round((1 + _AFTERMATH) * off) if off else window
        first_windows = start_search_steps // self.first_window if off else 1
        if first_windows < 2 and off:
            raise BadInput(
                f"search.start_steps gives each of {num_envs} environments {start_search_steps} steps; at "
                f"least {2 * self.first_window} are needed for the experts and one candidate of the start phase for "
                f"{self.first_window} steps each"
            )
        rest, self.main_stages = steps - first_windows * self.first_window, stages - (off > 0)
        if rest // window < self.main_stages:
            raise BadInput(
                f"data.search_steps gives each of {num_envs} environments {steps} steps; at least "
                f"{first_windows * self.first_window + self.main_stages * window} are needed for the experts"
                f"{', the start phase' if off else ''} and {self.main_stages} candidates of {window} steps each"
            )
        size = len(correction.coefficients)
        self.correction, self.window = correction, window
        self.start_generations, self.generations = first_windows - 1, rest // window
        self.jerk_weight = jerk_weight
        self.jerk_cost = JerkCost(num_envs, joints) if jerk_weight > 0 else None
        self.evolution = Evolution(correction.size, num_envs, step_size)
        self.start_phase = Evolution(correction.size, num_envs, start_search_step_size) if off else None
        self.profile = StepProfile(episode_steps)
        self.race = Race(torch.zeros(1 + stages, size), num_envs, max(race_steps, 1), episode_steps)
        self.register_buffer("candidates", torch.zeros(num_envs, size))
        self.register_buffer("score", torch.zeros(num_envs, dtype=torch.float64))
        self.register_buffer("fell", torch.zeros(num_envs, dtype=torch.bool))
        self.register_buffer("waits", torch.tensor(False))
        self.register_buffer("racing", torch.tensor(False))
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
        first, in_start_phase = bool(self.windows == 0), self._in_start_phase
        reward = reward - self._charge(joint_velocity, step, learning=first)
        self.profile.record(reward, step)  # of candidates too: some experts earn less the longer an episode lasts
        if first:
            share = 1 / (1 + int(self.age))
            self.correction.mean_action.lerp_(expert_action.mean(dim=0), share)
        elif in_start_phase or self.age >= _SETTLING * self.window:
            expected = self.profile.expectation(step)
            self.score += torch.where(self.fell, -expected, reward.double() - expected)
        self.fell |= terminated
        self.age += 1
        if self.age >= (self.first_window if first or in_start_phase else self.window):
            self._end_window(in_start_phase)

    @property
    def _in_start_phase(self) -> bool:
        """Whether candidates of the start phase are tried in this window."""
        return self.start_phase is not None and 0 < int(self.windows) <= self.start_generations

    def begin_start_phase(self) -> list[int]:
        """All environments begin new episodes now, to try candidates of the start phase.

        Returns:
            The environment that each should draw its start like.
        """
        self.waits.fill_(False)
        return [0] * len(self.candidates)

    def _end_window(self, in_start_phase: bool) -> None:
        if self.windows > 0:
            (self.start_phase if in_start_phase and self.start_phase is not None else self.evolution).tell(self.score)
            self._enter_race(int(self.windows) - self.start_generations)
        self.windows += 1
        self.waits.fill_(self._in_start_phase)
        if self.start_phase is None:
            self.candidates.copy_(self.evolution.ask())
        elif self._in_start_phase:
            asked = self.start_phase.ask()
            self.candidates.copy_(torch.cat([torch.zeros_like(asked), asked], dim=-1))
        else:
            asked = self.evolution.ask()
            self.candidates.copy_(torch.cat([asked, self.start_phase.mean.expand_as(asked)], dim=-1))
        for total in (self.score, self.fell, self.age):
            total.zero_()

    def _enter_race(self, generation: int) -> None:
        """Where a stage of the search ends, its mean enters the race; `generation` counts those of the main phase."""
        stages, coefficients = self.main_stages, self.evolution.mean
        before = len(self.race.corrections) - 1 - stages
        if self.start_phase is not None:
            coefficients = torch.cat([coefficients, self.start_phase.mean])
            if generation == 0:
                self.race.corrections[before] = coefficients
        for stage in range(1, stages + 1):
            if generation == stage * self.generations // stages:
                self.race.corrections[before + stage] = coefficients

    def begin_race(self) -> list[int]:
        """The search is over; from now on the environments follow what it found at its stages, or the experts.

        Returns:
            The environment that each should draw like, see `Race.draws`.
        """
        self.racing.fill_(True)
        self.candidates.copy_(self.race.candidates)
        return self.race.draws

    def compete(self, reward: Tensor, step: Tensor, terminated: Tensor, joint_velocity: Tensor | None = None) -> None:
        """One step of the race: rewards, steps since the episode began, falls `[N]`, joint velocities `[N, J]`."""
        self.race.observe(reward, step, terminated, self._charge(joint_velocity, step))

    def _charge(self, joint_velocity: Tensor | None, step: Tensor, *, learning: bool = False) -> Tensor | float:
        """What the motion of a step costs, `[N]`; the experts' own is the unit while `learning`."""
        if self.jerk_cost is None or joint_velocity is None:
            return 0.0
        return self.jerk_weight * self.jerk_cost.observe(joint_velocity, step, learning=learning)

    def report(self) -> dict[str, Any]:
        """How the race ended, for the record: gains in score per step by stage of the search, and who won."""
        gain, error = self.race.gains()
        return {"gains": gain[1:].tolist(), "errors": error[1:].tolist(), "kept_stage": self.race.winner()}

    def decide(self) -> StepProfile:
        """Keep what earned most in the race; returns the reward per step of what is followed from now on."""
        winner = self.race.winner()
        self.correction.coefficients.copy_(self.race.corrections[winner])
        self.candidates.copy_(self.correction.coefficients.expand_as(self.candidates))
        return self.race.profile(winner)


def make_search(
    guidance: Guidance, config: SearchConfig, num_envs: int, spec: EnvSpec, steps: int, race_steps: int
) -> tuple[Guidance, CorrectionSearch]:
    """Correct the actions of the experts that the instruction weighs most; where the gate alone decides, of all alike.

    Args:
        guidance: whose experts.
        config: how they are searched, and what is charged.
        num_envs: N.
        spec: of the environment.
        steps: environment steps of the search.
        race_steps: environment steps of the race.

    Returns:
        the guidance with the correction that is searched, and the search.

    Raises:
        BadInput: motion is charged on a task that shows no joints; no single expert leads that could act alone; or see
            `CorrectionSearch`.
    """
    if config.jerk_weight > 0 and spec.layout is None:
        raise BadInput(f"search.jerk_weight needs a task with a robot's joints, which {spec.task} lacks")
    weights = guidance.semantic_weights
    chosen = torch.ones(guidance.num_experts, dtype=torch.bool)
    if isinstance(weights, Tensor):
        chosen = weights == weights.max()
    if config.alone and (leading := int(chosen.sum())) > 1:
        raise BadInput(
            f"search.alone needs one expert that the instruction weighs most; {leading} of the experts "
            f"{', '.join(guidance.library.names)} weigh the same"
        )
    mirror = joint_mirror() if spec.layout is not None and config.mirrored else None
    correction = ActionCorrection(chosen, torch.tensor(spec.unit), mirror, config.start_phase)
    search = CorrectionSearch(
        correction,
        num_envs,
        spec.episode_steps,
        steps=steps // num_envs,
        window=config.window,
        step_size=config.step_size,
        race_steps=race_steps // num_envs,
        jerk_weight=config.jerk_weight,
        joints=spec.action_size,
        start_search_steps=config.start_steps // num_envs,
        start_search_step_size=config.start_step_size,
    )
    return replace(guidance, correction=correction), search
