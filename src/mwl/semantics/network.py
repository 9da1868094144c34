"""The adapter: a small residual map over a frozen text tower that learns which differences in wording matter."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WordAdapter(nn.Module):
    """Residual map of low rank on unit embeddings, the identity until it is trained: unseen words keep their meaning.

    Args:
        size: E, of the embeddings.
        rank: of the map.
    """

    def __init__(self, size: int, rank: int = 64) -> None:
        super().__init__()
        self.down = nn.Linear(size, rank, bias=False)
        self.up = nn.Linear(rank, size, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, embedding: Tensor) -> Tensor:
        """Unit embeddings `[..., E]` of unit embeddings `[..., E]`."""
        adapted: Tensor = F.normalize(embedding + self.up(self.down(embedding)), dim=-1)
        return adapted


def wording_loss(
    adapter: WordAdapter, embedding: Tensor, group: Tensor, temperature: float, stay: float, noise: float
) -> Tensor:
    """Draw phrases of one group together, and hold every phrase near where the text tower put it.

    Args:
        adapter: the map being trained.
        embedding: `[B, E]` unit embeddings of phrases.
        group: `[B]` which skill or topic a phrase belongs to.
        temperature: of the contrast between groups.
        stay: weight of staying near the original embedding; what keeps the vocabulary open.
        noise: standard deviation per dimension that is added to the embeddings.
    """
    jittered = F.normalize(embedding + noise * torch.randn_like(embedding), dim=-1)
    adapted = adapter(jittered)
    itself = torch.eye(len(group), dtype=torch.bool, device=group.device)
    logits = (adapted @ adapted.T / temperature).masked_fill(itself, -1e9)
    same = (group[:, None] == group[None]) & ~itself
    paired = same.any(dim=1)
    log_probs = logits.log_softmax(dim=1).masked_fill(~same, 0.0)
    contrast = -(log_probs.sum(dim=1)[paired] / same.sum(dim=1)[paired]).mean()
    drift = (1 - (adapted * jittered).sum(dim=-1)).mean()
    return contrast + stay * drift
