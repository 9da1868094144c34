"""Measures of calibration against hand-worked cases, and the fit of temperature and threshold."""

import numpy as np
import pytest
import torch

from mwl.semantics.calibration import auroc, calibrate, expected_calibration_error
from mwl.semantics.cards import Card
from mwl.semantics.head import Calibration


def test_auroc_counts_ordered_pairs() -> None:
    # Pairs: 3>1, 3>2, 2>1 and the tie 2=2, so 3.5 of 4.
    assert auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == pytest.approx(3.5 / 4)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    probs = torch.tensor([[0.75, 0.25]] * 4)
    # Confidence 0.75 everywhere, three of four right: no gap; one of four right: a gap of 0.5.
    assert expected_calibration_error(probs, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.0, abs=1e-6)
    assert expected_calibration_error(probs, torch.tensor([0, 1, 1, 1])) == pytest.approx(0.5, abs=1e-6)


class _Fixed:
    """A head whose scores are written in the text: `a b` scores a for the first skill and b for the second."""

    names = ("first", "second")
    calibration = Calibration(refusal=0.0)
    cards: tuple[Card, ...] = ()

    def set_cards(self, cards: list[Card]) -> None:
        """Shorter cards score the same here."""

    def scores(self, text: str) -> torch.Tensor:
        return torch.tensor([float(x) for x in text.split()])

    def closeness(self, text: str) -> float:
        return float(self.scores(text).max())


def test_threshold_lies_between_near_and_far_and_temperature_follows_the_errors() -> None:
    skills = {"first": ["0.9 0.1", "0.8 0.2", "0.4 0.6"], "second": ["0.1 0.9"]}
    calibration, metrics = calibrate(_Fixed(), skills, ["0.3 0.2", "0.1 0.2"])  # type: ignore[arg-type]
    assert 0.3 < calibration.refusal < 0.61  # the lowest near score is 0.6, the highest far one 0.3
    assert metrics["top1"] == 0.75
    assert metrics["refusal_auroc"] == 1.0
    sure, _ = calibrate(_Fixed(), {"first": ["0.9 0.1"], "second": ["0.1 0.9"]}, ["0.1 0.1"])  # type: ignore[arg-type]
    assert sure.temperature < calibration.temperature  # one mistake in four asks for softer weights than none
