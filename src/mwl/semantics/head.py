"""The semantic head: an instruction, and perhaps a picture, in; weights over the experts or a refusal out."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mwl._places import find
from mwl.core.artifact import read_checkpoint, read_manifest
from mwl.core.errors import BadInput, NoSkillFits
from mwl.core.files import shown
from mwl.robot import CONTROL_HZ
from mwl.semantics.cards import Card
from mwl.semantics.encoders.towers import SENTENCE, ClipEncoder, make_encoder
from mwl.semantics.head_checkpoint import Calibration, StoredHead, adapter_of, encoder_of, read_stored
from mwl.semantics.language import clauses
from mwl.semantics.language.grammar import shipped_grammar
from mwl.semantics.language.mentions import asks_for_words
from mwl.semantics.language.negation import REST, asks_to_stop, without_negation
from mwl.semantics.language.parameters import START, Parameters, Parsed, belongs, parse
from mwl.semantics.language.recipes import Recipe, load_recipes
from mwl.semantics.network import WordAdapter
from mwl.semantics.refusal import OWNERS, Refusal
from mwl.semantics.shipped import COMMANDED, commanded_cards, shipped_cards, verbs

STAGE = "semantic"
EMBEDDED, REFUSAL = "embedded", "refusal"
SHIPPED = (EMBEDDED, SENTENCE)  # names of the head in data/semantics
MAX_CHARACTERS = 400
MAX_REMEMBERED = 20_000  # texts, and groups of them such as the phrases of a card
MAX_STEPS = 180_000  # control steps, an hour
TARGETS = {"door": "at_door", "target": "at_goal"}  # predicates by what a clause goes to
PER_LOG_ODDS = 0.05  # of confidence: log-odds of the learned refusal on the scale of cosines
LEAST_COLOURS = 16  # of a scene, whose light makes shades; a drawing or a plain ground has two or three
POINTS = 0.85  # cosine to a phrase such as "go on" from which words without a picture say nothing
SAME_WORDS = 0.97  # cosine from which an instruction is a phrase of a card
RECIPE_CLOSENESS = 0.85  # cosine from which an instruction counts as the wording of a recipe


@dataclass(frozen=True)
class Clause:
    """One step of an instruction.

    Args:
        text: its words.
        weights: over the experts, summing to 1.
        until: the progress predicate that ends it (see `mwl.semantics.plan.progress`).
        steps: control steps after which it ends; 0 leaves that to who follows the plan.
        recipe: name of the recipe it comes from, if from one.
        seen: the words, such as "go on", that left it to a picture; empty where the words themselves decided.
        parameters: how fast, which way, how far, with which hand.
        when: the predicate, `not` before one that is denied, without which it is passed over.
        inserted: whether it is there for the sake of the next one, and not asked for.
    """

    text: str
    weights: Mapping[str, float] = field(default_factory=dict)
    until: str = "never"
    steps: int = 0
    recipe: str = ""
    seen: str = ""
    parameters: Parameters = field(default_factory=Parameters)
    when: str = ""
    inserted: bool = False


class SemanticHead:
    """Weights of an instruction over whatever cards it was given.

    Args:
        encoder: CLIP.
        calibration: see there.
        background: phrases that ask for no skill, against which an instruction is held before it is refused.
        deictic: phrases such as "go on" which leave it to the picture what is meant.
        adapter: map on the text embeddings; None leaves them as the text tower makes them.
        picture_adapter: the same for pictures, where the image tower is not trained itself.
    """

    notice: str = ""
    """What the user should know about this head, such as that it stands in for a better one."""
    refusal: Refusal | None = None
    """Learned from sentences that people wrote, on the embeddings of the built-in encoder; None goes by cards alone."""

    def __init__(
        self,
        encoder: ClipEncoder,
        calibration: Calibration,
        background: Sequence[str] = (),
        deictic: Sequence[str] = (),
        adapter: WordAdapter | None = None,
        picture_adapter: WordAdapter | None = None,
    ) -> None:
        self.adapter, self.picture_adapter = adapter, picture_adapter
        self._adapted: dict[str, Tensor] = {}
        self._stacked: dict[tuple[str, ...], Tensor] = {}
        self._judged: dict[tuple[str, Calibration, Refusal | None], tuple[Tensor, float | None]] = {}
        self.encoder, self.calibration = encoder, calibration
        self.background, self.deictic = list(background), list(deictic)
        self.cards: list[Card] = []
        self.commanded: tuple[str, ...] = ()
        self.recipes: list[Recipe] = []
        self._knowing: Refusal | None = None  # what was learned, and these cards

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "embedded",
        encoder: ClipEncoder | str | None = None,
        pretrained: str | None = None,
    ) -> "SemanticHead":
        """Load a head.

        Args:
            name_or_path: `embedded` (or `sentence`) for the shipped one with the cards of the shipped experts, or the
                artifact of a fitted one with the cards it was fitted with; `set_cards` replaces them.
            encoder, pretrained: the CLIP that a folder was fitted on, where it is not the built-in one, as the stage's
                `clip` and `pretrained` named it; None takes `MWL_ENCODER` and `MWL_ENCODER_WEIGHTS`. It is never taken
                from the folder, which is data.

        Raises:
            MissingFile, CorruptFile, SpecMismatch: the folder is incomplete, damaged or of another stage.
            BadInput: the folder was fitted on a CLIP that the user has not named.
            MissingDependency: the sentence encoder is not installed.
        """
        name = str(name_or_path)
        folder = find(f"data/semantics/{EMBEDDED}") if name in SHIPPED else Path(name)
        read_manifest(folder, stage=STAGE)
        stored = read_stored(read_checkpoint(folder), shown(folder))
        if stored.clip != SENTENCE:
            encoder = encoder or os.environ.get("MWL_ENCODER")
            pretrained = pretrained or os.environ.get("MWL_ENCODER_WEIGHTS")
        own = make_encoder(encoder, pretrained) if isinstance(encoder, str) else encoder
        head = cls.from_stored(stored, own, shown(folder))
        head.recipes = load_recipes(find("data/semantics/recipes.yaml"))
        if stored.clip == SENTENCE and (refusal := find(f"data/semantics/{REFUSAL}")).is_dir():
            head.refusal = Refusal.load(refusal)
        if name in SHIPPED and (cards := shipped_cards()):
            head.set_cards(cards, tuple(COMMANDED))
        return head

    @classmethod
    def from_stored(cls, stored: StoredHead, own: ClipEncoder | None = None, where: str = "head") -> "SemanticHead":
        """The head of a checkpoint's parts; `own` is the user's encoder, for a head on a CLIP that is not built in.

        Raises:
            BadInput, SpecMismatch: the encoder is missing, or parts do not fit each other.
        """
        encoder = encoder_of(stored, own, where)
        adapter = adapter_of(stored.adapter, encoder, f"{where} adapter")
        picture_adapter = adapter_of(stored.picture_adapter, encoder, f"{where} picture_adapter")
        head = cls(encoder, stored.calibration, stored.background, stored.deictic, adapter, picture_adapter)
        head.set_cards(stored.cards)
        return head

    def to_plain(
        self, clip: str, pretrained: str | None = None, image_tower: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        """Plain tensors and values, for `read_stored` to read again; with `image_tower` if it was trained."""
        cards = [{"name": c.name, "description": c.description, "paraphrases": list(c.paraphrases)} for c in self.cards]
        return {
            "hyper_parameters": {
                "clip": clip,
                "pretrained": pretrained,
                "encoder": self.encoder.identity,
                "image_size": self.encoder.image_size,
                "calibration": asdict(self.calibration),
                "phrases": {"background": list(self.background), "deictic": list(self.deictic)},
                "cards": cards,
            },
            "state_dict": {name: _half(tensor) for name, tensor in (image_tower or {}).items()},
            "adapter": _plain(self.adapter),
            "picture_adapter": _plain(self.picture_adapter),
        }

    @property
    def names(self) -> list[str]:
        """Names of the experts in the order of K, and behind them those that the grammar alone asks for."""
        return [*(card.name for card in self.cards), *self.commanded]

    def set_cards(self, cards: Sequence[Card], commanded: Sequence[str] = ()) -> None:
        """Weigh these experts from now on; nothing is trained again.

        Args:
            cards: by which an instruction is weighed.
            commanded: skills without a card among them, which the verbs of the grammar ask for (see `parse`).

        Raises:
            BadInput: no card, or two of one name.
        """
        cards = list(cards)
        if not cards or len({card.name for card in cards}) != len(cards):
            raise BadInput("the semantic head needs at least one card, and names that differ")
        self.cards, self._judged, self._knowing = cards, {}, None
        self.commanded = tuple(name for name in commanded if name not in {card.name for card in cards})

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings `[T, E]` of texts, adapted; each is computed once and remembered."""
        together = tuple(texts)
        if (stacked := self._stacked.get(together)) is not None:
            return stacked
        if len(self._adapted) > MAX_REMEMBERED or len(self._stacked) > MAX_REMEMBERED:
            self._adapted, self._stacked = {}, {}
        if new := [text for text in dict.fromkeys(texts) if text not in self._adapted]:
            raw = self.encoder.texts(new)
            self._adapted.update(zip(new, raw if self.adapter is None else self.adapter(raw), strict=True))
        self._stacked[together] = torch.stack([self._adapted[text] for text in texts])
        return self._stacked[together]

    def card_embeddings(self) -> Tensor:
        """Mean embedding of each card's phrases `[K, E]`, unit norm."""
        means = torch.stack([self.embed(card.phrases).mean(0) for card in self.cards])
        return torch.nn.functional.normalize(means, dim=-1)

    def scores(self, text: str) -> Tensor:
        """Closeness `[K]` of an instruction to each card: half its nearest phrase, half their mean."""
        embedded = self.embed([text])[0]
        nearest = torch.stack([(self.embed(card.phrases) @ embedded).max() for card in self.cards])
        return (nearest + self.card_embeddings() @ embedded) / 2

    def closeness(self, text: str) -> float:
        """Best score of an instruction, less its closeness to phrases that ask for no skill."""
        best = float(self.scores(text).max())
        if self.background:
            around = self.embed(self.background) @ self.embed([text])[0]
            best -= self.calibration.background * float(around.topk(3).values.mean())
        return best

    def confidence(self, text: str) -> float:
        """How far an instruction is from being refused; the calibrated threshold is zero.

        Skills of which sentences were learned are judged by these, others by their cards' phrases set against them.
        """
        if self._asks_for_words(text):
            return -1.0  # farther than scores get
        logits, margin = self._logits(text)
        best = self.names[int(logits.argmax())]
        if any(shipped_grammar().opposes(text, label) for label in OWNERS.get(best, ())):
            return -1.0
        if margin is None:
            return self.closeness(text) - self.calibration.refusal
        embedded = self.embed([text])[0]
        nearest = max(float((self.embed(card.phrases) @ embedded).max()) for card in self.cards)
        return max(PER_LOG_ODDS * margin, nearest - SAME_WORDS)

    def _logits(self, text: str) -> tuple[Tensor, float | None]:
        """Logits `[K]` of the skills, and the margin of the learned refusal, if there is one."""
        known = text, self.calibration, self.refusal
        if known not in self._judged:
            self._judged = {} if len(self._judged) > MAX_REMEMBERED else self._judged
            logits, margin = self.scores(text) / self.calibration.temperature, None
            if self.refusal is not None:
                if self._knowing is None:
                    self._knowing = self.refusal.knowing(self.cards, self.encoder.texts)
                margin, said = self._knowing.of_cards(
                    text, self.encoder.texts([text])[0], self.names[: len(self.cards)]
                )
                logits = logits + said
            self._judged[known] = logits, margin
        return self._judged[known]

    @torch.no_grad()
    def look(self, frame: Any) -> Tensor:
        """Unit embedding `[E]` of a picture `[H, W, 3]` uint8."""
        pixels = torch.from_numpy(np.array(np.asarray(frame)[..., :3])).unsqueeze(0)
        seen = self.encoder.pictures(pixels)[0]
        return seen if self.picture_adapter is None else self.picture_adapter(seen)

    def picture_scores(self, frame: Any) -> Tensor:
        """Closeness `[K]` of a picture to each card."""
        return self.card_embeddings() @ self.look(frame)

    def is_deictic(self, text: str, least: float = 0.6) -> bool:
        """Whether an instruction such as "go on" leaves it to the scene what is meant."""
        if not self.deictic or asks_to_stop(text):
            return False
        embedded = self.embed([text])[0]
        pointing = float((self.embed(self.deictic) @ embedded).max())
        return pointing > least and pointing > float(self.scores(text).max())

    def weights(self, text: str, frame: Any = None) -> dict[str, float]:
        """Weights of an instruction over the experts, summing to 1 (eq. 2).

        Args:
            text: one instruction.
            frame: picture `[H, W, 3]` uint8 of the scene, or None. It decides where the words leave it open.

        Raises:
            NoSkillFits: the instruction is empty, too long or too far from every card.
        """
        wanted = self._checked(text)
        if frame is not None and self.is_deictic(wanted):
            logits = self._pictured(wanted, frame) / self.calibration.temperature
        else:
            if len(parts := clauses.simultaneous(wanted)) > 1:
                return self._at_once(parts)
            logits = self._worded(wanted)
        return self._named(logits.softmax(-1))

    def _named(self, weights: Tensor) -> dict[str, float]:
        return {**dict.fromkeys(self.names, 0.0), **dict(zip(self.names, weights.tolist(), strict=False))}

    def _at_once(self, parts: Sequence[str]) -> dict[str, float]:
        """What is to be done at once, where that is one skill; a robot that mixed two would fall.

        Raises:
            NoSkillFits: they are two, or one of them fits no skill.
        """
        for part in parts:
            skill = ""
            with suppress(BadInput):  # what contradicts itself fits no skill below
                skill = parse(part, skills=self.commanded).skill
            if skill in self.commanded:
                why = "nobody does that while doing anything else; say one after the other"
                raise NoSkillFits(f"{part[:80]!r}: {why}", [skill])
        each = [self.weights(part) for part in parts]
        skills = dict.fromkeys(max(weights, key=weights.__getitem__) for weights in each)
        if len(skills) > 1:
            why = "each moves the whole body; say one after the other"
            raise NoSkillFits(f"{' and '.join(skills)} can't be done at once: {why}", list(skills))
        return self._named(torch.tensor([list(weights.values()) for weights in each]).mean(dim=0))

    def _pictured(self, wanted: str, frame: Any) -> Tensor:
        """Scores `[K]` of a picture.

        Raises:
            NoSkillFits: it shows nothing that one of the skills is for.
        """
        scores = self.picture_scores(frame)
        colours = len(np.unique(np.asarray(frame)[..., :3].reshape(-1, 3), axis=0))
        if colours < LEAST_COLOURS or float(scores.max()) < self.calibration.picture:
            nearest = [self.names[i] for i in scores.argsort(descending=True)[:3].tolist()]
            raise NoSkillFits(f"{wanted[:80]!r}: the picture shows nothing that one of the skills is for", nearest)
        return scores

    def _worded(self, wanted: str) -> Tensor:
        """Logits `[K]` of an instruction, -inf for what it forbids.

        Raises:
            NoSkillFits: nothing is left, or it is too far from every card.
        """
        kept, forbidden = without_negation(wanted)
        if not kept or self.confidence(kept) < 0 or self.is_deictic(kept, POINTS):
            raise NoSkillFits(self._refusal(wanted), self._nearest_names(wanted))
        scores = self._logits(kept)[0].clone()
        for clause in (clause for clause in forbidden if self.confidence(clause) >= 0):
            scores[int(self._logits(clause)[0].argmax())] = -torch.inf
        if torch.isinf(scores).all():
            raise NoSkillFits(self._refusal(wanted), self._nearest_names(wanted))
        return scores

    def plan(self, text: str, frame: Any = None, before: Sequence[Clause] = ()) -> list[Clause]:
        """The steps of an instruction in order, each with its weights.

        Args:
            text: the instruction.
            frame: picture `[H, W, 3]` uint8 of the scene, or None, for steps whose words leave it open.
            before: steps that went before, to which words such as "faster" refer.

        Raises:
            NoSkillFits: a step fits no skill.
        """
        told = list(before)
        for step in self._steps(self._checked(text)):
            told += self._unfold(step, frame, told)
        return told[len(before) :]

    def _steps(self, text: str) -> list[str]:
        """The clauses of an instruction in order of time; a part without a verb belongs to the one before."""
        steps: list[str] = []
        for clause in clauses.split(text):
            if clauses.conditional(clause) or self._recipe(clause) or self._is_whole(clause):
                parts = [clause]
            else:
                parts = clauses.coordinate(clause) if len(clauses.simultaneous(clause)) == 1 else [clause]
            if steps and len(parts) == 1 and clauses.goes_on(clause):
                steps[-1] = f"{steps[-1]}, {clause}"
                continue
            told = [part for part in parts if not asks_to_stop(part)]
            separate = len(parts) > 1 and all(without_negation(part) in ((part, []), (REST, [])) for part in told)
            if separate and all(self._is_step(part) for part in told):
                steps += parts
            else:
                steps.append(clause)
        return [re.sub(r"\bopen it(?: up)?$", "open the door", step) if "door" in text else step for step in steps]

    def _is_step(self, part: str) -> bool:
        """Whether a part of a sentence asks for something by itself: by its verb, or as it fits a skill."""
        if self._begins_with_verb(part) or clauses.conditional(part):
            return True
        try:
            parsed = parse(clauses.ending(part)[0], skills=self.commanded)
        except BadInput:
            return True
        return bool(parsed.skill) or self.confidence(parsed.core) >= 0

    def _is_whole(self, clause: str) -> bool:
        """Whether "and" belongs to the words of one skill: "run and jump over the hurdles"."""
        try:
            return parse(clause, skills=self.commanded).skill in ("crawl", "hurdle", "balance")
        except BadInput:
            return False

    def _begins_with_verb(self, part: str) -> bool:
        words = re.findall(r"[a-z'-]+", part.lower())
        words = words[1:] if words[:1] in (["please"], ["kindly"], ["do"]) else words
        return bool(words) and words[0] in verbs()

    def _unfold(self, text: str, frame: Any, before: Sequence[Clause]) -> list[Clause]:
        """The steps of one clause: those of its recipe, or itself with what ends it."""
        action, when = clauses.condition(text)
        action, until = clauses.ending(action)
        if frame is not None and self.is_deictic(action):
            return self._shown(action, until, 0, frame)
        kept, forbidden = without_negation(action)
        parsed = parse(kept, skills=self.commanded) if kept == action else Parsed(action, "", Parameters())
        if not parsed.skill and (number := re.search(r"\d+(?:\.\d+)?", parsed.core)):
            raise NoSkillFits(f"{text[:80]!r}: {number[0]} of what? say a unit, as in `2 metres`", self.names)
        if not parsed.skill and (owner := belongs(kept, self.commanded)):
            card = commanded_cards().get(owner)
            alone = card.description if card else "what it has learned"
            why = f"{owner} would be the skill for that, and all it can do is to {alone}"
            raise NoSkillFits(f"{text[:80]!r}: {why} (mwl list skills)", [owner])
        if around := _AROUND.search(kept):
            why = "nobody here goes around a thing; say the way, as in `turn left, walk two metres`"
            raise NoSkillFits(f"{text[:80]!r}: {why}", self._nearest_names(around[0]))
        if before and _BACK.match(text) and parsed.parameters.said().keys() <= {"direction", "pace"}:
            parsed = replace(parsed, parameters=replace(parsed.parameters, direction="", target=START))
        told, steps = parsed.parameters, round(CONTROL_HZ * (parsed.parameters.duration or 0.0))
        if told.duration is not None and not 1 <= steps <= MAX_STEPS:
            raise NoSkillFits(f"{text[:80]!r}: {told.duration:g} s is no time that a robot can take", self.names)
        if recipe := None if parsed.skill else self._recipe(kept) or self._recipe(parsed.core):
            dropped = {clauses.predicate(words) for words in forbidden}
            steps_of = [_told(clause, when, told) for clause in self._carried_out(recipe)]
            return [clause for clause in steps_of if clause.until not in dropped]
        if parsed.skill == "same":
            weights = self._gone_on(text, before)
        elif told.target == START and not before:
            raise NoSkillFits(f"{text[:80]!r}: from where? say it after a step such as `walk two metres`", self.names)
        elif parsed.skill:
            weights = self._of_verb(text, parsed.skill)
        else:
            weights = self.weights(parsed.core)
        if parsed.skill == "stand" and told.target:  # beside a thing: there first
            way = [replace(step, when=when) for step in self._unfold(f"walk to the {told.target}", frame, before)]
            stay = Clause(text, weights, until, steps, parameters=replace(told, target=""), when=when)
            return [*way, stay]
        if told.target and until == "never" and told.distance is None and told.duration is None:
            until = TARGETS.get(told.target, until)
        return [Clause(text, weights, _natural_end(until, weights), steps, parameters=told, when=when)]

    def _of_verb(self, text: str, skill: str) -> dict[str, float]:
        if skill not in self.names:
            raise NoSkillFits(f"no skill fits {text[:80]!r}: none here can {skill}", self._nearest_names(text))
        return {name: float(name == skill) for name in self.names}

    def _gone_on(self, text: str, before: Sequence[Clause]) -> dict[str, float]:
        """Weights of the step before, which "faster" changes."""
        if not before or before[-1].recipe:
            raise NoSkillFits(f"{text[:80]!r}: than what? say it after a step such as `walk`", self.names)
        return dict(before[-1].weights)

    def _shown(self, text: str, until: str, steps: int, frame: Any) -> list[Clause]:
        """The steps that a picture calls for."""
        weights = self.weights(text, frame)
        skill = max(weights, key=weights.__getitem__)
        recipe = next((recipe for recipe in self.recipes if skill in recipe.needs), None)
        if recipe and until == "never" and not steps:
            return [replace(clause, seen=text) for clause in self._carried_out(recipe)]
        return [Clause(text, weights, _natural_end(until, weights), steps, seen=text)]

    def _carried_out(self, recipe: Recipe) -> list[Clause]:
        unfolded = []
        for step in recipe.steps:
            skill = next((name for name in step.skills if name in self.names), None)
            weights = {name: float(name == skill) for name in self.names} if skill else self.weights(step.text)
            there = Parameters(target=step.target)
            unfolded.append(Clause(step.text, weights, step.until, step.steps, recipe.name, parameters=there))
        return unfolded

    def _asks_for_words(self, text: str) -> bool:
        return asks_for_words(text, (phrase for card in self.cards for phrase in card.phrases))

    def _recipe(self, text: str) -> Recipe | None:
        if self._asks_for_words(text):
            return None
        able = [recipe for recipe in self.recipes if not set(recipe.needs).isdisjoint(self.names)]
        if not able or self.confidence(text) < 0:
            return None
        embedded = self.embed([text])[0]
        closeness, place = max(
            (float((self.embed(recipe.phrases) @ embedded).max()), -i) for i, recipe in enumerate(able)
        )
        best = able[-place]
        fits = self.names[int(self._logits(text)[0].argmax())] in best.needs
        return best if fits and closeness > RECIPE_CLOSENESS else None

    def nearest(self, text: str, k: int = 3) -> list[tuple[str, str, float]]:
        """The k phrases closest to a text, as (phrase, expert, cosine)."""
        if not text.strip():
            return []
        owned = [(phrase, card.name) for card in self.cards for phrase in card.phrases]
        cosines = self.embed([p for p, _ in owned]) @ self.embed([text[:MAX_CHARACTERS]])[0]
        return [(*owned[i], float(cosines[i])) for i in cosines.topk(min(k, len(owned))).indices.tolist()]

    def _checked(self, text: str) -> str:
        text = " ".join(text.split()).strip(clauses.QUOTES + " ")
        if not text:
            raise NoSkillFits("the instruction is empty; say what the robot should do", self.names)
        if len(text) > MAX_CHARACTERS:
            raise NoSkillFits(f"the instruction has {len(text)} characters; {MAX_CHARACTERS} are the most", self.names)
        letters = [c for c in text if c.isalpha()]
        if not letters:
            raise NoSkillFits("the instruction holds no words; say what the robot should do", self.names)
        if sum(c.isascii() for c in letters) < 0.8 * len(letters):
            raise NoSkillFits("the embedded encoder understands English only; say it in English", self.names)
        return text

    def _nearest_names(self, text: str) -> list[str]:
        order = self._logits(text)[0].argsort(descending=True)[:3].tolist()
        return [self.names[i] for i in order]

    def _refusal(self, text: str) -> str:
        if self.is_deictic(text):
            return f"{text[:80]!r} leaves it to the scene what is meant; give a picture of it"
        nearest = ", ".join(self._nearest_names(text))
        return f"no skill fits {text[:80]!r}; the nearest are {nearest} (all: mwl list skills)"


