"""The gate: permutations, experts it never saw, and states it can tell apart."""

import pytest
import torch
from torch.nn import functional as F

from mwl.core.artifact import write_artifact
from mwl.core.errors import CorruptFile, SpecMismatch
from mwl.selection import Gate, LoadedGate, load_gate
from mwl.selection.context import CONTEXT_SIZE
from mwl.selection.module import entropy, entropy_shortfall

FEATURES, CARD = 6, 8


def cards(count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, CARD, generator=torch.Generator().manual_seed(0)), dim=-1)


def trained_gate(embeddings: torch.Tensor) -> Gate:
    """Learns that expert i belongs to states whose i-th feature is large."""
    torch.manual_seed(0)
    gate = Gate(FEATURES, CARD, hidden=32)
    optimizer = torch.optim.Adam(gate.parameters(), lr=1e-2)
    for _ in range(150):
        label = torch.randint(len(embeddings), (64,))
        loss = F.cross_entropy(gate.logits(states(label), embeddings), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return gate.eval()


def states(label: torch.Tensor) -> torch.Tensor:
    return F.one_hot(label, FEATURES).float() * 2 + 0.3 * torch.randn(len(label), FEATURES)


def test_probabilities_follow_their_experts_when_these_change_places() -> None:
    gate, embeddings, order = Gate(FEATURES, CARD), cards(4), torch.tensor([2, 0, 3, 1])
    features = torch.randn(5, FEATURES)
    probs = gate(features, embeddings)
    assert torch.allclose(probs.sum(-1), torch.ones(5))
    assert torch.allclose(gate(features, embeddings[order]), probs[:, order], atol=1e-6)


def test_state_decides_and_an_added_expert_gets_its_share_at_once() -> None:
    embeddings = cards(4)
    gate = trained_gate(embeddings[:3])
    label = torch.arange(3).repeat(20)
    probs = gate(states(label), embeddings[:3])
    assert (probs.argmax(-1) == label).float().mean() > 0.95
    with_new = gate(states(label), torch.cat([embeddings[:3], F.normalize(embeddings[:1] + 0.05, dim=-1)]))
    # A card close to that of expert 0 is preferred in the states of expert 0, without training.
    assert with_new[label == 0, 3].mean() > 0.2
    assert with_new[label == 1, 3].mean() < 0.1


def test_entropy_floor_penalises_certainty_alone() -> None:
    even = torch.full((4, 3), 1 / 3)
    certain = torch.tensor([[1.0, 0.0, 0.0]]).expand(4, -1)
    assert torch.allclose(entropy(even), torch.tensor(3.0).log())
    assert entropy_shortfall(even, 0.5) == 0
    assert torch.allclose(entropy_shortfall(certain, 0.5), 0.5 * torch.tensor(3.0).log())


def test_handed_over_gate_answers_the_same(tmp_path) -> None:
    gate, embeddings = Gate(CONTEXT_SIZE, CARD), cards(2)
    entries = LoadedGate(gate, dict(zip(["stand", "walk"], embeddings, strict=True))).to_plain()
    write_artifact(tmp_path / "gate", stage="gate", name="gate", checkpoint=entries)
    loaded = load_gate(tmp_path / "gate")
    features = torch.randn(3, CONTEXT_SIZE)
    expected = gate(features, embeddings.flip(0))
    assert torch.equal(loaded.gate(features, loaded.embeddings_of(["walk", "stand"])), expected)
    with pytest.raises(SpecMismatch, match="no card of expert run"):
        loaded.embeddings_of(["stand", "run"])


def test_a_gate_that_sees_other_features_is_refused(tmp_path) -> None:
    entries = LoadedGate(Gate(FEATURES, CARD), {"stand": cards(1)[0]}).to_plain()
    write_artifact(tmp_path / "gate", stage="gate", name="gate", checkpoint=entries)
    with pytest.raises(SpecMismatch, match=f"sees 6 features, this version {CONTEXT_SIZE}; fit it again"):
        load_gate(tmp_path / "gate")


def test_checkpoint_of_something_else_is_refused(tmp_path) -> None:
    write_artifact(tmp_path / "gate", stage="gate", name="gate", checkpoint={"state_dict": {}})
    with pytest.raises(CorruptFile, match="not the checkpoint of a gate"):
        load_gate(tmp_path / "gate")
