"""The adapter: a small residual map over a frozen text tower that learns which differences in wording matter."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PHRASES_PER_BATCH = 512


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


def fit_adapter(
    embedding: Tensor, group: Tensor, rank: int = 64, steps: int = 300, lr: float = 1e-3, stay: float = 7.0
) -> WordAdapter:
    """Train an adapter on phrases `[P, E]` of groups `[P]`; seconds on a CPU, and the same for the same phrases."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapter = WordAdapter(embedding.shape[-1], rank)
        optimizer = torch.optim.AdamW(adapter.parameters(), lr=lr, weight_decay=0.01)
        for _ in range(steps):
            chosen = torch.randperm(len(group))[:PHRASES_PER_BATCH]
            loss = wording_loss(adapter, embedding[chosen], group[chosen], temperature=0.07, stay=stay, noise=0.03)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return adapter.eval().requires_grad_(False)
