"""Files that a user names: checked before the work, written whole or not at all, read within bounds.

Every room that writes or reads a file goes through here, so that a dot in a name, a full disk, a kill in mid-write, a
nested JSON of a hundred thousand brackets or a file that is already there mean the same everywhere.
"""

import copy
import errno
import functools
import itertools
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mwl._places import find
from mwl.core.errors import BadInput, CorruptFile, MissingFile, MwlError, WriteFailed

MAX_JSON_BYTES = 64 * 2**20
MAX_NPZ_BYTES = 2 * 2**30
_SMALL, _RATIO = 64 * 2**20, 100  # bytes that any archive may unpack to, and how much denser than that a larger one is
_MAX_MEMBERS = 256
MAX_YAML_BYTES = 2**20
MAX_YAML_ENTRIES = 100_000  # an alias counts as all that it stands for
MAX_DEPTH = 64  # of lists and mappings within each other
MAX_INTEGER = 2**64  # beyond it nothing is meant that a file of ours may say
_WRITING = {  # kinds of errors that are about the place written to
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EACCES", "EPERM", "ENAMETOOLONG", "ENOTDIR", "EISDIR")
    if hasattr(errno, name)
}
FILM_ENDINGS = (".mp4", ".mkv", ".mov")
MAX_NAME_BYTES = 200  # file systems take 255; a scratch file beside the target needs some of them


def shown(value: object, limit: int = 80) -> str:
    """A bad value as a message repeats it: its `repr`, cut in the middle where it is longer than `limit`."""
    text = repr(value) if not isinstance(value, Path) else str(value)
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def with_ending(path: Path | str, ending: str) -> Path:
    """The path with `ending` (as `.npz`) behind its name unless it has it; a dot within the name stays a dot."""
    path = Path(path)
    return path if path.name.endswith(ending) else path.with_name(path.name + ending)


def without_ending(path: Path | str, ending: str) -> Path:
    """The path without `ending`, where its name has it."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(ending)) if path.name != ending else path


def output_file(path: Path | str, *, force: bool = False, endings: Sequence[str] = ()) -> Path:
    """A file that a command is to write, checked before the work begins.

    Args:
        path: where the user wants it.
        force: whether a file that is already there may be replaced.
        endings: file name endings that the format allows; empty: any.

    Raises:
        BadInput: the name has another ending or is too long, a folder or an existing file is in the way, or the
            folder can't be written.
    """
    path = _checked_name(path)
    if endings and not path.name.lower().endswith(tuple(endings)):
        raise BadInput(f"{shown(path)}: the name must end in {' or '.join(endings)}")
    if path.is_dir():
        raise BadInput(f"{shown(path)}: is a folder; name a file")
    if (path.exists() or path.is_symlink()) and not force:
        raise BadInput(f"{shown(path)}: exists already; --force replaces it")
    _check_parent(path)
    return path


def output_folder(path: Path | str, *, force: bool = False) -> Path:
    """A folder that a command is to make, checked before the work begins; an empty one may be there.

    Raises:
        BadInput: the name is too long, a file or a filled folder is in the way, or its parent can't be written.
    """
    path = _checked_name(path)
    if path.exists() and not path.is_dir():
        raise BadInput(f"{shown(path)}: is a file; name a folder")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise BadInput(f"{shown(path)}: exists already; --force replaces it")
    _check_parent(path)
    return path


def unused(path: Path | str) -> Path:
    """The path itself, or the first of `name_2.ext`, `name_3.ext`, ... that isn't there; for names nobody chose."""
    return next(candidate for candidate in _numbered(Path(path)) if not candidate.exists())


def new_file(path: Path | str) -> Path:
    """As `unused`, and the file is made, empty, so that nobody else takes the name."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for candidate in _numbered(path):
        with suppress(FileExistsError), open(candidate, "x"):
            return candidate
    raise AssertionError


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}_{number}{path.suffix}")


def _checked_name(path: Path | str) -> Path:
    path = Path(path)
    if not path.name or "\0" in str(path):
        raise BadInput(f"{shown(str(path))}: names no file")
    if len(os.fsencode(path.name)) > MAX_NAME_BYTES:
        raise BadInput(f"{shown(path)}: the name is longer than {MAX_NAME_BYTES} bytes")
    return path


def _check_parent(path: Path) -> None:
    """Try to write to the nearest folder above that exists; access rights alone don't tell (root, a full disk)."""
    parent = path.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    try:
        with tempfile.NamedTemporaryFile(prefix=".mwl", dir=parent):
            pass
    except OSError as error:
        raise BadInput(f"{shown(path)}: can't write to {shown(parent)} ({reason(error)})") from error


