"""Changes to files that a careless tool, a torn disk or somebody with bad intentions could make; all seeded."""

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Rng = np.random.Generator
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), "",
    " ", "walk", "0", "nan", "\x1b[31m", "../../x", "\ud800", "x" * 20_000, [], {}, [[]], [None], ["walk"], {"a": 1},
    {"": {}},
]  # fmt: skip
ODD_WORDS = [
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e309",
    b"99999999999999999999",
    b"",
    b"x" * 5000,
    b"\xff\xfe",
    b"\x00",
    b"{",
    b"}",
]


def changed_bytes(rng: Rng, content: bytes) -> bytes:
    """Bytes flipped, cut, doubled, taken out, zeroed, or others put in."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(0, len(data) + 1))
        end = min(len(data), start + int(rng.integers(1, 200)))
        match rng.integers(0, 6):
            case 0:
                for place in rng.integers(0, max(1, len(data)), size=rng.integers(1, 9)):
                    data[int(place) : int(place) + 1] = bytes([int(rng.integers(0, 256))])
            case 1:
                del data[start:]
            case 2:
                del data[start:end]
            case 3:
                data[end:end] = data[start:end]
            case 4:
                data[start:end] = bytes(end - start)
            case _:
                data[start:start] = rng.integers(0, 256, size=rng.integers(1, 50)).astype(np.uint8).tobytes()
    return bytes(data)


def changed_text(rng: Rng, content: bytes) -> bytes:
    """Words replaced by odd ones, lines dropped, doubled or swapped; or any bytes."""
    if rng.random() < 0.3:
        return changed_bytes(rng, content)
    lines = content.split(b"\n")
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(lines)))
        other = int(rng.integers(0, len(lines)))
        match rng.integers(0, 5):
            case 0:
                del lines[at]
                lines = lines or [b""]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                words = lines[at].split(b" ")
                words[int(rng.integers(0, len(words)))] = ODD_WORDS[int(rng.integers(0, len(ODD_WORDS)))]
                lines[at] = b" ".join(words)
    return b"\n".join(lines)


def changed_tree(rng: Rng, tree: Any, leaf: Callable[[Rng, Any], Any] | None = None) -> Any:
    """Entries of a tree of mappings and lists dropped, renamed, added, or replaced by what does not belong there.

    Args:
        tree: stays as it is.
        leaf: changes values of other kinds, such as tensors.
    """
    tree = copy.deepcopy(tree)
    for _ in range(rng.integers(1, 3)):
        places = list(_places(tree))
        if not places:
            return _odd(rng)
        holder, key = places[int(rng.integers(0, len(places)))]
        value = holder[key]
        match rng.integers(0, 8):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[f"{key}x"] = holder.pop(key)
            case 2 if isinstance(holder, dict):
                holder[str(_odd(rng))[:50]] = _odd(rng)
            case 2 | 3 if isinstance(holder, list):
                holder += holder * int(rng.integers(1, 3))
            case 4:
                holder[key] = [value]
            case 5 | 6 if leaf is not None and not isinstance(value, dict | list | str | int | float | bool | None):
                holder[key] = leaf(rng, value)
            case 5 if type(value) in (int, float):
                holder[key] = value * float(rng.choice([-1.0, 0.0, 1.5, 1e-9, 1e9, 1e300]))
            case 5 if isinstance(value, str):
                holder[key] = value[: int(rng.integers(0, len(value) + 1))] + "é\n"
            case _:
                holder[key] = _odd(rng)
    return _nested(rng) if rng.random() < 0.01 else tree


def _places(tree: Any) -> Any:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield tree, key
            yield from _places(value)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield tree, index
            yield from _places(value)


def _odd(rng: Rng) -> Any:
    return copy.deepcopy(ODD[int(rng.integers(0, len(ODD)))])


def _nested(rng: Rng) -> Any:
    value: Any = 1
    for _ in range(int(rng.choice([50, 150, 400]))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def json_of(tree: Any) -> bytes:
    """As JSON, which lets NaN and half characters through, as careless writers do."""
    return json.dumps(tree).encode()


def changed_array(rng: Rng, array: np.ndarray) -> np.ndarray:
    """Another type, shape or length, or numbers that are none or far too large."""
    array = np.array(array)
    match rng.integers(0, 9):
        case 0:
            kinds = ["f2", "f8", "i1", "u8", "c16", "?", "U8", "S3", "M8[s]"]
            with np.errstate(all="ignore"):
                try:
                    return array.astype(str(rng.choice(kinds)))
                except (ValueError, TypeError):
                    return np.zeros(3)
        case 1:
            return array.reshape(-1)
        case 2:
            return array[None]
        case 3:
            return array[: int(rng.integers(0, 4))] if array.ndim else array.reshape(1, 1)
        case 4:
            return array.T.copy()
        case 5 | 6 if array.dtype.kind == "f" and array.size:
            flat = array.copy().reshape(-1)
            flat[rng.integers(0, flat.size, size=3)] = rng.choice([np.nan, np.inf, -np.inf, 6e4, 1e30, -5.0])
            return flat.reshape(array.shape)
        case 5 | 6 if array.dtype.kind in "iu" and array.size:
            flat = array.copy().reshape(-1)
            flat[rng.integers(0, flat.size)] = rng.choice([-1, 127, 0])
            return flat.reshape(array.shape)
        case 7:
            return np.concatenate([array, array], axis=-1) if array.ndim else np.array([array, array])
        case _:
            return np.array(rng.choice(np.array([np.nan, 0.0, -1.0, 1e300])))


def changed_npz(rng: Rng, content: bytes) -> bytes:
    """An archive with an array changed, dropped, renamed or added; or any bytes."""
    if rng.random() < 0.25:
        return changed_bytes(rng, content)
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    name = str(rng.choice(sorted(arrays)))
    match rng.integers(0, 8):
        case 0:
            del arrays[name]
        case 1:
            arrays[f"{name}x"] = arrays.pop(name)
        case 2:
            arrays["more"] = np.zeros(3)
        case 3:
            other = str(rng.choice(sorted(arrays)))
            arrays[name], arrays[other] = arrays[other], arrays[name]
        case _:
            arrays[name] = changed_array(rng, arrays[name])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def changed_tensor(rng: Rng, tensor: Any) -> Any:
    """Another type, shape or layout, or numbers that are not finite."""
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:  # or changed before
        return _odd(rng)
    match rng.integers(0, 9):
        case 0:
            return tensor.reshape(-1)
        case 1:
            return tensor[None]
        case 2:
            return tensor.to(
                [torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64][int(rng.integers(0, 5))]
            )
        case 3:
            return torch.zeros(1).expand(10**7, 384)
        case 4:
            return tensor.to_sparse() if tensor.ndim else tensor
        case 5:
            return tensor[:0] if tensor.ndim else tensor
        case 6:
            return tensor.double() * 1e300
        case _:
            changed = tensor.clone().reshape(-1)
            if changed.is_floating_point() and len(changed):
                changed[int(rng.integers(0, len(changed)))] = float(rng.choice([np.nan, np.inf, -np.inf]))
            return changed.reshape(tensor.shape)


def changed_checkpoint(rng: Rng, content: bytes) -> bytes:
    """A checkpoint with an entry, mostly a tensor, changed; or any bytes."""
    if rng.random() < 0.2:
        return changed_bytes(rng, content)
    tree = changed_tree(rng, torch.load(io.BytesIO(content), weights_only=True), changed_tensor)
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    return buffer.getvalue()


def rewritten(change: Callable[[Rng, bytes], bytes], *names: str) -> Callable[[Rng, Path], None]:
    """Applies a change to one of the files of a folder."""

    def spoil(rng: Rng, folder: Path) -> None:
        file = folder / str(rng.choice(np.array(names)))
        file.write_bytes(change(rng, file.read_bytes()))

    return spoil
