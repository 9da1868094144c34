"""The semantic head: an instruction, and perhaps a picture, in; weights over the experts or a refusal out."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from mwl.errors import BadInput, CorruptFile, NoSkillFits
from mwl.handoff import read_checkpoint, read_manifest
from mwl.semantics import clauses
from mwl.semantics.cards import Card
from mwl.semantics.encoder import ClipEncoder, open_clip_encoder, sentence_clip
from mwl.semantics.network import WordAdapter
from mwl.semantics.recipes import Recipe, load_recipes

STAGE = "semantic"
DATA = Path(os.environ.get("MWL_DATA") or Path(__file__).resolve().parents[3] / "data")
MAX_CHARACTERS = 400
RECIPE_CLOSENESS = 0.85  # cosine from which an instruction counts as the wording of a recipe
_NEGATION = re.compile(
    r"\b(?:do not|don't|dont|never|not|without|instead of|no more|(?:stop|quit|cease)(?=\s+\w+ing\b))"
    r"\s+(?P<what>[a-z ]+)",
    re.IGNORECASE,
)
_REST = re.compile(r"\b(?:move|moving|budge|stir|go|step|leave|take)\b", re.IGNORECASE)
_HALT = re.compile(r"^(?:stop|quit|cease|no more)\b", re.IGNORECASE)
REST = "stay where you are, do not move"


@dataclass(frozen=True)
class Calibration:
    """Numbers that turn cosines into weights and refusals; fitted on development instructions.

    Args:
        temperature: of the softmax over scores (eq. 2).
        refusal: least score of an instruction that is carried out, after subtracting its closeness to phrases that ask
            for nothing physical.
        background: share of that closeness which is subtracted.
        picture: weight of the picture's score against the text's where the text alone does not tell.
    """

    temperature: float = 0.06
    refusal: float = 0.28
    background: float = 0.3
    picture: float = 1.0


@dataclass(frozen=True)
class Clause:
    """One step of an instruction.

    Args:
        text: its words.
        weights: over the experts, summing to 1.
        until: the progress predicate that ends it (see `mwl.semantics.progress`).
        steps: control steps after which it ends; 0 leaves that to who follows the plan.
        recipe: name of the recipe it comes from, if from one.
    """

    text: str
    weights: Mapping[str, float] = field(default_factory=dict)
    until: str = "never"
    steps: int = 0
    recipe: str = ""


class SemanticHead:
    """Weights of an instruction over whatever cards it was given.

    Args:
        encoder: CLIP.
        calibration: see there.
        background: phrases that ask for no skill, against which an instruction is held before it is refused.
        deictic: phrases such as "go on" which leave it to the picture what is meant.
        adapter: map on the text embeddings; None leaves them as the text tower makes them.
    """

    def __init__(
        self,
        encoder: ClipEncoder,
        calibration: Calibration,
        background: Sequence[str] = (),
        deictic: Sequence[str] = (),
        adapter: WordAdapter | None = None,
    ) -> None:
        self.adapter = adapter
        self._adapted: dict[str, Tensor] = {}
        self.encoder, self.calibration = encoder, calibration
        self.background, self.deictic = list(background), list(deictic)
        self.cards: list[Card] = []
        self.recipes: list[Recipe] = []

    @classmethod
    def load(cls, name_or_path: str | Path = "embedded") -> "SemanticHead":
        """Load a head.

        Args:
            name_or_path: `embedded` for the shipped one with the cards of the shipped experts, or the hand-over folder
                of a fitted one with the cards it was fitted with; `set_cards` replaces them.

        Raises:
            MissingFile, CorruptFile, SpecMismatch: the folder is incomplete, damaged or of another stage.
            MissingDependency: the sentence encoder is not installed.
        """
        folder = DATA / "semantics" / "embedded" if name_or_path == "embedded" else Path(name_or_path)
        read_manifest(folder, stage=STAGE)
        try:
            head = cls.from_plain(read_checkpoint(folder))
        except (KeyError, TypeError, RuntimeError) as error:
            raise CorruptFile(f"{folder}: not the checkpoint of a semantic head ({error}); fit it again") from error
        head.recipes = load_recipes(DATA / "semantics" / "recipes.yaml")
        if name_or_path == "embedded" and (cards := shipped_cards()):
            head.set_cards(cards)
        return head

    @classmethod
    def from_plain(cls, checkpoint: Mapping[str, Any]) -> "SemanticHead":
        """The head that `to_plain` described."""
        settings = checkpoint["hyper_parameters"]
        clip = settings["clip"]
        if clip == "sentence":
            encoder = sentence_clip(settings.get("image_size", 64))
        else:
            encoder = open_clip_encoder(clip, settings["pretrained"])
        if checkpoint["state_dict"]:
            encoder.model.visual.load_state_dict(checkpoint["state_dict"])
        phrases = settings["phrases"]
        adapter = None
        if weights := checkpoint.get("adapter"):
            rank, size = weights["down.weight"].shape
            adapter = WordAdapter(size, rank)
            adapter.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        head = cls(encoder, Calibration(**settings["calibration"]), phrases["background"], phrases["deictic"], adapter)
        head.set_cards([Card(**card) for card in settings["cards"]])
        return head

    def to_plain(self, clip: str, pretrained: str | None, image_tower: Mapping[str, Tensor]) -> dict[str, Any]:
        """Plain tensors and values from which `from_plain` makes the head again."""
        cards = [{"name": c.name, "description": c.description, "paraphrases": list(c.paraphrases)} for c in self.cards]
        return {
            "hyper_parameters": {
                "clip": clip,
                "pretrained": pretrained,
                "image_size": self.encoder.image_size,
                "calibration": asdict(self.calibration),
                "phrases": {"background": self.background, "deictic": self.deictic},
                "cards": cards,
            },
            "state_dict": {name: _half(tensor) for name, tensor in image_tower.items()},
            "adapter": {} if self.adapter is None else {n: _half(t) for n, t in self.adapter.state_dict().items()},
        }

    @property
    def names(self) -> list[str]:
        """Names of the experts, in the order of K."""
        return [card.name for card in self.cards]

    def set_cards(self, cards: Sequence[Card]) -> None:
        """Weigh these experts from now on; nothing is trained again.

        Raises:
            BadInput: no card, or two of one name.
        """
        cards = list(cards)
        if not cards or len({card.name for card in cards}) != len(cards):
            raise BadInput("the semantic head needs at least one card, and names that differ")
        self.cards = cards

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings `[T, E]` of texts, adapted; each is computed once and remembered."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._adapted]:
            raw = self.encoder.texts(new)
            self._adapted.update(zip(new, raw if self.adapter is None else self.adapter(raw), strict=True))
        return torch.stack([self._adapted[text] for text in texts])

    def card_embeddings(self) -> Tensor:
        """Mean embedding of each card's phrases `[K, E]`, unit norm."""
        means = torch.stack([self.embed(card.phrases).mean(0) for card in self.cards])
        return torch.nn.functional.normalize(means, dim=-1)

    def scores(self, text: str) -> Tensor:
        """Closeness `[K]` of an instruction to each card: half its nearest phrase, half their mean."""
        embedded = self.embed([text])[0]
        nearest = torch.stack([(self.embed(card.phrases) @ embedded).max() for card in self.cards])
        return (nearest + self.card_embeddings() @ embedded) / 2

    def confidence(self, text: str) -> float:
        """How far an instruction is from being refused; the calibrated threshold is zero."""
        best = float(self.scores(text).max())
        if self.background:
            around = self.embed(self.background) @ self.embed([text])[0]
            best -= self.calibration.background * float(around.topk(3).values.mean())
        return best - self.calibration.refusal

    def picture_scores(self, frame: Any) -> Tensor:
        """Closeness `[K]` of a picture to each card."""
        pixels = torch.from_numpy(np.ascontiguousarray(np.asarray(frame)[..., :3])).unsqueeze(0)
        with torch.no_grad():
            return self.card_embeddings() @ self.encoder.pictures(pixels)[0]

    def is_deictic(self, text: str) -> bool:
        """Whether an instruction such as "go on" leaves it to the scene what is meant."""
        if not self.deictic:
            return False
        embedded = self.embed([text])[0]
        pointing = float((self.embed(self.deictic) @ embedded).max())
        return pointing > 0.6 and pointing > float(self.scores(text).max())

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
            logits = self.calibration.picture * self.picture_scores(frame) / self.calibration.temperature
        else:
            kept, forbidden = _without_negation(wanted)
            if not kept or self.confidence(kept) < 0:
                raise NoSkillFits(self._refusal(wanted), self._nearest_names(wanted))
            logits = self.scores(kept) / self.calibration.temperature
            for clause in (clause for clause in forbidden if self.confidence(clause) >= 0):
                logits[int(self.scores(clause).argmax())] = -torch.inf
            if torch.isinf(logits).all():
                raise NoSkillFits(self._refusal(wanted), self._nearest_names(wanted))
        return {name: float(w) for name, w in zip(self.names, logits.softmax(-1), strict=True)}

    def plan(self, text: str) -> list[Clause]:
        """The steps of an instruction in order, each with its weights.

        Raises:
            NoSkillFits: a step fits no skill.
        """
        self._checked(text)
        steps: list[str] = []
        for clause in clauses.split(text):
            parts = clauses.coordinate(clause)
            separate = len(parts) > 1 and all(_without_negation(part)[0] == part for part in parts)
            steps += parts if separate and all(self.confidence(part) >= 0 for part in parts) else [clause]
        return [clause for step in steps for clause in self._unfold(step)]

    def _unfold(self, text: str) -> list[Clause]:
        """The steps of one clause: those of its recipe, or itself with what ends it."""
        recipe = self._recipe(text)
        if recipe is None:
            action, until, steps = clauses.ending(text)
            weights = self.weights(action)
            if until == "never" and max(weights, key=weights.__getitem__) == "reach":
                until = "hand_at_goal"
            return [Clause(text, weights, until, steps)]
        unfolded = []
        for step in recipe.steps:
            skill = next((name for name in step.skills if name in self.names), None)
            weights = {name: float(name == skill) for name in self.names} if skill else self.weights(step.text)
            unfolded.append(Clause(step.text, weights, step.until, step.steps, recipe.name))
        return unfolded

    def _recipe(self, text: str) -> Recipe | None:
        for recipe in self.recipes:
            if set(recipe.needs).isdisjoint(self.names):
                continue
            closeness = self.embed(recipe.phrases) @ self.embed([text])[0]
            if float(closeness.max()) > RECIPE_CLOSENESS:
                return recipe
        return None

    def nearest(self, text: str, k: int = 3) -> list[tuple[str, str, float]]:
        """The k phrases closest to a text, as (phrase, expert, cosine)."""
        if not text.strip():
            return []
        owned = [(phrase, card.name) for card in self.cards for phrase in card.phrases]
        cosines = self.embed([p for p, _ in owned]) @ self.embed([text[:MAX_CHARACTERS]])[0]
        return [(*owned[i], float(cosines[i])) for i in cosines.topk(min(k, len(owned))).indices.tolist()]

    def _checked(self, text: str) -> str:
        text = " ".join(text.split())
        if not text:
            raise NoSkillFits("the instruction is empty; say what the robot should do", self.names)
        if len(text) > MAX_CHARACTERS:
            raise NoSkillFits(f"the instruction has {len(text)} characters; {MAX_CHARACTERS} are the most", self.names)
        letters = [c for c in text if c.isalpha()]
        if not letters or sum(c.isascii() for c in letters) < 0.8 * len(letters):
            raise NoSkillFits("the embedded encoder understands English only; say it in English", self.names)
        return text

    def _nearest_names(self, text: str) -> list[str]:
        order = self.scores(text).argsort(descending=True)[:3].tolist()
        return [self.names[i] for i in order]

    def _refusal(self, text: str) -> str:
        return f"no skill fits {text[:80]!r}; the nearest are {', '.join(self._nearest_names(text))}"


