"""Tells when a stage need not run again: its configuration, its inputs and the sources it uses are the same."""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import mwl
from mwl._moved import present
from mwl.core.artifact import MANIFEST, sha256_of
from mwl.training.schedule import split

_PACKAGE = Path(mwl.__file__).parent
_VOLATILE_ENTRIES = ("mlflow_run_id", "versions")  # in a manifest, but no part of the result


def digest_of(value: Any) -> str:
    """Hex sha256 of a JSON-serialisable value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def folder_digest(folder: Path) -> str | None:
    """Hex sha256 of a result folder's content; None when there is no such folder.

    A manifest counts without the entries that differ between two runs with the same result.
    """
    if not folder.is_dir():
        return None
    content: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content[str(path.relative_to(folder))] = (
                _manifest_digest(path) if path.name == MANIFEST else sha256_of(path)
            )
    return digest_of(content)


def _manifest_digest(path: Path) -> str:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return digest_of({key: value for key, value in manifest.items() if key not in _VOLATILE_ENTRIES})
    except (ValueError, AttributeError):
        return sha256_of(path)


def input_digests(config: Any, exclude: Path) -> dict[str, str]:
    """Content digests of all files and folders that a configuration names.

    Args:
        config: any nesting of mappings, lists and values.
        exclude: folder of the pipeline's own results, which count through their stages.
    """
    digests: dict[str, str] = {}
    for text in _strings(config):
        path = split(text)[0]  # a part counts with its file
        if not text or len(text) > 255 or "\n" in text or path.is_relative_to(exclude) or path == Path("."):
            continue
        if path.is_file():
            digests[text] = sha256_of(path)
        elif path.is_dir():
            digests[text] = folder_digest(path) or ""
    return digests


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def class_modules(config: Any) -> set[str]:
    """Modules of this package that a configuration names by `class_path`."""
    return {text.rpartition(".")[0] for text in _strings(config) if text.startswith("mwl.")}


def code_version(modules: Iterable[str]) -> str:
    """Hex sha256 of the sources that the given modules of this package use, directly or through others.

    Found by following import statements, so that a change in, say, a plot does not fit every expert again. A file
    that is no Python (a robot, a table) counts with the folder it lies in.
    """
    seen: set[Path] = set()
    queue = [path for name in modules for path in _source_files(name)]
    while queue:
        path = queue.pop()
        if path in seen:
            continue
        seen.add(path)
        queue.extend(source for name in _imported_names(path) for source in _source_files(name))
    for folder in {path.parent for path in seen} - {_PACKAGE}:
        seen.update(
            path for path in folder.rglob("*") if path.is_file() and path.suffix in {".xml", ".yaml", ".json", ".npz"}
        )
    return digest_of({str(path.relative_to(_PACKAGE)): sha256_of(path) for path in sorted(seen)})


@cache
def _source_files(name: str) -> tuple[Path, ...]:
    """Files executed by `import name`: the packages above and the module itself; a class name falls back to these."""
    parts = present(name).split(".")
    if parts[0] != "mwl":
        return ()
    files = []
    for depth in range(1, len(parts) + 1):
        base = _PACKAGE.joinpath(*parts[1:depth])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                files.append(path)
    return tuple(files)


@cache
def _imported_names(path: Path) -> tuple[str, ...]:
    names = []
    package = ".".join(("mwl", *path.relative_to(_PACKAGE).parent.parts))
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).rstrip(".")
            names += [f"{base}.{alias.name}" for alias in node.names]
    return tuple(name for name in names if name.startswith("mwl"))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, without what stands under `if TYPE_CHECKING:`, which never runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _executed(child)