_BACK = re.compile(r"(?i)(?:(?:slowly|quickly) )?(?:(?:go|walk|head) )?back(?: (?:again|slowly|quickly|now))?$")
_AROUND = re.compile(  # but the room, the block, the corner and half a circle are walked in or along
    r"(?i)\b(?:walk|go|run|jog|move|step|head|circle|stroll|sprint)(?:ing)?\b[^,]*?\s(?:a?round|about)\s"
    r"(?:the|a|an|that|this|your|my)\s(?:\w+\s)?"
    r"(?:chair|seat|table|desk|ball|target|marker|box|obstacle|pole|column|tree|person|man|woman|door|board|thing)\b"
)
_ENDS = {"reach": "hand_at_goal", "approach": "at_goal", "sit": "seated"}


def _told(step: Clause, when: str, parameters: Parameters) -> Clause:
    """A recipe's step under what the words say, where to by its own."""
    return replace(step, when=when, parameters=replace(parameters, target=step.parameters.target or parameters.target))


def _natural_end(until: str, weights: Mapping[str, float]) -> str:
    """What ends a step: what the words say, else what its skill is for."""
    return _ENDS.get(max(weights, key=weights.__getitem__), until) if until == "never" else until


def _plain(adapter: WordAdapter | None) -> dict[str, Tensor]:
    return {} if adapter is None else {name: _half(tensor) for name, tensor in adapter.state_dict().items()}


def _half(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().half() if tensor.is_floating_point() else tensor.detach().cpu()
