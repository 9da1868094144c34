"""Roughness of motion: its unit, its start, and what it says of known movements."""

import pytest
import torch

from mwl.world_model.adaptation.jerk import Roughness


def play(roughness: Roughness, velocity: torch.Tensor, learning: bool) -> torch.Tensor:
    """Roughness `[T, N]` of velocities `[T, N, J]` of episodes that begin together."""
    steps = torch.arange(len(velocity)).unsqueeze(1).expand(-1, velocity.shape[1])
    return torch.stack([roughness.observe(v, at, learning=learning) for v, at in zip(velocity, steps, strict=True)])


def test_twice_the_amplitude_is_four_times_as_rough() -> None:
    time = torch.arange(400) / 50
    wave = torch.sin(2 * torch.pi * time).view(-1, 1, 1).expand(-1, 2, 3)
    roughness = Roughness(2, 3)
    play(roughness, wave, learning=True)
    seen = play(roughness, wave * torch.tensor([1.0, 2.0]).view(1, 2, 1), learning=False)
    assert seen[:2].tolist() == [[1.0, 1.0], [1.0, 1.0]]  # no past yet
    assert seen[2:].mean(dim=0).tolist() == pytest.approx([1.0, 4.0], rel=0.01)


def test_steady_acceleration_is_not_rough() -> None:
    roughness = Roughness(1, 2)
    play(roughness, torch.randn(50, 1, 2), learning=True)
    ramp = torch.arange(50.0).view(-1, 1, 1).expand(-1, 1, 2)
    assert play(roughness, ramp, learning=False)[2:].max() == 0
