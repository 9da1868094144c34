"""Calibration: the temperature that makes weights mean what they say, and the threshold of refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from mwl.semantics.language.negation import without_negation

SHORT_CARD = 3  # paraphrases of a terse card

if TYPE_CHECKING:
    from mwl.semantics.head import Calibration, SemanticHead


def calibrate(
    head: "SemanticHead", skills: Mapping[str, Sequence[str]], far: Sequence[str]
) -> tuple["Calibration", dict[str, float]]:
    """Fit temperature and refusal threshold on labelled instructions.

    Args:
        head: with the cards of the labelled skills.
        skills: instructions by skill.
        far: instructions that no skill fits.

    Returns:
        the calibration, and `top1`, `refusal_auroc`, `calibration_error` and `balanced_refusal` on the same texts.
    """
    labelled = [(without_negation(text)[0], head.names.index(name)) for name, texts in skills.items() for text in texts]
    full = head.cards
    shorter = [replace(card, paraphrases=card.paraphrases[:SHORT_CARD]) for card in full]
    scores, near, away, labels = [], [], [], []
    for cards in (full, shorter):  # a threshold that holds for terse cards too
        head.set_cards(cards)
        scores += [head.scores(text) for text, _ in labelled]
        labels += [label for _, label in labelled]
        near += [head.closeness(text) for text, _ in labelled]
        away += [head.closeness(text) for text in far]
    head.set_cards(full)
    return _fit(head.calibration, torch.stack(scores), torch.tensor(labels), np.array(near), np.array(away))


def _fit(
    before: "Calibration", scores: torch.Tensor, labels: torch.Tensor, near: np.ndarray, away: np.ndarray
) -> tuple["Calibration", dict[str, float]]:
    from scipy.optimize import minimize_scalar

    def negative_log_likelihood(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(scores / np.exp(log_temperature), labels))

    best = minimize_scalar(negative_log_likelihood, bounds=(np.log(0.01), np.log(0.5)), method="bounded")
    temperature = float(np.exp(best.x))
    refusal, balanced = between(near, away)
    metrics = {
        "top1": float((scores.argmax(-1) == labels).float().mean()),
        "refusal_auroc": auroc(near, away),
        "balanced_refusal": balanced,
        "calibration_error": expected_calibration_error((scores / temperature).softmax(-1), labels),
    }
    return replace(before, temperature=temperature, refusal=refusal), metrics


def calibrate_pictures(
    before: "Calibration", scores: torch.Tensor, owner: torch.Tensor, empty: torch.Tensor
) -> tuple["Calibration", dict[str, float]]:
    """Fit the closeness from which a picture decides what an instruction leaves open.

    Args:
        before: the calibration of the words.
        scores: `[P, K]` closeness of pictures of scenes to each card.
        owner: `[P]` the card whose scene a picture shows; -1 where no card is for it.
        empty: `[Q, K]` closeness of pictures that show no scene.

    Returns:
        the calibration, and `picture_top1` and `picture_refusal_auroc` on the same pictures.
    """
    owned = owner >= 0
    known, place = scores[owned], owner[owned]
    without = known.scatter(1, place[:, None], -1.0)  # the same pictures for a library that lacks their skill
    near = known.max(dim=1).values.numpy()
    away = torch.cat([without, scores[~owned], empty]).max(dim=1).values.numpy()
    picture, _ = between(near, away)
    top1 = float((known.argmax(dim=1) == place).float().mean())
    return replace(before, picture=picture), {"picture_top1": top1, "picture_refusal_auroc": auroc(near, away)}


def between(near: np.ndarray, away: np.ndarray) -> tuple[float, float]:
    """The threshold with the best balanced accuracy, in the middle of the gap it lies in, and that accuracy."""
    values = np.unique(np.concatenate([near, away]))
    edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2])
    balanced = [((near >= edge).mean() + (away < edge).mean()) / 2 for edge in edges]
    best = int(np.argmax(balanced))
    return float(edges[best]), float(balanced[best])


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties counting half."""
    from scipy.stats import mannwhitneyu  # its import takes half a second, and only fits need it

    return float(mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative)))


def expected_calibration_error(probs: torch.Tensor, labels: torch.Tensor, bins: int = 10) -> float:
    """Mean gap between confidence and accuracy of the top choice of `probs [T, K]`, over bins of confidence."""
    confidence, choice = probs.max(dim=-1)
    correct = (choice == labels).float()
    place = (confidence * bins).long().clamp(max=bins - 1)
    gaps = [
        (place == b).float().mean() * (confidence[place == b].mean() - correct[place == b].mean()).abs()
        for b in range(bins)
        if (place == b).any()
    ]
    return float(torch.stack(gaps).sum())
