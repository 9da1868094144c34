"""How sound files of any kind are made and spoilt, and what no number that was read may be."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from mutations import (
    Rng,
    changed_checkpoint,
    changed_text,
    changed_tree,
    json_of,
    rewritten,
)

from mwl._places import SHIPPED
from mwl.core.artifact import MANIFEST, MODEL, sha256_of


def finite(value: Any) -> None:
    """Every number in arrays, tensors, mappings and lists is finite."""
    if isinstance(value, torch.Tensor):
        assert value.isfinite().all()
    elif isinstance(value, np.ndarray):
        assert value.dtype.kind in "iufbU"
        assert value.dtype.kind == "U" or np.isfinite(value).all()
    elif isinstance(value, dict):
        for entry in value.values():
            finite(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            finite(entry)
    elif isinstance(value, float):
        assert np.isfinite(value)


def spoil_json(*names: str) -> Callable[[Rng, Path], None]:
    """Changes entries of a JSON file, or its text."""

    def change(rng: Rng, content: bytes) -> bytes:
        if rng.random() < 0.25:
            return changed_text(rng, content)
        return json_of(changed_tree(rng, json.loads(content)))

    return rewritten(change, *names)


def shipped(*parts: str) -> Callable[[Path], None]:
    """A copy of a folder that is shipped."""

    def make(folder: Path) -> None:
        for file in (MODEL, MANIFEST):
            (folder / file).write_bytes(SHIPPED.joinpath("data", *parts, file).read_bytes())

    return make


def spoil_artifact(rng: Rng, folder: Path) -> None:
    """Change the checkpoint, whose sum is then mostly written anew, or the manifest."""
    if rng.random() < 0.25:
        spoil_json(MANIFEST)(rng, folder)
        return
    rewritten(changed_checkpoint, MODEL)(rng, folder)
    if rng.random() < 0.95:
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"] = {MODEL: sha256_of(folder / MODEL)}
        (folder / MANIFEST).write_text(json.dumps(manifest))


def copied(source: Path, name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(source.read_bytes())

    return make


def spoil_yaml(name: str) -> Callable[[Rng, Path], None]:
    """Changes entries of a YAML file, or its text."""

    def change(rng: Rng, content: bytes) -> bytes:
        if rng.random() < 0.5:
            return changed_text(rng, content)
        changed = changed_tree(rng, yaml.safe_load(content))
        with contextlib.suppress(yaml.YAMLError, UnicodeEncodeError, RecursionError):
            return yaml.safe_dump(changed, sort_keys=False).encode()
        return json_of(changed)

    return rewritten(change, name)
