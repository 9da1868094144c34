"""Any open_clip model serves as encoder: by name, local folder or file."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from mwl.core.artifact import write_artifact
from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.semantics import Card
from mwl.semantics.encoders.towers import open_clip_encoder
from mwl.semantics.head import Calibration, SemanticHead
from mwl.training.fit import fit

ROOT = Path(__file__).parents[2]
SMALL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def local_model(tmp_path: Path) -> Path:
    """An open_clip folder with random weights."""
    folder = tmp_path / "small"
    folder.mkdir()
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": preprocess}))
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**SMALL)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def test_a_local_folder_loads_and_runs_end_to_end(local_model: Path) -> None:
    encoder = open_clip_encoder(f"local-dir:{local_model}")
    pictures = torch.randint(0, 255, (2, 48, 48, 3), dtype=torch.uint8)
    assert encoder.texts(["walk", "stand", "walk"]).shape == (3, 32)
    torch.testing.assert_close(encoder.pictures(pictures).norm(dim=-1), torch.ones(2))
    head = SemanticHead(encoder, Calibration(refusal=-2.0))
    head.set_cards([Card("walk", "walk forward"), Card("stand", "stand still")])
    head.deictic = ["go on"]
    head.calibration = Calibration(refusal=-2.0, picture=-1.0)
    assert head.weights("go on", pictures[0].numpy()) != head.weights("walk forward"), "the picture is looked at"
    assert sum(head.weights("walk forward").values()) == pytest.approx(1.0, abs=1e-5)


def test_a_missing_or_damaged_checkpoint_is_named(local_model: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nowhere"):
        open_clip_encoder("local-dir:/nowhere/at/all")
    with pytest.raises(MissingFile):
        open_clip_encoder("ViT-B-32", pretrained=str(tmp_path / "none.pt"))
    (local_model / "open_clip_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CorruptFile):
        open_clip_encoder(f"local-dir:{local_model}")


TOKENIZER = {"tokenizer_class": "Foreign", "auto_map": {"AutoTokenizer": ["foreign.Foreign", None]}}
MODEL = {"model_type": "bert", "auto_map": {"AutoConfig": "foreign.Foreign", "AutoModel": "foreign.Foreign"}}


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ({"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}, {"tokenizer_config": TOKENIZER}),
        ({"hf_tokenizer_name": "x"}, {"tokenizer_config": TOKENIZER}),
        ({"hf_tokenizer_name": "x"}, {"tokenizer_config": {"tokenizer_class": "Foreign"}, "config": MODEL}),
        ({"hf_model_name": "FOLDER", "hf_tokenizer_name": "x"}, {"config": MODEL}),
        ({"hf_model_name": "FOLDER/below", "hf_tokenizer_name": "x"}, {"below/config": MODEL}),
    ],
)
def test_code_that_lies_beside_a_model_is_never_run(
    local_model: Path, text: dict[str, Any], files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = json.loads((local_model / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= json.loads(json.dumps(text).replace("FOLDER", str(local_model)))
    (local_model / "open_clip_config.json").write_text(json.dumps(config))
    (local_model / "below").mkdir()
    for name, content in files.items():
        (local_model / f"{name}.json").write_text(json.dumps(content))
    mark = local_model.parent / "ran"
    for folder in (local_model, local_model / "below"):
        (folder / "foreign.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Foreign: pass\n")
    name = f"local-dir:{local_model}"
    with pytest.raises(CorruptFile):
        open_clip_encoder(name)
    head = {"clip": name, "pretrained": None, "image_size": 160, "calibration": {}}
    head |= {"phrases": {"background": [], "deictic": []}, "cards": [{"name": "walk", "description": "walk"}]}
    checkpoint = {"hyper_parameters": head, "state_dict": {}}
    folder = write_artifact(local_model.parent / "head", stage="semantic", name="x", checkpoint=checkpoint)
    with pytest.raises(BadInput, match="names the built-in encoder only"):
        SemanticHead.load(folder)
    with pytest.raises(CorruptFile):
        SemanticHead.load(folder, encoder=name)
    assert not mark.exists()


def _fit(tmp_path: Path, config: str, *overrides: str) -> Path:
    """Artifact of the stage, fitted on a handful of pictures."""
    few = ["--data.frames_per_scene=8", "--data.batches=2", "--data.batch_size=8", "--trainer.logger=false"]
    return fit(["--config", config, *few, *overrides, f"--output={tmp_path / 'fitted'}"])


def _check(folder: Path, clip: str, pretrained: str | None = None) -> SemanticHead:
    """The fitted head weighs words and pictures, and carries no weights of the CLIP it is made from."""
    with pytest.raises(BadInput, match=r"name it yourself: --encoder"):
        SemanticHead.load(folder)
    head = SemanticHead.load(folder, clip, pretrained)
    head.calibration, head.deictic = Calibration(refusal=-2.0), []  # random towers tell nothing apart
    assert sum(head.weights("walk forward").values()) == pytest.approx(1.0, abs=1e-5)
    assert head.picture_adapter is not None
    frame = torch.randint(0, 255, (60, 80, 3), dtype=torch.uint8).numpy()
    assert head.picture_scores(frame).shape == (3,)
    assert (folder / "model.ckpt").stat().st_size < 5e6
    return head


def test_the_stage_fits_adapters_on_a_frozen_clip(local_model: Path, tmp_path: Path) -> None:
    before = open_clip_encoder(f"local-dir:{local_model}")
    folder = _fit(
        tmp_path,
        str(ROOT / "conf" / "semantic.yaml#vit_b32"),
        f"--model.clip=local-dir:{local_model}",
        "--model.pretrained=null",
        "--data.image_size=32",
    )
    head = _check(folder, f"local-dir:{local_model}")
    pictures = torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8)
    torch.testing.assert_close(head.encoder.pictures(pictures), before.pictures(pictures))
    (local_model / "another.txt").touch()
    with pytest.raises(BadInput, match="fitted on another CLIP"):
        SemanticHead.load(folder, f"local-dir:{local_model}")


@pytest.mark.slow
def test_the_vit_b_32_configuration_runs_end_to_end_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32", pretrained=None)
    torch.save(model.state_dict(), tmp_path / "vit_b_32.pt")
    weights = str(tmp_path / "vit_b_32.pt")
    folder = _fit(tmp_path, str(ROOT / "conf" / "semantic.yaml#vit_b32"), f"--model.pretrained={weights}")
    _check(folder, "ViT-B-32", weights)
