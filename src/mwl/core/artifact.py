"""The folder in which one stage hands its result to the next: `model.ckpt` and `manifest.json`, checked before use.

Writes are atomic: everything goes to a new folder beside the target, is flushed to disk and renamed into place, so
that a kill at any moment leaves either the old result or the new one, never half of one; what a kill leaves beside it
is put right by the next write. Reads verify the schema, the
stage, the sha256 of every file and, where the caller states them, robot and specs. Weights load with
`weights_only=True`, always, and must be finite.
"""

import hashlib
import importlib.metadata
import io
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mwl._places import find
from mwl._renamed import present_keys
from mwl.core.errors import BadInput, CorruptFile, MissingFile, SpecMismatch
from mwl.core.files import read_json, shown, write_errors, write_json
from mwl.core.manifest import SCHEMA, Manifest

try:
    import fcntl
except ImportError:  # Windows: what a kill leaves behind then stays
    fcntl = None  # type: ignore[assignment]

MODEL = "model.ckpt"
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 8 * 2**20
_RECORDED_VERSIONS = ("torch", "lightning", "torchrl", "tensordict", "mujoco", "mwl")
_OTHER_WEIGHTS = {".onnx": "an ONNX file", ".safetensors": "a safetensors file", ".ckpt": "a checkpoint file"}


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a result, as recorded in every manifest."""
    versions = {}
    for name in _RECORDED_VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@contextmanager
def atomic_folder(target: Path | str) -> Iterator[Path]:
    """Yield a scratch folder that becomes `target` when the block ends well, and vanishes when it does not.

    Raises:
        WriteFailed: the disk is full, or the place can't be written.
    """
    target = Path(target)
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_left_overs(target)
        scratch, lock = _scratch(target, "")
        try:
            yield scratch
            for file in scratch.rglob("*"):
                if file.is_file():
                    with open(file, "rb") as handle:
                        os.fsync(handle.fileno())
            scratch.chmod(0o755)
            _put_in_place(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            os.close(lock)


def _put_in_place(scratch: Path, target: Path) -> None:
    """Rename; onto a folder that is not empty that fails, so the old one steps aside first."""
    if not target.exists():
        os.rename(scratch, target)
        return
    old, lock = _scratch(target, "old.")
    try:
        os.rename(target, old / target.name)
        try:
            os.rename(scratch, target)
        except OSError:
            os.rename(old / target.name, target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
        os.close(lock)


def _scratch(target: Path, kind: str) -> tuple[Path, int]:
    """A hidden folder beside the target, and what holds its lock as long as this process lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.{kind}", dir=target.parent))
        if fcntl is None:
            return folder, os.open(os.devnull, os.O_RDONLY)
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():  # else another writer took it for a left-over before it was locked
            return folder, lock
        os.close(lock)


