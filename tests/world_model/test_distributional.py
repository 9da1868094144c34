"""Two-hot regression against values worked out by hand, in float64."""

import math

import pytest
import torch

from mwl.world_model.distributional import TwoHot, symexp, symlog


@pytest.fixture
def codec() -> TwoHot:
    return TwoHot().double()


def test_symlog_and_its_inverse() -> None:
    x = torch.tensor([-7.0, -0.5, 0.0, math.e - 1, 1000.0], dtype=torch.float64)
    assert symlog(x)[3] == pytest.approx(1.0)  # ln(1 + e - 1)
    assert torch.allclose(symexp(symlog(x)), x)


def test_target_splits_between_the_two_nearest_bins(codec: TwoHot) -> None:
    # Bins are 0.2 apart from -10; symlog(v) = 0.25 lies a quarter of the way from bin 51 (0.2) to bin 52 (0.4).
    value = torch.tensor(math.exp(0.25) - 1, dtype=torch.float64)
    target = codec.encode(value)
    assert target[51] == pytest.approx(0.75)
    assert target[52] == pytest.approx(0.25)
    assert target.sum() == pytest.approx(1.0)


def test_values_beyond_the_bins_count_as_the_last(codec: TwoHot) -> None:
    target = codec.encode(torch.tensor([-1e9, 1e9], dtype=torch.float64))
    assert target[0, 0] == pytest.approx(1.0)
    assert target[1, 100] == pytest.approx(1.0)


def test_decoding_a_target_gives_the_value_back(codec: TwoHot) -> None:
    value = torch.tensor([-20.0, -0.3, 0.0, 0.917, 184.0], dtype=torch.float64)
    logits = codec.encode(value).clamp(min=1e-300).log()
    assert torch.allclose(codec.decode(logits), value, atol=1e-6)


def test_loss_is_the_cross_entropy_with_the_written_out_target(codec: TwoHot) -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, 101, dtype=torch.float64)
    value = torch.randn(7, dtype=torch.float64) * 30
    expected = -(codec.encode(value) * logits.log_softmax(-1)).sum(-1)
    assert torch.allclose(codec.loss(logits, value), expected)


def test_even_logits_cost_the_log_of_the_number_of_bins(codec: TwoHot) -> None:
    loss = codec.loss(torch.zeros(101, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64))
    assert loss == pytest.approx(math.log(101))


def test_a_mean_counts_what_comes_by_chance_at_its_worth() -> None:
    codec = TwoHot(mean=True).double()
    value = torch.tensor([-20.0, -0.3, 0.0, 0.917, 184.0], dtype=torch.float64)
    logits = codec.encode(value).clamp(min=1e-300).log()
    assert torch.allclose(codec.decode(logits), value, atol=1e-6)
    chance = (codec.encode(torch.tensor(300.0).double()) + codec.encode(torch.tensor(0.0).double())) / 2
    logits = chance.clamp(min=1e-300).log()
    assert codec.decode(logits) == pytest.approx(150.0)
    # the mean bin is half of ln 301, up to how 300 falls between bins; e^2.85 - 1 = 16.3
    assert TwoHot().double().decode(logits) == pytest.approx(16.3, abs=0.1)
