"""Carries an instruction through an episode: plans it, follows the plan, looks again and plans anew."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from mwl.core.errors import BadInput, NoSkillFits
from mwl.semantics.head import Clause, SemanticHead
from mwl.semantics.plan.sequencer import Decision, Sequencer, SequencerConfig

if TYPE_CHECKING:
    from mwl.simulation.task import ObservationLayout

Look = Callable[[], Any]


class LanguagePlanner(Protocol):
    """Splits an instruction; the semantic head does, and so does a language model."""

    def plan(self, text: str, frame: Any = None, before: Sequence[Clause] = ()) -> list[Clause]:
        """The steps of an instruction in order, after those `before`, which "faster" or "come back" speak of."""
        ...


@dataclass(frozen=True)
class DirectorConfig:
    """When to look at the scene again.

    Args:
        look_every: control steps between two looks, 50 per second; 0 looks once, at the beginning. A look takes some
            30 ms, so it has no place in every control step.
        changed: distance (1 - cosine of embeddings) from the picture last planned on that makes it another scene.
    """

    look_every: int = 100
    changed: float = 0.3


class Director:
    """Weights of an instruction over an episode; with several environments all follow it, each at its own place.

    Args:
        head: understands words and pictures.
        instruction: in plain words.
        look: gives a picture `[H, W, 3]` uint8 of the scene as it is now.
        planner: makes the plan; None leaves that to the head.
        config: when to look again.
        sequencer: when a step is over.
        skills: those that somebody can carry out; a picture that calls for another changes nothing. None: all.
        check: refuses a plan that nobody can carry out from its step `begun` on, by raising `BadInput`.

    Raises:
        NoSkillFits: a step of the instruction fits no skill.
    """

    def __init__(
        self,
        head: SemanticHead,
        instruction: str,
        look: Look,
        planner: LanguagePlanner | None = None,
        config: DirectorConfig | None = None,
        sequencer: SequencerConfig | None = None,
        skills: Collection[str] | None = None,
        check: Callable[[list[Clause], int], None] = lambda plan, begun: None,
    ) -> None:
        self.skills, self._check, self._step = skills, check, 0
        self.head, self.look, self.config = head, look, config or DirectorConfig()
        self.planner: LanguagePlanner = planner or head
        frame = look()
        self._planned_on = head.look(frame)
        plan = self.planner.plan(instruction, frame)
        self._check(plan, 0)
        self.sequencer = Sequencer(plan, sequencer)

    @property
    def plan(self) -> list[Clause]:
        """The steps as they stand now."""
        return self.sequencer.plan

    @property
    def clause(self) -> Clause:
        """The step at work."""
        place = (self.sequencer.place or [0])[0]
        return self.plan[min(place, len(self.plan) - 1)]

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.sequencer.finished

    @property
    def decisions(self) -> list[Decision]:
        """What was decided, when and why."""
        return self.sequencer.decisions

    def update(self, observation: Tensor, layout: "ObservationLayout", step: int, seen: Tensor | None = None) -> Tensor:
        """Weights `[N, K]` that hold now, for observations `[N, O]` at a control step (`[K]` for one, `[O]`).

        `seen` `[N, O]` is what progress is judged by, where that is their mirror image.
        """
        self._step = step
        if step and self.config.look_every and step % self.config.look_every == 0 and not self.finished:
            self._look_again(step)
        return self.sequencer.update(observation, layout, step, seen)

    def tell(self, text: str) -> list[Clause]:
        """Take over new words at once, in the middle of an episode; the steps that they ask for.

        The step at work becomes one that was `replaced`, and the words may refer to it: "faster", "come back".

        Raises:
            NoSkillFits, BadInput: nobody can do that; what was at work goes on.
        """
        before = self.plan[: self.sequencer.place[0] + 1] if self.sequencer.place else []
        frame = self.look()
        try:
            told = self.planner.plan(text, frame, before)
            self._check([*before, *told], len(before))
        except BadInput as refusal:
            self.sequencer.note(self._step, f"told {text!r}, which is refused: {refusal}")
            raise
        self._planned_on = self.head.look(frame)
        self.sequencer.replan([*before, *told], len(before), self._step, f"told {text!r}", "replaced")
        return told

    def _look_again(self, step: int) -> None:
        """Plan anew what was left to the picture, where the scene has become another."""
        place = self.sequencer.place[0]
        open_steps = [index for index, clause in enumerate(self.plan) if clause.seen and index >= place]
        if not open_steps:
            return
        frame = self.look()
        seen = self.head.look(frame)
        distance = 1 - float(seen @ self._planned_on)
        if distance < self.config.changed:
            return
        self._planned_on = seen
        reason = f"the scene changed (distance {distance:.2f})"
        try:
            plan = self._renewed(open_steps[0], frame)
        except NoSkillFits:
            self.sequencer.replan(self.plan, place, step, f"{reason}: no skill fits it, the plan stays")
            return
        if unable := self._unable(plan):
            self.sequencer.replan(self.plan, place, step, f"{reason}: nobody can {unable}, the plan stays")
            return
        self.sequencer.replan(plan, min(place, open_steps[0]), step, f"{reason}: planned anew")

    def _unable(self, plan: list[Clause]) -> str:
        """A skill of the plan that nobody can carry out, or nothing."""
        wanted = [max(clause.weights, key=clause.weights.__getitem__) for clause in plan]
        return next((skill for skill in wanted if self.skills is not None and skill not in self.skills), "")

    def _renewed(self, index: int, frame: Any) -> list[Clause]:
        """The plan with the steps that one "go on" gave, from `index` on, replaced by what the picture calls for."""
        words = self.plan[index].seen
        end = index
        while end < len(self.plan) and self.plan[end].seen == words:
            end += 1
        return [*self.plan[:index], *self.head.plan(words, frame), *self.plan[end:]]
