"""Refusals on sentences that people wrote: cross-validated figures, opposites, and the fit that ships.

python benchmarks/refusal.py [--fit FOLDER] [--table FILE]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mwl.core.errors import MwlError
from mwl.evaluation.table import report
from mwl.semantics import SemanticHead
from mwl.semantics.calibration import auroc
from mwl.semantics.cards import Card
from mwl.semantics.encoders.towers import ClipEncoder
from mwl.semantics.refusal import NONE, OWNERS, Labelled, Refusal, background, people

LEFT_OUT = {"row": "one eighth of every label and kind", "kind": "one kind after the other"}
FOLDS, MOST = 8, 0.075  # share of the sentences that no skill fits which are accepted
ALONE = 0.04  # share of them that a class known by a card alone may accept
OPPOSITES = (
    "close the door", "shut the door", "lock the door", "keep the door closed", "stay away from the door",
    "slow down", "slower", "no running", "hands off the target", "walk away from the target", "don't open the door",
    "do not touch the target", "never run", "push the door shut", "let go of the handle",
)  # fmt: skip


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
    fold = _spread(own, folds)
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


def left_out(encoder: ClipEncoder, cards: Sequence[Card], folds: int) -> tuple[Labelled, dict[str, Tensor]]:
    """What people wrote, and log-odds against none `[T, 2]` by skill: of that skill by its card alone, of the others.

    For each skill nothing is learned from a text that asks for it, wherever that is from, but for the phrases of its
    card; other sentences are scored by a fit that has not seen them.
    """
    own, rest = people(), background(cards)
    every, fold = own + rest, _spread(own, folds)
    embedded = encoder.texts(every.texts)
    found = {}
    for card in (card for card in cards if len(OWNERS.get(card.name, ())) == 1):
        (skill,) = OWNERS[card.name]
        new, odds = Card(f"new {card.name}", card.description, card.paraphrases), torch.zeros(len(own.texts), 2)
        for part in range(folds):
            kept = [i for i, label in enumerate(every.labels) if label != skill and fold.get(i) != part]
            knowing = Refusal.fit(every.chosen(kept), embedded[kept]).knowing([new], encoder.texts)
            left = [i for i in range(len(own.texts)) if fold[i] == part]
            probs = knowing.log_probs([own.texts[i] for i in left], embedded[left])
            none, last = probs[:, knowing.classes.index(NONE)], probs[:, -1]
            others = [place for place, label in enumerate(knowing.classes[:-1]) if label != NONE]
            odds[left] = torch.stack([last - none, probs[:, others].logsumexp(-1) - none], dim=-1)
        found[skill] = odds
    return own, found


def _spread(own: Labelled, folds: int) -> dict[int, int]:
    """A part for each text, every label and kind spread over all of them."""
    order = sorted(range(len(own.texts)), key=lambda i: (own.labels[i], own.kinds[i], own.texts[i]))
    return {place: rank % folds for rank, place in enumerate(order)}


def figures(by: str) -> dict[str, float]:
    """AUROC, share accepted of none, share right and accepted, at the threshold that lets `MOST` of none through."""
    head = SemanticHead.load("embedded")
    own, odds, skills = cross_validated(head.encoder, head.cards, FOLDS, by)
    none = np.array([label == NONE for label in own.labels])
    values = odds.numpy()
    threshold = float(np.quantile(values[none], 1 - MOST))
    accepted = values > threshold
    right = np.array([skill == label for skill, label in zip(skills, own.labels, strict=True)])
    return {
        "auroc": auroc(values[~none], values[none]),
        "none_accepted": float(accepted[none].mean()),
        "right_and_accepted": float((accepted & right)[~none].mean()),
        "threshold": threshold,
    }


def left_out_skills(threshold: float) -> tuple[dict[str, dict[str, float]], float]:
    """The same by skill that is known by its card alone, and the log-odds that such a class is given.

    A skill left out is given what the others need so that each accepts `ALONE` of the sentences of none; its own
    sentences are held against these by the log-odds of any skill, as the head accepts them.
    """
    head = SemanticHead.load("embedded")
    own, odds = left_out(head.encoder, head.cards, FOLDS // 2)
    labels = np.array(own.labels)
    none = labels == NONE
    needed = {skill: -float(np.quantile(told[none, 0], 1 - ALONE)) for skill, told in odds.items()}
    found = {}
    for skill, told in odds.items():
        alone, others = told.numpy().T
        alone = alone + np.mean([value for other, value in needed.items() if other != skill])
        values = np.logaddexp(alone, others)
        accepted, asked = values > threshold, labels == skill
        found[f"{skill}, known by its card alone"] = {
            "auroc": auroc(values[asked], values[none]),
            "none_accepted": float(accepted[none].mean()),
            "right_and_accepted": float((accepted & (alone > others))[asked].mean()),
            "threshold": threshold,
        }
    names = next(iter(found.values()))
    found["mean of these"] = {name: float(np.mean([told[name] for told in found.values()])) for name in names}
    return found, float(np.mean(list(needed.values())))


def main() -> None:
    """Print the figures; fit and write what ships, where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", type=Path, metavar="FOLDER", help="fit on all of it and write it there")
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    found = {by: figures(by) for by in LEFT_OUT}
    skills, raised = left_out_skills(found["row"]["threshold"])
    titles = ("left out", "refusal AUROC", "none accepted", "right and accepted", "threshold")
    report(
        titles,
        [
            [name, *(f"{value:.3f}" for value in told.values())]
            for name, told in ({LEFT_OUT[by]: told for by, told in found.items()} | skills).items()
        ],
        options.table,
    )
    head = SemanticHead.load("embedded")
    if options.fit:
        labelled = people() + background(head.cards)
        fitted = Refusal.fit(labelled, head.encoder.texts(labelled.texts))
        fitted.threshold, fitted.raised = found["row"]["threshold"], raised
        torch.manual_seed(0)
        print(f"wrote {fitted.save(options.fit, found['row'])}")
        head = SemanticHead.load("embedded")
    for text in OPPOSITES:
        try:
            plan = head.plan(text)
            print(f"{text}: {[max(c.weights, key=c.weights.__getitem__) for c in plan]}")
        except MwlError as error:
            print(f"{text}: refused ({error})")


if __name__ == "__main__":
    main()