def _half(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().half() if tensor.is_floating_point() else tensor.detach().cpu()


def _without_negation(text: str) -> tuple[str, list[str]]:
    """An instruction without what it forbids, and what it forbids; a bare prohibition of moving asks to stand."""
    forbidden: list[str] = []
    kept: list[str] = []
    for part in re.split(r"[,;]|\bbut\b", text):
        match = _NEGATION.search(part)
        if match and not part[: match.start()].strip() and (_REST.search(part) or _HALT.match(match[0])):
            kept.append(REST)
        elif match:
            if before := part[: match.start()].strip():
                kept.append(before)
            forbidden.append(match["what"].strip())
        elif part.strip():
            kept.append(part.strip())
    if not forbidden and REST not in kept:
        return text, []
    actions = [part for part in kept if part != REST] or kept  # "stop running, walk" asks to walk
    return ", ".join(actions), forbidden


def shipped_cards() -> list[Card]:
    """Cards of the experts in `data/experts`, so that an expert put there is understood at once."""
    folders = sorted(path.parent for path in (DATA / "experts").glob("*/manifest.json"))
    return [Card(**read_manifest(folder, stage="expert")["card"]) for folder in folders]


def load_phrases(path: Path | None = None) -> dict[str, Any]:
    """The shipped phrase bank: `skills`, `other` (asks for no skill) and `deictic`."""
    path = path or DATA / "semantics" / "phrases.yaml"
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content
