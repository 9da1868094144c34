"""Files of tensors and plain values: written whole or not at all, checked when read, and put into a network.

What was set when one was made and can't change when training goes on from it is refused here too.
"""

import io
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mwl._renamed import present_keys
from mwl.core.errors import BadInput, CorruptFile, MissingFile, SpecMismatch
from mwl.core.files import shown, writing

_MAX_ENTRIES = 200_000  # tensors, numbers and texts in a checkpoint
M = TypeVar("M", bound=nn.Module)


def save_checkpoint(path: Path | str, content: Any) -> None:
    """Write tensors, dicts, lists, strings and numbers; what was at `path` stays until the new file is on the disk.

    Raises:
        WriteFailed: the disk is full, or the place can't be written.
    """
    buffer = io.BytesIO()  # torch tells of a full disk as an error of its own writer, without the reason
    torch.save(content, buffer)
    with writing(path) as scratch:
        scratch.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path | str) -> Any:
    """What `save_checkpoint` wrote, on the CPU, with `weights_only=True`.

    The sums over its parts are checked: torch reads zeros where a power cut left some, without a word.

    Raises:
        MissingFile: no such file.
        CorruptFile: torn, damaged, or it needs more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile(f"{shown(path)}: no such file")
    with _reading(path):
        return _whole(path)


def read_sound(path: Path) -> dict[str, Any]:
    """The named entries of a checkpoint that came from elsewhere: plain, finite, and no more than the file holds.

    Raises:
        CorruptFile: they are not.
    """
    with _reading(path):
        with zipfile.ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > path.stat().st_size:
                raise CorruptFile(f"{shown(path)}: is compressed, as no checkpoint is")
        # mapped, as torch then refuses tensors that reach beyond what the file holds for them
        checkpoint = present_keys(_Sound(path).copy(_whole(path, mmap=True), ""))
    if not isinstance(checkpoint, dict):
        raise CorruptFile(f"{shown(path)}: holds no named entries; fit the stage again")
    return checkpoint


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file where reading it fails."""
    try:
        yield
    except CorruptFile:
        raise
    except RecursionError as error:
        raise CorruptFile(f"{shown(path)}: is nested too deeply") from error
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorruptFile(f"{shown(path)}: cannot be read as a checkpoint ({reason[:120]})") from error


def _whole(path: Path, **options: Any) -> Any:
    with zipfile.ZipFile(path) as parts:
        if (damaged := parts.testzip()) is not None:
            raise CorruptFile(f"{shown(path)}: is damaged (in {shown(damaged)})")
    return torch.load(path, map_location="cpu", weights_only=True, **options)


class _Sound:
    """Copies a loaded checkpoint out of the file, refusing what is not plain and finite."""

    def __init__(self, path: Path) -> None:
        self.where, self.count = shown(path), 0

    def copy(self, value: Any, name: str) -> Any:
        self.count += 1
        if self.count > _MAX_ENTRIES:
            raise CorruptFile(f"{self.where}: holds more than {_MAX_ENTRIES} entries")
        if isinstance(value, Tensor):
            return self._tensor(value, name)
        if isinstance(value, dict):
            return {self._key(key, name): self.copy(entry, f"{name}.{key}") for key, entry in value.items()}
        if isinstance(value, list | tuple):
            copies = [self.copy(entry, f"{name}.{i}") for i, entry in enumerate(value)]
            return copies if isinstance(value, list) else tuple(copies)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._refused(name, f"is {value}")
        if value is not None and not isinstance(value, str | int | float | bool):
            raise self._refused(name, f"is a {type(value).__name__}, no plain value")
        return value

    def _key(self, key: Any, name: str) -> str | int:
        if not isinstance(key, str | int):
            raise self._refused(name, f"has a {type(key).__name__} for a name")
        return key

    def _tensor(self, value: Tensor, name: str) -> Tensor:
        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
            raise self._refused(name, "is no plain tensor")
        if value.numel() * value.element_size() > max(2**20, value.untyped_storage().nbytes()):
            raise self._refused(name, f"claims {value.numel()} numbers, more than the file holds")
        if value.is_floating_point() and not value.isfinite().all():
            raise self._refused(name, "is not finite everywhere")
        return value.detach().clone()

    def _refused(self, name: str, what: str) -> CorruptFile:
        return CorruptFile(f"{self.where}: {shown(name.removeprefix('.'))[1:-1]} {what}; fit the stage again")


def load_module(make: Callable[[], M], weights: Any, where: str) -> M:
    """A module with the weights of a checkpoint.

    Args:
        make: builds it, as the checkpoint's settings say; before that on no device, so that sizes beyond all memory
            are refused by comparison with the weights alone.
        weights: its `state_dict`.
        where: begins the message.

    Raises:
        SpecMismatch: the settings are of no such module, or the weights differ from it in names, shapes or types.
    """
    try:
        with torch.device("meta"):
            wanted = make().state_dict()
        check_weights(wanted, weights, where)
        module = make()
        module.load_state_dict(weights)
    except BadInput:
        raise
    except Exception as error:  # whatever a constructor says of settings that are not its own
        why = " ".join(str(error).split())[:120]
        raise SpecMismatch(f"{where}: its settings are of no such network ({why}); fit the stage again") from error
    return module


def check_weights(wanted: Mapping[str, Tensor], weights: Any, where: str) -> None:
    """Refuse weights that differ from those that are wanted in names, shapes or types, or don't fit into these.

    Raises:
        SpecMismatch: they do.
    """
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise SpecMismatch(f"{where}: holds no weights; fit the stage again")
    for name in sorted(wanted.keys() | weights.keys(), key=str):
        if name not in wanted or name not in weights:
            what = "lacks weights" if name not in weights else "holds unknown weights"
            raise SpecMismatch(f"{where}: {what} {shown(name)}; fit the stage again")
        own, held = wanted[name], weights[name]
        if own.shape != held.shape or own.is_floating_point() != held.is_floating_point():
            raise SpecMismatch(
                f"{where}: weights {shown(name)} are {held.dtype} of shape {shown(list(held.shape))}, the network "
                f"takes {own.dtype} of shape {list(own.shape)}; fit the stage again"
            )
        if own.is_floating_point() and not held.to(own.dtype).isfinite().all():
            raise SpecMismatch(f"{where}: weights {shown(name)} are too large for {own.dtype}; fit the stage again")


def refuse_changed(
    within: str, then: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str] | None = None
) -> None:
    """Refuse to resume under other settings than a checkpoint was made with.

    Args:
        within: what the names lie in, for the message, as `data.`.
        then: settings of the checkpoint; those that it does not know are not compared.
        now: settings now.
        names: those that can't change; None takes all of `now`.

    Raises:
        BadInput: one of them changed; the message names it with both values.
    """
    for name in now if names is None else names:
        if name in then and _comparable(then[name]) != _comparable(now[name]):
            raise BadInput(
                f"--resume: {within}{name} is {shown(now[name])}, but the checkpoint was made with "
                f"{shown(then[name])}; put it back, or fit without --resume"
            )


def _comparable(value: Any) -> Any:
    """Lists and tuples compare alike."""
    if isinstance(value, list | tuple):
        return [_comparable(item) for item in value]
    return value