def reason(error: OSError) -> str:
    """What the system says, in its words, without number and path."""
    return (error.strerror or str(error) or type(error).__name__).lower()


@contextmanager
def write_errors(path: Path | str) -> Iterator[None]:
    """Say in one line that `path` could not be written, where the block fails for that reason.

    Raises:
        WriteFailed: the disk is full, or the place can't be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITING:
            raise
        raise WriteFailed(
            f"{shown(Path(path))}: could not be written ({reason(error)}); nothing was changed"
        ) from error


@contextmanager
def writing(path: Path | str) -> Iterator[Path]:
    """Yield a scratch file beside `path` that takes its place, flushed to disk, when the block ends well.

    The scratch file has the target's ending, as encoders choose their format by it. It vanishes when the block fails,
    and what was at `path` stays.

    Raises:
        WriteFailed: the disk is full, or the place can't be written.
    """
    path = Path(path)
    scratch: Path | None = None
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            prefix, suffix = f".{path.stem[:40]}.", f".part{path.suffix[:20]}"
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
            os.close(handle)
            scratch = Path(name)
            yield scratch
            with open(scratch, "rb") as file:
                os.fsync(file.fileno())
            scratch.chmod(0o666 & ~_umask())
            os.replace(scratch, path)
            _flush_folder(path.parent)
    finally:
        if scratch is not None:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text whole or not at all; see `writing`."""
    with writing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON whole or not at all, indented, without NaN or infinity; see `writing`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: Path | str, *, limit: int = MAX_JSON_BYTES) -> str:
    """Read a text in UTF-8 (a byte order mark is skipped) of at most `limit` bytes.

    Raises:
        MissingFile: no such file.
        CorruptFile: larger, no UTF-8, or it can't be read.
    """
    path = find(path)
    try:
        if not path.is_file():
            raise MissingFile(f"{shown(path)}: no such file")
        if path.stat().st_size > limit:
            raise CorruptFile(f"{shown(path)}: larger than the {limit / 2**20:.0f} MiB that such a file may have")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorruptFile(f"{shown(path)}: is no text in UTF-8 (byte {error.start})") from error
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise CorruptFile(f"{shown(path)}: can't be read ({why})") from error


def read_json(path: Path | str, *, limit: int = MAX_JSON_BYTES) -> Any:
    """Read JSON of at most `limit` bytes; NaN, infinities and endless nesting are refused.

    Raises:
        MissingFile: no such file.
        CorruptFile: no JSON, or not of this kind.
    """
    return parse_json(read_text(path, limit=limit), str(path))


def entries(path: Path | str) -> dict[str, Any]:
    """An object that was written earlier; empty where there is none, or none that can be read."""
    try:
        content = read_json(path)
    except MwlError:
        return {}
    return content if isinstance(content, dict) else {}


