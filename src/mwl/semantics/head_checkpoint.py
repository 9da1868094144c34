"""What the checkpoint of a semantic head holds, every entry checked: it is data, whoever made it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from mwl.core.checkpoints import check_weights, load_module
from mwl.core.errors import BadInput, CorruptFile
from mwl.core.files import shown
from mwl.semantics import entries
from mwl.semantics.cards import Card, cards_from
from mwl.semantics.encoders.towers import SENTENCE, ClipEncoder, make_encoder
from mwl.semantics.network import WordAdapter

MAX_RANK = 1024  # of an adapter
REMOVED = "lexical"  # an encoder of earlier versions


@dataclass(frozen=True)
class Calibration:
    """Numbers that turn cosines into weights and refusals; fitted on development instructions.

    Args:
        temperature: of the softmax over scores (eq. 2).
        refusal: least score of an instruction that is carried out, after subtracting its closeness to phrases that ask
            for nothing physical.
        background: share of that closeness which is subtracted.
        picture: least closeness of a picture to a card for the picture to decide.
    """

    temperature: float = 0.06
    refusal: float = 0.28
    background: float = 0.3
    picture: float = 0.3


@dataclass(frozen=True)
class StoredHead:
    """The parts of a head as its checkpoint has them."""

    clip: str
    pretrained: str | None
    fitted_on: str | None
    """Identity of the encoder that it was fitted on; None in checkpoints that do not say."""
    image_size: int
    calibration: Calibration
    background: tuple[str, ...]
    deictic: tuple[str, ...]
    cards: list[Card]
    tower: Mapping[str, Tensor]
    adapter: Mapping[str, Tensor]
    picture_adapter: Mapping[str, Tensor]


def read_stored(checkpoint: Mapping[str, Any], where: str) -> StoredHead:
    """The parts of a head.

    Raises:
        CorruptFile: an entry is missing or is not what it should be.
    """
    try:
        return _stored(checkpoint)
    except ValueError as error:
        raise CorruptFile(f"{where}: not the checkpoint of a semantic head ({error}); fit it again") from error


def _stored(checkpoint: Mapping[str, Any]) -> StoredHead:
    whole = entries.mapping(checkpoint, "it", ("hyper_parameters", "state_dict"), ("adapter", "picture_adapter"))
    needs = ("clip", "pretrained", "image_size", "calibration", "phrases", "cards")
    settings = entries.mapping(whole["hyper_parameters"], "hyper_parameters", needs, ("encoder",))
    phrases = entries.mapping(settings["phrases"], "phrases", ("background", "deictic"))
    numbers = entries.mapping(settings["calibration"], "calibration", (), [entry.name for entry in fields(Calibration)])
    least = {"temperature": 1e-4}
    return StoredHead(
        clip=_name(settings["clip"], "clip"),
        pretrained=None if settings["pretrained"] is None else _name(settings["pretrained"], "pretrained"),
        fitted_on=None if settings.get("encoder") is None else _name(settings["encoder"], "encoder"),
        image_size=entries.whole(settings["image_size"], "image_size", 16, 1024),
        calibration=Calibration(
            **{name: entries.number(value, name, least.get(name, -10.0), 10.0) for name, value in numbers.items()}
        ),
        background=entries.texts(phrases["background"], "background"),
        deictic=entries.texts(phrases["deictic"], "deictic"),
        cards=cards_from(settings["cards"]),
        tower=_weights(whole["state_dict"], "state_dict"),
        adapter=_weights(whole.get("adapter"), "adapter"),
        picture_adapter=_weights(whole.get("picture_adapter"), "picture_adapter"),
    )


def encoder_of(stored: StoredHead, own: ClipEncoder | None, where: str) -> ClipEncoder:
    """The encoder of a head with its image tower: the built-in one, or the one that the user named.

    Raises:
        BadInput: the checkpoint names another than the built-in one, and the user named none, or not the same one.
        SpecMismatch: the image tower is of another shape.
    """
    if stored.clip == REMOVED:
        raise BadInput(f"{where}: was fitted on the encoder {REMOVED!r}, now removed; fit it again on {SENTENCE!r}")
    if stored.clip == SENTENCE:
        if own is not None:
            raise BadInput(f"{where}: was fitted on the built-in encoder {SENTENCE!r}; leave out --encoder")
        encoder = make_encoder(stored.clip, None, stored.image_size)
        if stored.tower:
            check_weights(encoder.visual.state_dict(), stored.tower, f"{where} state_dict")
            encoder.visual.load_state_dict(stored.tower)
        return encoder
    if own is None:
        weights = f" --pretrained {stored.pretrained}" if stored.pretrained else ""
        raise BadInput(
            f"{where}: was fitted on the CLIP {shown(stored.clip)}, and a checkpoint names the built-in encoder only;"
            f" where you trust that one, name it yourself: --encoder {stored.clip[:120]}{weights[:120]}"
        )
    if stored.tower:
        raise CorruptFile(f"{where}: holds an image tower, which heads on a CLIP of its own do not; fit it again")
    if stored.fitted_on is not None and own.identity is not None and stored.fitted_on != own.identity:
        raise BadInput(f"{where}: was fitted on another CLIP than --encoder {shown(own.name)}")
    return own


def adapter_of(weights: Mapping[str, Tensor], encoder: ClipEncoder, where: str) -> WordAdapter | None:
    """The adapter of stored weights; None for none.

    Raises:
        SpecMismatch: it is of another shape than the encoder's embeddings.
    """
    if not weights:
        return None
    down = weights.get("down.weight")
    rank = down.shape[0] if isinstance(down, Tensor) and down.ndim == 2 else 1
    size = encoder.size if encoder.size is not None else len(encoder.texts(["walk"])[0])
    adapter = load_module(lambda: WordAdapter(size, min(rank, MAX_RANK)), weights, where)
    return adapter.eval().requires_grad_(False)


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 4096 or not value.isprintable():
        raise ValueError(f"{what} is {shown(value)}, not a name")
    return value


def _weights(value: Any, what: str) -> Mapping[str, Tensor]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise ValueError(f"{what} holds no weights")
    return value
