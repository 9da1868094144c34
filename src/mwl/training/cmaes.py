"""Search by evolution: the separable form of CMA-ES, which learns one step size per dimension."""

import math

import torch
from torch import Tensor, nn


class Evolution(nn.Module):
    """Separable CMA-ES (Ros and Hansen, "A Simple Modification in CMA-ES", 2008), asked for candidates and told scores.

    Everything it remembers is a buffer, so a search resumes with the checkpoint that holds it.

    Args:
        size: number P of dimensions; they should matter about equally per unit.
        population: candidates L per generation, at least 4.
        step_size: first standard deviation, and the largest: wide steps pay in small populations until they break
            something that only shows later.
    """

    mean: Tensor
    sigma: Tensor
    variance: Tensor
    path: Tensor
    sigma_path: Tensor
    drawn: Tensor

    def __init__(self, size: int, population: int, step_size: float) -> None:
        super().__init__()
        self.step_size = step_size
        rank = torch.arange(1, population // 2 + 1)
        weight = math.log(population / 2 + 0.5) - rank.log()
        self.weight = weight / weight.sum()
        self.effective = float(1 / self.weight.square().sum())
        for name in ("mean", "path", "sigma_path"):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("sigma", torch.tensor(float(step_size)))
        self.register_buffer("drawn", torch.zeros(population, size))

    def ask(self) -> Tensor:
        """Candidates `[L, P]` of a new generation."""
        self.drawn.copy_(torch.randn_like(self.drawn))
        return self.mean + self.sigma * self.variance.sqrt() * self.drawn

    def tell(self, score: Tensor) -> None:
        """Move towards the better half of the candidates last asked for, by their scores `[L]`, high is good."""
        size, effective = len(self.mean), self.effective
        best = self.drawn[score.argsort(descending=True)[: len(self.weight)]]
        step = self.weight @ best
        scaled = self.variance.sqrt() * step
        self.mean.add_(self.sigma * scaled)
        rate = (effective + 2) / (size + effective + 5)
        self.sigma_path.mul_(1 - rate).add_(math.sqrt(rate * (2 - rate) * effective) * step)
        self._adapt_variance(best, scaled)
        damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (size + 1)) - 1) + rate
        expected = math.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))
        growth = (rate / damping) * (float(self.sigma_path.norm()) / expected - 1)
        self.sigma.mul_(math.exp(growth)).clamp_(max=self.step_size)

    def _adapt_variance(self, best: Tensor, scaled: Tensor) -> None:
        size, effective = len(self.mean), self.effective
        rate = (4 + effective / size) / (size + 4 + 2 * effective / size)
        self.path.mul_(1 - rate).add_(math.sqrt(rate * (2 - rate) * effective) * scaled)
        faster = (size + 2) / 3  # the separable form has fewer numbers to learn
        one = 2 / ((size + 1.3) ** 2 + effective) * faster
        many = min(1 - one, 2 * (effective - 2 + 1 / effective) / ((size + 2) ** 2 + effective) * faster)
        spread = self.weight @ (self.variance * best.square())
        self.variance.mul_(1 - one - many).add_(one * self.path.square() + many * spread)
