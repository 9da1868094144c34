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
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mwl._places import find
from mwl._renamed import present_keys
from mwl.core.errors import BadInput, CorruptFile, MissingFile, SpecMismatch
from mwl.core.files import read_json, shown, write_errors, write_json
from mwl.core.plain import from_plain

if TYPE_CHECKING:  # a manifest is read without torch, whose import takes a second
    from torch import Tensor, nn

try:
    import fcntl
except ImportError:  # Windows: what a kill leaves behind then stays
    fcntl = None  # type: ignore[assignment]

SCHEMA = 1
MODEL = "model.ckpt"
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 8 * 2**20
_MAX_ENTRIES = 200_000  # tensors, numbers and texts in a checkpoint
_RECORDED_VERSIONS = ("torch", "lightning", "torchrl", "tensordict", "mujoco", "mwl")
_OTHER_WEIGHTS = {".onnx": "an ONNX file", ".safetensors": "a safetensors file", ".ckpt": "a checkpoint file"}
M = TypeVar("M", bound="nn.Module")


@dataclass(frozen=True)
class _Card:
    name: str = ""
    description: str = ""
    paraphrases: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Provenance:
    env_steps: int | None = None
    recording_env_steps: int | None = None
    training_env_steps: dict[str, int] | int | None = None


@dataclass(frozen=True)
class _Size:
    size: int | None = None


@dataclass(frozen=True)
class _Steps:
    env_steps: int | None = None


@dataclass(frozen=True)
class _Entries:
    """The entries of a manifest that anything here reads, for their types; others may stand beside them."""

    robot: str | None = None
    task: str | None = None
    mlflow_run_id: str | None = None
    memory: int = 0
    observation: _Size | None = None
    action: _Size | None = None
    card: _Card | None = None
    metrics: _Steps | None = None
    provenance: _Provenance | None = None


@dataclass(frozen=True, kw_only=True)
class _File(_Entries):
    """What the manifest in a folder must have besides."""

    stage: str
    name: str
    schema: int = SCHEMA
    files: dict[str, str] = field(default_factory=dict)


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
        write_json(folder / MANIFEST, _finite_or_none(manifest))
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
) -> dict[str, Any]:
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
    manifest: dict[str, Any] = present_keys(read_json(path, limit=MAX_MANIFEST_BYTES))
    if not isinstance(manifest, dict):
        raise CorruptFile(f"{shown(path)}: is not the manifest of a stage")
    for key, expected in (("schema", SCHEMA), ("stage", stage), ("robot", robot)):
        if expected is not None and (manifest.get(key) != expected or isinstance(manifest.get(key), bool)):
            raise SpecMismatch(f"{shown(path)}: {key} is {shown(manifest.get(key))}, expected {expected!r}")
    from_plain(_File, manifest, shown(path), unknown=True)
    if MODEL not in manifest.get("files", {}):
        listed = shown(", ".join(manifest.get("files", {}))) if manifest.get("files") else "nothing"
        raise CorruptFile(f"{shown(path)}: lists no {MODEL} (but {listed}), whose content can't be checked then")
    if files:
        for name, digest in manifest["files"].items():
            _check_file(folder, name, digest)
    return manifest


def check_entries(manifest: Any, where: str) -> dict[str, Any]:
    """The manifest entries of an expert that lie in the checkpoint of another stage, for their types.

    Raises:
        CorruptFile: an entry has a wrong type.
    """
    from_plain(_Entries, manifest, where, unknown=True)
    entries: dict[str, Any] = manifest
    return entries


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
    import torch

    path = find(folder) / MODEL
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise CorruptFile(f"{shown(path)}: is compressed, as no checkpoint is")
            if (damaged := archive.testzip()) is not None:
                raise CorruptFile(f"{shown(path)}: damaged at {shown(damaged)}; fit the stage again")
        # mapped, as torch then refuses tensors that reach beyond what the file holds for them
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        checkpoint = present_keys(_Sound(path).copy(loaded, ""))
    except CorruptFile:
        raise
    except RecursionError as error:
        raise CorruptFile(f"{shown(path)}: is nested too deeply") from error
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorruptFile(f"{shown(path)}: cannot be read as a checkpoint ({reason[:120]})") from error
    if not isinstance(checkpoint, dict):
        raise CorruptFile(f"{shown(path)}: holds no named entries; fit the stage again")
    return checkpoint


class _Sound:
    """Copies a loaded checkpoint out of the file, refusing what is not plain and finite."""

    def __init__(self, path: Path) -> None:
        self.where, self.count = shown(path), 0

    def copy(self, value: Any, name: str) -> Any:
        from torch import Tensor

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

    def _tensor(self, value: "Tensor", name: str) -> "Tensor":
        import torch

        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
            raise self._refused(name, "is no plain tensor")
        if value.numel() * value.element_size() > max(2**20, value.untyped_storage().nbytes()):
            raise self._refused(name, f"claims {value.numel()} numbers, more than the file holds")
        if value.is_floating_point() and not value.isfinite().all():
            raise self._refused(name, "is not finite everywhere")
        return value.detach().clone()

    def _refused(self, name: str, what: str) -> CorruptFile:
        return CorruptFile(f"{self.where}: {shown(name.removeprefix('.'))[1:-1]} {what}; fit the stage again")


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
    import torch

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


def check_weights(wanted: "Mapping[str, Tensor]", weights: Any, where: str) -> None:
    """Refuse weights that differ from those that are wanted in names, shapes or types, or don't fit into these.

    Raises:
        SpecMismatch: they do.
    """
    from torch import Tensor

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
