"""Fusion and composition by hand."""

import torch

from mwl.selection import choose, compose, fuse

SEMANTIC = torch.tensor([0.9, 0.1, 0.0])
GATE = torch.tensor([[0.2, 0.2, 0.6], [1 / 3, 1 / 3, 1 / 3]])


def test_fusion_is_the_weighted_mean_of_both_opinions() -> None:
    fused = fuse(SEMANTIC, GATE, alpha=0.5)
    assert torch.allclose(fused[0], torch.tensor([0.55, 0.15, 0.3]))
    assert torch.allclose(fused.sum(-1), torch.ones(2))


def test_alpha_at_its_ends_follows_one_opinion() -> None:
    assert torch.equal(fuse(SEMANTIC, GATE, 0.0), GATE)
    assert torch.allclose(fuse(SEMANTIC, GATE, 1.0), SEMANTIC.expand(2, -1))


def test_a_mixture_is_the_weighted_mean() -> None:
    actions = torch.tensor([[[1.0], [0.0], [-1.0]]])
    weights = torch.tensor([[0.5, 0.2, 0.3]])
    assert torch.allclose(compose(actions, weights), torch.tensor([[0.2]]))


def test_top1_switches_only_beyond_the_margin() -> None:
    current = torch.tensor([0, 0, -1])
    weights = torch.tensor([[0.46, 0.54], [0.4, 0.6], [0.46, 0.54]])
    # A lead of 0.08 is within the margin, 0.2 is beyond it, and without a present choice the best is taken.
    assert choose(weights, current, margin=0.1).tolist() == [0, 1, 1]
