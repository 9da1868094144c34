"""Inputs in standard deviations, by the whole sample or as it comes in."""

import pytest
import torch

from mwl.core.normaliser import RunningNormaliser, mean_and_std, normalise


@pytest.mark.parametrize("portions", [[7, 50, 33], [90]])
def test_running_normaliser_in_portions_equals_that_of_the_whole(portions: list[int]) -> None:
    data = torch.randn(90, 3) * torch.tensor([1.0, 10.0, 0.1]) + 4
    norm = RunningNormaliser(3)
    for portion in data.split(portions):
        norm.update(portion)
    assert torch.allclose(norm.mean, data.mean(0), atol=1e-5)
    assert torch.allclose(norm.variance, data.var(0, unbiased=False), rtol=1e-4)
    # of 90 rows the two variances, by 90 and by 89, differ by half a percent of a standard deviation
    torch.testing.assert_close(norm(data), normalise(data, *mean_and_std(data), norm.limit), atol=0.02, rtol=0.01)


def test_what_hardly_moves_is_not_blown_up_and_what_was_never_seen_is_cut() -> None:
    data = torch.randn(90, 2) * torch.tensor([1.0, 1e-6])
    norm = RunningNormaliser(2, limit=6.0)
    norm.update(data)
    for seen, limit in ((norm(data), 6.0), (normalise(data, *mean_and_std(data)), 5.0)):
        assert seen[:, 0].std() > 0.5
        assert seen[:, 1].abs().max() < 0.1  # 1e-5 of a spread taken for 1e-3 at least
        assert seen.abs().max() <= limit
    assert norm(torch.full((1, 2), 1e9)).tolist() == [[6.0, 6.0]]
