"""The folder in which one stage hands its result to the next: `model.ckpt` and `manifest.json`, checked before use.

Writes are atomic: everything goes to a new folder beside the target, is flushed to disk and renamed into place, so
that a kill at any moment leaves either the old result or the new one, never half of one. Reads verify the schema, the
stage, the sha256 of every file and, where the caller states them, robot and specs. Weights load with
`weights_only=True`, always.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mwl.errors import CorruptFile, MissingFile, SpecMismatch

SCHEMA = 1
MODEL = "model.ckpt"
MANIFEST = "manifest.json"
_RECORDED_VERSIONS = ("torch", "lightning", "torchrl", "tensordict", "mujoco", "mwl")


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
    """Yield a scratch folder that becomes `target` when the block ends well, and vanishes when it does not."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield scratch
        for file in scratch.rglob("*"):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        scratch.chmod(0o755)
        if target.exists():  # a rename onto a folder that is not empty fails, so the old one steps aside first
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.rename(target, old / target.name)
            os.rename(scratch, target)
            shutil.rmtree(old)
        else:
            os.rename(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_handoff(target: Path | str, *, stage: str, name: str, checkpoint: dict[str, Any], **entries: Any) -> Path:
    """Write the hand-over folder of a finished stage and return it.

    Args:
        target: folder to create or replace.
        stage: kind of stage, for example `expert`, `semantic`, `gate`, `world_model`.
        name: name of this result within its kind, for example `walk`.
        checkpoint: plain tensors, dicts, lists, strings and numbers, so that it loads with `weights_only=True`;
            usually `{"hyper_parameters": {...}, "state_dict": {...}}`.
        entries: further manifest entries (`robot`, `task`, `observation`, `action`, `card`, `upstream`, `metrics`,
            `provenance`), each JSON-serialisable.
    """
    with atomic_folder(target) as folder:
        torch.save(checkpoint, folder / MODEL)
        manifest = {"schema": SCHEMA, "stage": stage, "name": name, "versions": package_versions(), **entries}
        manifest["files"] = {MODEL: sha256_of(folder / MODEL)}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Path(target)


def read_manifest(folder: Path | str, *, stage: str | None = None, robot: str | None = None) -> dict[str, Any]:
    """Read and verify the manifest of a hand-over folder.

    Raises:
        MissingFile: the folder, its manifest or a file it lists does not exist.
        CorruptFile: the manifest is no JSON object, or a file's sha256 is not the recorded one.
        SpecMismatch: another schema, stage or robot than expected.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        what = f"no {MANIFEST} in it" if folder.is_dir() else "no such folder"
        raise MissingFile(f"{folder}: {what}; a finished stage leaves a folder with {MODEL} and {MANIFEST}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files = dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{path}: not a manifest ({error}); fit the stage again") from error
    for key, expected in (("schema", SCHEMA), ("stage", stage), ("robot", robot)):
        if expected is not None and manifest.get(key) != expected:
            raise SpecMismatch(f"{path}: {key} is {manifest.get(key)!r}, expected {expected!r}")
    for name, digest in files.items():
        if Path(name).name != name:
            raise CorruptFile(f"{path}: lists {name!r}, which is outside its folder")
        if not (folder / name).is_file():
            raise MissingFile(f"{folder / name}: listed in the manifest but missing; fit the stage again")
        if sha256_of(folder / name) != digest:
            raise CorruptFile(f"{folder / name}: content differs from the sha256 in its manifest; fit the stage again")
    return manifest


def update_manifest(folder: Path | str, **entries: Any) -> None:
    """Add or renew entries in the manifest of a verified hand-over folder; its files stay as they are."""
    path = Path(folder) / MANIFEST
    manifest = {**read_manifest(folder), **entries}
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(scratch, path)


def read_checkpoint(folder: Path | str) -> dict[str, Any]:
    """Load `model.ckpt` of a verified hand-over folder on the CPU, with `weights_only=True`.

    Raises:
        CorruptFile: not a checkpoint, or it needs more than tensors and plain values.
    """
    path = Path(folder) / MODEL
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorruptFile(f"{path}: cannot be read as a checkpoint ({reason})") from error
