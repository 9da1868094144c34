"""The gate as a stage, on the shipped demonstrations and experts."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch
from torch.nn import functional as F

from mwl.core import keys
from mwl.core.artifact import write_artifact
from mwl.core.errors import BadInput
from mwl.datasets.demonstrations import Demonstrations
from mwl.experts.library import ExpertLibrary
from mwl.selection import Guidance, load_gate
from mwl.selection import module as stage
from mwl.selection.data import GateData

DATA = Path(__file__).parents[2] / "data"
NAMES = ("stand", "walk")
FILES = {name: [str(DATA / "demonstrations" / f"{name}.npz")] for name in NAMES}
EXPERTS = [str(DATA / "experts" / name) for name in NAMES]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Artifact of a gate trained for seconds, on card embeddings that only tell experts apart."""

    def embed(library: ExpertLibrary, semantic: str) -> torch.Tensor:
        return F.one_hot(torch.arange(library.num_experts), 8).float()

    monkeypatch.setattr(stage, "embed_cards", embed)
    pl.seed_everything(0)
    module, data = stage.GateModule(EXPERTS), GateData(FILES, batch_size=128, batches_per_epoch=150)
    quiet_trainer.fit(module, data)
    entries = module.artifact()
    assert entries["metrics"]["accuracy"] > 0.9  # standing and walking hardly overlap
    return write_artifact(tmp_path / "gate", **entries)


def test_gate_overrules_a_wrong_instruction_where_the_state_is_clear(trained: Path) -> None:
    """Told to stand while walking, a gate with enough say keeps walking: stopping dead in mid-stride is a fall."""
    walking = Demonstrations.load(FILES["walk"][0]).observation[100:200]
    library = ExpertLibrary.load(EXPERTS)
    shares = {}
    for alpha in (0.2, 1.0):
        guidance = Guidance(library, load_gate(trained), {"stand": 1.0}, alpha, mode="top1")
        chosen = guidance.reference(walking)[keys.FUSED_WEIGHTS]
        shares[alpha] = float(chosen[:, library.index("walk")].mean())
    assert shares[0.2] > 0.9
    assert shares[1.0] == 0


def test_data_may_be_recorded_as_a_demonstrator_says(tmp_path: Path) -> None:
    demonstrator = tmp_path / "stand.yaml"
    demonstrator.write_text("{kind: stand, task: h1-stand, recording: {episodes: 2, steps: 30}}")
    data = GateData({"stand": [str(demonstrator)], "walk": FILES["walk"]}, validation_share=0.5)
    data.prepare(ExpertLibrary.load(EXPERTS))
    assert int((data.validation[keys.EXPERT_ID] == 0).sum()) == 30, "the second of the two episodes"
    assert data.sources[0] == str(demonstrator)


def test_unknown_expert_in_the_data_is_refused() -> None:
    data = GateData({"stand": FILES["stand"], "fly": FILES["walk"]})
    with pytest.raises(BadInput, match="names fly; the experts are stand, walk"):
        data.prepare(ExpertLibrary.load(EXPERTS))


def test_one_expert_alone_needs_no_gate() -> None:
    with pytest.raises(BadInput, match="at least two experts"):
        GateData({"stand": FILES["stand"]})
