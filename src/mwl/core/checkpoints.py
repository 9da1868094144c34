"""Files of tensors and plain values that a stage writes for itself: whole or not at all, and checked when read."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from mwl.core.errors import CorruptFile, MissingFile
from mwl.core.files import shown, writing


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
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
        if damaged is not None:
            raise CorruptFile(f"{shown(path)}: is damaged (in {damaged})")
        return torch.load(path, map_location="cpu", weights_only=True)
    except CorruptFile:
        raise
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorruptFile(f"{shown(path)}: is no whole checkpoint ({reason[:120]})") from error
