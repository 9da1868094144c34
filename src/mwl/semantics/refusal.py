"""Which skill a text asks for, or none: a regression on its embedding and its words, and cards set against it."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mwl._places import find
from mwl.core.artifact import read_checkpoint, read_manifest, write_artifact
from mwl.core.errors import CorruptFile
from mwl.core.files import shown
from mwl.semantics import entries
from mwl.semantics.cards import Card
from mwl.semantics.shipped import load_phrases

STAGE = "refusal"
NONE = "none"
CARD = "card "  # before the name of a class that is known by a card alone
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
FRAMES = ("", " by the table", " near the door", " in the kitchen", " over there", " to the window")  # after a phrase
_TOLD = ("classes", "words", "texts", "threshold", "raised")
_STATE = ("weight", "bias", "embedded", "share")
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
    found = load_sentences(find("data/semantics/people.tsv"), "people")
    return found.chosen([i for i, kind in enumerate(found.kinds) if kind != "dir"])


def background(cards: Sequence[Card]) -> Labelled:
    """Everything else that is learned from: sentences of our own, the phrase bank, phrases of cards."""
    found = load_sentences(find("data/semantics/sentences.tsv"), "sentences")
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
        texts: the T texts that it was fitted to.
        embedded: their embeddings `[T, E]`.
        share: `[T]` what each counted.
        threshold: log-odds against none from which a text is carried out.
        raised: log-odds that are given to a class which is known by a card alone.
    """

    def __init__(
        self,
        classes: Sequence[str],
        words: dict[str, float],
        weight: Tensor,
        bias: Tensor,
        texts: Sequence[str] = (),
        embedded: Tensor | None = None,
        share: Tensor | None = None,
        threshold: float = 0.0,
        raised: float = 0.0,
    ) -> None:
        self.classes, self.words, self.weight, self.bias = list(classes), dict(words), weight.float(), bias.float()
        self.texts, self.threshold, self.raised = list(texts), threshold, raised
        self.embedded = torch.zeros(0, weight.shape[1] - len(words)) if embedded is None else embedded.float()
        self.share = torch.zeros(0) if share is None else share.float()
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

    def knowing(self, cards: Sequence[Card], encode: Callable[[Sequence[str]], Tensor]) -> "Refusal":
        """This one with a class for each card of no learned skill, known by its phrases alone.

        Each is a logistic regression on top of the classes that there are: its phrases, in the frames in which people
        say them, against all that was learned from. A card has the phrases, too, that the phrase bank has for a skill
        of its name. A tenth of a second.

        Args:
            cards: those of a library.
            encode: texts to embeddings `[T, E]`.
        """
        new = [card for card in cards if card.name not in OWNERS]
        if not new:
            return self
        seen, bank = self.features(self.texts, self.embedded), load_phrases()["skills"]
        added = [self._against(seen, [*card.phrases, *bank.get(card.name, ())], encode) for card in new]
        weight = torch.cat([self.weight, torch.stack([row[:-1] for row in added])])
        bias = torch.cat([self.bias, torch.stack([row[-1] for row in added]) + self.raised])
        names = [*self.classes, *(CARD + card.name for card in new)]
        return Refusal(names, self.words, weight, bias, threshold=self.threshold)

    def _against(self, seen: Tensor, phrases: Sequence[str], encode: Callable[[Sequence[str]], Tensor]) -> Tensor:
        """Weight and bias `[E + W + 1]` of a class of phrases against what was learned from, features `[T, E + W]`."""
        from scipy.optimize import minimize  # half a second, for cards of one's own alone
        from scipy.special import expit

        framed = [phrase + frame for phrase in phrases for frame in FRAMES]
        x = F.pad(torch.cat([seen, self.features(framed, encode(framed))]), (0, 1), value=1.0)
        rivals = (x[:, :-1] @ self.weight.T + self.bias).logsumexp(dim=-1).numpy().astype(float)
        each = float(self.share.sum()) / len(self.classes) / len(framed)  # as much as any other class
        others = np.array([text not in phrases for text in self.texts], dtype=float)
        share = np.concatenate([self.share.numpy() * others, np.full(len(framed), each)])
        wanted = np.concatenate([np.zeros(len(seen)), np.ones(len(framed))])
        columns, penalty = x.numpy().astype(float), np.full(x.shape[1], PENALTY)
        penalty[-1] = 0.0

        def loss(row: np.ndarray) -> tuple[float, np.ndarray]:
            odds = columns @ row - rivals
            value = share @ (np.logaddexp(0, odds) - wanted * odds) + penalty @ row**2 / 2
            return float(value), columns.T @ (share * (expit(odds) - wanted)) + penalty * row

        found = minimize(loss, np.zeros(len(penalty)), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
        return torch.from_numpy(found.x).float()

    def of_cards(self, text: str, embedded: Tensor, names: Sequence[str]) -> tuple[float, Tensor]:
        """How far a text lies above the threshold, for the classes that cards of these names own, and what the text
        says for each card `[K]`, log-probabilities; cards of no learned skill have to be known (`knowing`)."""
        probs = self.log_probs([text], embedded.unsqueeze(0))[0]
        owners = [OWNERS.get(name, (CARD + name,)) for name in names]
        mask = torch.tensor([any(label in owner for owner in owners) for label in self.classes])
        odds = float(probs[mask].logsumexp(0) - probs[~mask].logsumexp(0))
        said = [torch.stack([probs[self.classes.index(label)] for label in owner]).min() for owner in owners]
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
        found.texts, found.embedded, found.share = list(labelled.texts), embedded, share
        return found

    def save(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write it as an artifact."""
        told = {name: getattr(self, name) for name in _TOLD}
        state = {name: getattr(self, name) for name in _STATE}
        state |= {name: state[name].half() for name in ("weight", "embedded")}
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
            stored = entries.mapping(stored, "it", ("hyper_parameters", "state_dict"))
            told: dict[str, Any] = entries.mapping(stored["hyper_parameters"], "hyper_parameters", _TOLD)
            state: dict[str, Any] = entries.mapping(stored["state_dict"], "state_dict", _STATE)
            texts = entries.texts(told["texts"], "texts")
            classes, size = entries.texts(told["classes"], "classes"), len(told["words"])
            if state["weight"].ndim != 2 or state["weight"].shape[1] <= size or len(state["weight"]) != len(classes):
                raise ValueError("its weights do not fit its classes and words")
            if state["embedded"].shape != (len(texts), state["weight"].shape[1] - size):
                raise ValueError("its embeddings do not fit its texts and weights")
            if state["share"].shape != (len(texts),):
                raise ValueError("its shares do not fit its texts")
            odds: dict[str, Any] = {name: float(told[name]) for name in ("threshold", "raised")}
            return cls(classes, told["words"], texts=texts, **state, **odds)


def _words(text: str) -> Counter[str]:
    single = _TOKEN.findall(text.lower())
    return Counter([*single, *(f"{a} {b}" for a, b in pairwise(single))])
