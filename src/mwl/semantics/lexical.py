"""A text encoder made of words and their parts: what stands in where the sentence encoder is not installed."""

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_WORD = re.compile(r"[a-z]+")
_ENDINGS = ("ingly", "edly", "ing", "ied", "ies", "ed", "es", "ly", "s", "er")
_LITTLE = frozenset(
    re.findall(
        _WORD,
        "a an the to of at on in is are be it its that this there here your you i we me my us our and or with for by "
        "from please could would can will robot just so now some one kindly want like should let lets",
    )
)
_WEIGHT_OF_LITTLE, _WEIGHT_OF_PARTS = 0.2, 0.35
_SIZES_OF_PARTS = (3, 4)


def encode(texts: Sequence[str], size: int) -> Tensor:
    """Unit embeddings `[T, E]`: words, neighbouring words and parts of words, hashed to signed directions."""
    embedded = torch.zeros(len(texts), size)
    for row, text in enumerate(texts):
        for feature, weight in _features(text.lower().replace("'", "")):
            embedded[row] += weight * _direction(feature, size)
    return F.normalize(embedded, dim=-1)


def stem(word: str) -> str:
    """A word without its ending, where enough is left of it: walking, walks and walked become walk."""
    for ending in _ENDINGS:
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3:
            doubled = len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "ls"
            return rest[:-1] if doubled else rest.rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


def _features(text: str) -> Iterator[tuple[str, float]]:
    words = [(word, stem(word)) for word in _WORD.findall(text)]
    for word, root in words:
        little = word in _LITTLE
        yield root, _WEIGHT_OF_LITTLE if little else 1.0
        if not little:
            parts = [f"<{root}>"[i : i + n] for n in _SIZES_OF_PARTS for i in range(len(root) + 3 - n)]
            for part in parts:
                yield f"part {part}", _WEIGHT_OF_PARTS / len(parts) ** 0.5
    telling = [root for word, root in words if word not in _LITTLE]
    for first, second in itertools.pairwise(telling):
        yield f"{first} {second}", 0.5


def _direction(feature: str, size: int) -> Tensor:
    """A direction `[E]` of unit length for each feature, the same on every machine and nearly orthogonal to others."""
    seed = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=7).digest(), "little")
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator) / size**0.5
