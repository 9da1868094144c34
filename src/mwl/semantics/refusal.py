"""Which skill of the labelled sentences a text asks for, or none: a regression on its embedding and its words."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mwl.core.artifact import read_checkpoint, read_manifest, write_artifact
from mwl.core.errors import CorruptFile
from mwl.core.files import shown
from mwl.semantics import entries
from mwl.semantics.cards import Card
from mwl.semantics.encoders.towers import ClipEncoder
from mwl.semantics.shipped import DATA, load_phrases

STAGE = "refusal"
NONE = "none"
OWNERS = {  # the skill that a card of this name is asked for by
    "stand": ("stand",),
    "walk": ("walk",),
    "run": ("run",),
    "reach": ("reach",),
    "handle_pull": ("door",),
    "open_door": ("door",),
    "approach": ("walk", "reach"),
}
BANK = {"stand": "stand", "walk": "walk", "run": "run", "reach": "reach", "open_door": "door"}
WORDS = 0.5  # length of the vector of words beside the embedding, which has 1
PENALTY, STEPS = 1 / 30, 150  # of squared weights, for the sum of losses; of L-BFGS
SHARES = {"people": 1.0, "cards": 1.0, "sentences": 0.3, "bank": 0.1}  # weight of a text by where it is from
_TOKEN = re.compile(r"[a-z']+")


@dataclass(frozen=True)
class Labelled:
    """Texts with the skill that each asks for, where they are from, and of which kind they are."""

    texts: list[str]
    labels: list[str]
    sources: list[str]
    kinds: list[str]

    def __add__(self, other: "Labelled") -> "Labelled":
        return Labelled(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def chosen(self, places: Collection[int]) -> "Labelled":
        """Those at the given places."""
        kept = sorted(places)
        return Labelled(*([getattr(self, name)[i] for i in kept] for name in self.__dataclass_fields__))


def load_sentences(path: Path, source: str) -> Labelled:
    """Read labelled sentences, `label TAB text TAB kind` a line.

    Raises:
        CorruptFile: a line is none.
    """
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    known = {NONE, *BANK.values()}
    if bad := [number for number, row in enumerate(rows, start=1) if len(row) < 3 or row[0] not in known]:
        raise CorruptFile(f"{shown(path)}, line {bad[0]}: needs a label ({', '.join(sorted(known))}), a text, a kind")
    return Labelled([r[1] for r in rows], [r[0] for r in rows], [source] * len(rows), [r[2] for r in rows])


def people() -> Labelled:
    """Sentences that people wrote, without the kind `dir`, which are commands."""
    found = load_sentences(DATA / "semantics" / "people.tsv", "people")
    return found.chosen([i for i, kind in enumerate(found.kinds) if kind != "dir"])


def background(cards: Sequence[Card]) -> Labelled:
    """Everything else that is learned from: sentences of our own, the phrase bank, phrases of cards."""
    found = load_sentences(DATA / "semantics" / "sentences.tsv", "sentences")
    bank = load_phrases()
    groups = [(BANK.get(name, NONE), phrases) for name, phrases in bank["skills"].items()]
    groups += [(NONE, phrases) for phrases in bank["other"].values()]
    owned = [(OWNERS[card.name][-1], card.phrases) for card in cards if card.name in OWNERS and card.name != "approach"]
    for source, told in (("bank", groups), ("cards", owned)):
        for label, phrases in told:
            count = len(phrases)
            found += Labelled([str(p) for p in phrases], [label] * count, [source] * count, [source] * count)
    return found


class Refusal:
    """Log-probabilities of skills, and of none of them.

    Args:
        classes: names of the C classes, `none` among them.
        words: what counts of a text besides its embedding, with how rare it is.
        weight: `[C, E + W]`.
        bias: `[C]`.
        threshold: log-odds against none from which a text is carried out.
    """

    def __init__(
        self, classes: Sequence[str], words: dict[str, float], weight: Tensor, bias: Tensor, threshold: float = 0.0
    ) -> None:
        self.classes, self.words, self.weight, self.bias = list(classes), dict(words), weight.float(), bias.float()
        self.threshold = threshold
        self._place = {word: place for place, word in enumerate(self.words)}

    def features(self, texts: Sequence[str], embedded: Tensor) -> Tensor:
        """Features `[T, E + W]` of texts and their embeddings `[T, E]`."""
        counted = torch.zeros(len(texts), len(self.words))
        for row, text in enumerate(texts):
            for word, count in _words(text).items():
                if (place := self._place.get(word)) is not None:
                    counted[row, place] = (1 + torch.tensor(float(count)).log()) * self.words[word]
        return torch.cat([embedded, WORDS * F.normalize(counted, dim=-1)], dim=-1)

    def log_probs(self, texts: Sequence[str], embedded: Tensor) -> Tensor:
        """Log-probabilities `[T, C]`."""
        return (self.features(texts, embedded) @ self.weight.T + self.bias).log_softmax(dim=-1)

    def of_cards(self, text: str, embedded: Tensor, names: Sequence[str]) -> tuple[float, Tensor]:
        """How far a text lies above the threshold, for the classes that cards of these names own, and what the text
        says for each card `[K]`, log-probabilities; for one that owns no class that of all that no card owns."""
        probs = self.log_probs([text], embedded.unsqueeze(0))[0]
        owned = {label for name in names for label in OWNERS.get(name, ())}
        mask = torch.tensor([label in owned for label in self.classes])
        if not mask.any():
            return -torch.inf, torch.zeros(len(names))
        odds = float(probs[mask].logsumexp(0) - probs[~mask].logsumexp(0))
        said = [
            torch.stack([probs[self.classes.index(label)] for label in OWNERS[name]]).min()
            if name in OWNERS
            else probs[~mask].logsumexp(0)
            for name in names
        ]
        return odds - self.threshold, torch.stack(said)

    @classmethod
    def fit(cls, labelled: Labelled, embedded: Tensor) -> "Refusal":
        """Fit to labelled texts and their embeddings `[T, E]`; the classes weigh the same, seconds on a CPU."""
        classes = sorted(set(labelled.labels))
        counts = Counter(word for text in labelled.texts for word in _words(text))
        total = len(labelled.texts)
        rare = {word: 1 + float(torch.tensor((1 + total) / (1 + n)).log()) for word, n in counts.items() if n >= 2}
        size = embedded.shape[-1] + len(rare)
        found = cls(classes, rare, torch.zeros(len(classes), size), torch.zeros(len(classes)))
        seen = found.features(labelled.texts, embedded)
        target = torch.tensor([classes.index(label) for label in labelled.labels])
        share = torch.tensor([SHARES[source] for source in labelled.sources])
        for place in range(len(classes)):
            share[target == place] *= total / (len(classes) * share[target == place].sum())
        weight, bias = (value.clone().requires_grad_(True) for value in (found.weight, found.bias))
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            each = F.cross_entropy(seen @ weight.T + bias, target, reduction="none")
            value = (share * each).sum() + PENALTY / 2 * weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        found.weight, found.bias = weight.detach(), bias.detach()
        return found

    def save(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write it as an artifact."""
        told = {"classes": self.classes, "words": self.words, "threshold": self.threshold}
        state = {"weight": self.weight.half(), "bias": self.bias}
        checkpoint = {"hyper_parameters": told, "state_dict": state}
        return write_artifact(folder, stage=STAGE, name=STAGE, checkpoint=checkpoint, metrics=metrics)

    @classmethod
    def load(cls, folder: Path) -> "Refusal":
        """Read one.

        Raises:
            MissingFile, CorruptFile: the folder is incomplete or is none.
        """
        read_manifest(folder, stage=STAGE)
        stored = read_checkpoint(folder)
        with entries.of_file(folder, "a regression of refusals"):
            told: dict[str, Any] = entries.mapping(stored["hyper_parameters"], "it", ("classes", "words", "threshold"))
            state = entries.mapping(stored["state_dict"], "state_dict", ("weight", "bias"))
            classes, size = entries.texts(told["classes"], "classes"), len(told["words"])
            if state["weight"].ndim != 2 or state["weight"].shape[1] <= size or len(state["weight"]) != len(classes):
                raise ValueError("its weights do not fit its classes and words")
            return cls(classes, told["words"], state["weight"], state["bias"], float(told["threshold"]))