def parse_json(text: str | bytes, where: str) -> Any:
    """As `read_json`, of a text; `where` begins the message.

    Raises:
        CorruptFile: no JSON; or NaN, an infinity, a number or nesting beyond what a file of ours may hold.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON number")

    try:
        content = json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise CorruptFile(f"{shown(Path(where))}: is nested too deeply") from error
    except ValueError as error:
        raise CorruptFile(f"{shown(Path(where))}: is no JSON ({shown(Path(str(error)), 120)})") from error
    return _within_bounds(content, where)


def read_yaml(path: Path | str, *, limit: int = MAX_YAML_BYTES) -> Any:
    """Read YAML of at most `limit` bytes: plain values alone, as `read_json`, and no key twice.

    Raises:
        MissingFile: no such file.
        CorruptFile: no YAML, or not of this kind.
    """
    return parse_yaml(read_text(path, limit=limit), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """As `read_yaml`, of a text; `where` begins the message.

    Raises:
        CorruptFile: no YAML; a key twice; tags, aliases, numbers or nesting beyond what a file of ours may hold.
    """
    try:
        content = copy.deepcopy(_parsed(text))
    except RecursionError as error:
        raise CorruptFile(f"{shown(Path(where))}: is nested too deeply") from error
    except Exception as error:  # besides its own errors PyYAML raises what Python's constructors do
        why = shown(Path(" ".join(str(error).split())), 200)
        raise CorruptFile(f"{shown(Path(where))}: is no YAML ({why})") from error
    return _within_bounds(content, where)


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """Content of a text, remembered: every cell of a grid reads the same files, and PyYAML takes its time."""
    return yaml.load(text, _BoundedLoader)


class _BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader with an end to nesting and to what aliases multiply, and no key twice in a mapping."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._count = 0
        self._sizes: dict[int, int] = {}  # entries below each node, aliases unfolded

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, counted."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise yaml.composer.ComposerError(None, None, "an alias refers to what it is part of", mark)
            self._add(self._sizes[id(node)], mark)
            return node
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", mark)
        before = self._count
        self._add(1, mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._sizes[id(node)] = self._count - before
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node)
        return node

    def _add(self, count: int, mark: Any) -> None:
        self._count += count
        if self._count > MAX_YAML_ENTRIES:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_YAML_ENTRIES} entries", mark)


def _refuse_twice(node: yaml.MappingNode) -> None:
    keys = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in keys:
                raise yaml.composer.ComposerError(None, None, f"key {shown(key.value)} twice", key.start_mark)
            keys.add((key.tag, key.value))


def _within_bounds(content: Any, where: str) -> Any:
    """The content as it is.

    Raises:
        CorruptFile: it holds NaN, an infinity, a number of more than 64 bits, half a character, or endless nesting.
    """
    left = [(content, 0)]
    while left:
        value, depth = left.pop()
        if isinstance(value, dict | list):
            if depth == MAX_DEPTH:
                raise CorruptFile(f"{shown(Path(where))}: is nested too deeply")
            children = [*value, *value.values()] if isinstance(value, dict) else value
            left += [(child, depth + 1) for child in children]
        elif isinstance(value, float) and not math.isfinite(value):
            raise CorruptFile(f"{shown(Path(where))}: holds a number that is not finite ({value})")
        elif isinstance(value, int) and abs(value) >= MAX_INTEGER:
            raise CorruptFile(f"{shown(Path(where))}: holds a number of more than 64 bits")
        elif isinstance(value, str) and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise CorruptFile(f"{shown(Path(where))}: holds half a character (a lone surrogate)")
    return content


def read_npz(
    path: Path | str, names: Collection[str] | None = None, *, limit: int = MAX_NPZ_BYTES
) -> dict[str, NDArray[Any]]:
    """Read the arrays of an `.npz`, without pickles, and with sizes that are checked before anything is unpacked.

    Args:
        path: archive as `numpy.savez` or `savez_compressed` write it.
        names: arrays to read, where they are there; None reads all.
        limit: bytes that they may take; above 64 MiB also at most a hundred times the size of the file.

    Raises:
        MissingFile: no such file.
        CorruptFile: no such archive, damaged, too large, or it holds something else than numbers and texts.
    """
    path = find(path)
    try:
        if not path.is_file():
            raise MissingFile(f"{shown(path)}: no such file")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            stored = [member.filename.removesuffix(".npy") for member in members]
            if len(members) > _MAX_MEMBERS or len(set(stored)) != len(stored):
                raise CorruptFile(f"{shown(path)}: holds {len(members)} arrays, or two of one name")
            wanted = [
                (name, member) for name, member in zip(stored, members, strict=True) if names is None or name in names
            ]
            allowed, size = min(limit, max(_SMALL, _RATIO * path.stat().st_size)), sum(m.file_size for _, m in wanted)
            if size > allowed:
                raise CorruptFile(
                    f"{shown(path)}: would unpack to {size / 2**20:.0f} MiB; {allowed / 2**20:.0f} MiB are allowed"
                )
            return {name: _array(archive, member) for name, member in wanted}
    except (MissingFile, CorruptFile):
        raise
    except Exception as error:  # zipfile, zlib, numpy and the tokenizer behind it each have errors of their own
        why = shown(Path(" ".join(str(error).split()) or type(error).__name__), 120)
        raise CorruptFile(f"{shown(path)}: cannot be read as .npz ({why})") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, whose header must agree with the size that the archive declares."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a bound
        raise ValueError(f"{shown(member.filename)}: compressed in a way that numpy does not write")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, columns_first, dtype = header[version](file)
        if dtype.kind not in "biufSU" or dtype.itemsize == 0:
            raise ValueError(f"{shown(member.filename)}: holds {shown(str(dtype))}, neither numbers nor texts")
        if any(not 0 <= size <= member.file_size for size in shape):
            raise ValueError(f"{shown(member.filename)}: has shape {shown(shape)}, which its data do not fill")
        content = bytearray(file.read())
    return np.frombuffer(content, dtype).reshape(shape, order="F" if columns_first else "C")


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