def _clear_left_overs(target: Path) -> None:
    """Remove the scratch folders that killed writers of `target` left, and put back a result that had stepped aside."""
    if fcntl is None:
        return
    pattern = re.compile(re.escape(f".{target.name}.") + r"(?P<old>old\.)?[a-z0-9_]{8}")
    for folder in sorted(target.parent.glob(".*")):
        found = pattern.fullmatch(folder.name)
        if found is None or folder.is_symlink() or not folder.is_dir():
            continue
        with suppress(OSError):  # no right to it, or its writer is at work
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if found["old"] and (folder / target.name).is_dir() and not target.exists():
                    os.rename(folder / target.name, target)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def is_scratch(path: Path) -> bool:
    """Whether a path lies in a hidden folder, as results do that are not finished."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


def write_artifact(target: Path | str, *, stage: str, name: str, checkpoint: dict[str, Any], **entries: Any) -> Path:
    """Write the artifact of a finished stage and return it.

    Args:
        target: folder to create or replace.
        stage: kind of stage, for example `expert`, `semantic`, `gate`, `world_model`.
        name: name of this result within its kind, for example `walk`.
        checkpoint: plain tensors, dicts, lists, strings and numbers, so that it loads with `weights_only=True`;
            usually `{"hyper_parameters": {...}, "state_dict": {...}}`.
        entries: further manifest entries (`robot`, `task`, `observation`, `action`, `card`, `upstream`, `metrics`,
            `provenance`), each JSON-serialisable.
    """
    import torch

    with atomic_folder(target) as folder:
        content = io.BytesIO()  # not straight to the file: a full disk is then an error of the file's own kind
        torch.save(checkpoint, content)
        (folder / MODEL).write_bytes(content.getbuffer())
        manifest = {"schema": SCHEMA, "stage": stage, "name": name, "versions": package_versions(), **entries}
        manifest["files"] = {MODEL: sha256_of(folder / MODEL)}
        content = _finite_or_none(manifest)
        Manifest.of(content)  # that it can be read again
        write_json(folder / MANIFEST, content)
    return Path(target)


def _finite_or_none(value: Any) -> Any:
    """The same, with None for figures that are not finite, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite_or_none(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_none(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_manifest(
    folder: Path | str, *, stage: str | None = None, robot: str | None = None, files: bool = True
) -> Manifest:
    """Read and verify the manifest of an artifact.

    Args:
        folder: the folder.
        stage, robot: what it must be of; None takes any.
        files: also compare the files with the manifest.

    Raises:
        MissingFile: the folder, its manifest or a file it lists does not exist.
        CorruptFile: the manifest is no JSON object, an entry has a wrong type, it does not list `model.ckpt`, a file's
            sha256 is not the recorded one, or a file is a link.
        SpecMismatch: another schema, stage or robot than expected.
    """
    folder = find(folder)
    path = folder / MANIFEST
    try:
        if not path.is_file():
            raise MissingFile(_nothing_there(folder))
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise MissingFile(f"{shown(folder)}: can't be read ({error.strerror})") from error
    entries = present_keys(read_json(path, limit=MAX_MANIFEST_BYTES))
    if not isinstance(entries, dict):
        raise CorruptFile(f"{shown(path)}: is not the manifest of a stage")
    for key, expected in (("schema", SCHEMA), ("stage", stage), ("robot", robot)):
        if expected is not None and (entries.get(key) != expected or isinstance(entries.get(key), bool)):
            raise SpecMismatch(f"{shown(path)}: {key} is {shown(entries.get(key))}, expected {expected!r}")
    manifest = Manifest.of(entries, shown(path))
    if not (manifest.stage and manifest.name):
        raise CorruptFile(f"{shown(path)}: says no stage or no name")
    if MODEL not in manifest.files:
        listed = shown(", ".join(manifest.files)) if manifest.files else "nothing"
        raise CorruptFile(f"{shown(path)}: lists no {MODEL} (but {listed}), whose content can't be checked then")
    if files:
        for name, digest in manifest.files.items():
            _check_file(folder, name, digest)
    return manifest


def _nothing_there(folder: Path) -> str:
    leaves = f"a finished stage leaves a folder with {MODEL} and {MANIFEST}"
    if folder.is_file():
        what = _OTHER_WEIGHTS.get(folder.suffix.lower(), "a file")
        return f"{shown(folder)}: is {what}, no artifact; {leaves}"
    if folder.is_dir():
        return f"{shown(folder)}: no {MANIFEST} in it; {leaves}"
    what = "a link to nothing" if folder.is_symlink() else "no such folder"
    return f"{shown(folder)}: {what}; {leaves}"


def _check_file(folder: Path, name: str, digest: str) -> None:
    path = folder / name
    if not name or Path(name).name != name or "\0" in name:
        raise CorruptFile(f"{shown(folder / MANIFEST)}: lists {shown(name)}, which is outside its folder")
    try:
        if path.is_symlink():
            raise CorruptFile(f"{shown(path)}: is a link; an artifact holds its files itself")
        if not path.is_file():
            raise MissingFile(f"{shown(path)}: listed in the manifest but missing; fit the stage again")
        if sha256_of(path) != digest:
            raise CorruptFile(f"{shown(path)}: content differs from the sha256 in its manifest; fit the stage again")
    except OSError as error:
        raise CorruptFile(f"{shown(path)}: can't be read ({error.strerror})") from error


def update_manifest(folder: Path | str, **entries: Any) -> None:
    """Add or renew entries in the manifest of a verified artifact; its files stay as they are.

    Raises:
        MissingFile: it is not there; what ships elsewhere is read, and never written.
    """
    if not (Path(folder) / MANIFEST).is_file():
        raise MissingFile(_nothing_there(Path(folder)))
    write_json(Path(folder) / MANIFEST, _finite_or_none({**read_manifest(folder), **entries}))


def read_checkpoint(folder: Path | str) -> dict[str, Any]:
    """Load `model.ckpt` of a verified artifact on the CPU, with `weights_only=True`.

    Raises:
        CorruptFile: not a checkpoint, it needs more than tensors and plain values, or a number in it is not finite.
    """
    from mwl.core.checkpoints import read_sound  # with torch, whose import takes a second

    return read_sound(find(folder) / MODEL)


@contextmanager
def checkpoint_of(what: str, folder: Path | str) -> Iterator[None]:
    """Name the folder where its checkpoint turns out, in the block, to be none of a kind of stage.

    Args:
        what: the stage in words, for example `a gate`.
        folder: its artifact.

    Raises:
        CorruptFile: entries are missing or of another type.
        BadInput: as the block raised it, behind the folder's name.
    """
    where = shown(Path(folder))
    try:
        yield
    except BadInput as error:
        if where in str(error):
            raise
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:  # whatever constructors say of entries that are not theirs
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise CorruptFile(f"{where}: not the checkpoint of {what} ({why}); fit it again") from error
