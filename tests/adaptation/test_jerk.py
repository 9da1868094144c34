"""Jerk cost of motion: its unit, its start, and what it says of known movements."""

import pytest
import torch

from mwl.adaptation.jerk import JerkCost


def play(cost: JerkCost, velocity: torch.Tensor, learning: bool) -> torch.Tensor:
    """Jerk cost `[T, N]` of velocities `[T, N, J]` of episodes that begin together."""
    steps = torch.arange(len(velocity)).unsqueeze(1).expand(-1, velocity.shape[1])
    return torch.stack([cost.observe(v, at, learning=learning) for v, at in zip(velocity, steps, strict=True)])


def test_twice_the_amplitude_is_four_times_as_rough() -> None:
    time = torch.arange(400) / 50
    wave = torch.sin(2 * torch.pi * time).view(-1, 1, 1).expand(-1, 2, 3)
    cost = JerkCost(2, 3)
    play(cost, wave, learning=True)
    seen = play(cost, wave * torch.tensor([1.0, 2.0]).view(1, 2, 1), learning=False)
    assert seen[:2].tolist() == [[1.0, 1.0], [1.0, 1.0]]  # no past yet
    assert seen[2:].mean(dim=0).tolist() == pytest.approx([1.0, 4.0], rel=0.01)


def test_steady_acceleration_is_not_rough() -> None:
    cost = JerkCost(1, 2)
    play(cost, torch.randn(50, 1, 2), learning=True)
    ramp = torch.arange(50.0).view(-1, 1, 1).expand(-1, 1, 2)
    assert play(cost, ramp, learning=False)[2:].max() == 0