def cross_validated(
    encoder: ClipEncoder, cards: Sequence[Card], folds: int, by: str = "row"
) -> tuple[Labelled, Tensor, list[str]]:
    """Log-odds `[T]` and skills of what people wrote, each sentence by a fit that has not seen it.

    Args:
        encoder: of texts.
        cards: whose phrases are learned from.
        folds: how many parts; ignored where `by` is `kind`.
        by: `row` spreads every label and kind over the parts; `kind` leaves out one kind after the other.
    """
    own, rest = people(), background(cards)
    embedded, around = encoder.texts(own.texts), encoder.texts(rest.texts)
    order = sorted(range(len(own.texts)), key=lambda i: (own.labels[i], own.kinds[i], own.texts[i]))
    fold = {place: rank % folds for rank, place in enumerate(order)}
    parts = sorted(set(own.kinds)) if by == "kind" else list(range(folds))
    odds, skills = torch.zeros(len(own.texts)), [""] * len(own.texts)
    for part in parts:
        left = [i for i in range(len(own.texts)) if (own.kinds[i] if by == "kind" else fold[i]) == part]
        kept = sorted(set(range(len(own.texts))) - set(left))
        fitted = Refusal.fit(own.chosen(kept) + rest, torch.cat([embedded[kept], around]))
        probs = fitted.log_probs([own.texts[i] for i in left], embedded[left])
        none = fitted.classes.index(NONE)
        others = [place for place in range(len(fitted.classes)) if place != none]
        odds[left] = probs[:, others].logsumexp(-1) - probs[:, none]
        for i, best in zip(left, probs[:, others].argmax(-1).tolist(), strict=True):
            skills[i] = fitted.classes[others[best]]
    return own, odds, skills


def _words(text: str) -> Counter[str]:
    single = _TOKEN.findall(text.lower())
    return Counter([*single, *(f"{a} {b}" for a, b in pairwise(single))])
