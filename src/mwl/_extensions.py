"""Python files of the user: executed once, before anything that they define is looked up."""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mwl.core.errors import BadInput, MissingFile
from mwl.core.files import shown

_imported: dict[Path, str] = {}


def import_files(files: Iterable[Path | str]) -> None:
    """Execute Python files, each once; what one defines is then importable under its name without `.py`.

    The folder of a file is searched for modules, too, after all others.

    Raises:
        MissingFile: there is no such file.
        BadInput: it is no Python file, its name is that of another module, or it raises.
    """
    for file in files:
        _import_file(Path(file))


def imported_files() -> list[Path]:
    """The files executed so far, in order, absolute."""
    return list(_imported)


def _import_file(file: Path) -> None:
    path, name = file.resolve(), file.stem
    if path in _imported:
        return
    if not path.is_file():
        raise MissingFile(f"{shown(file)}: no such file to import")
    if path.suffix != ".py" or not name.isidentifier():
        raise BadInput(f"{shown(file)}: must be a Python file whose name can be imported, as my_tasks.py")
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        known = sys.modules.get(name) or importlib.util.find_spec(name)
        if Path(getattr(known, "__file__", None) or getattr(known, "origin", None) or "").resolve() != path:
            raise BadInput(f"{shown(file)}: there is another module {name!r}; rename the file")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        importlib.import_module(name)
    except BadInput:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise BadInput(f"{shown(file)}: {type(error).__name__}: {why} (MWL_DEBUG=1 shows where)") from error
    _imported[path] = name


def import_class(path: str) -> Any:
    """The class, or function, that a `class_path` such as `my_tasks.Wave` names.

    Raises:
        BadInput: there is none; name the file that defines it by `--import`.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError, ValueError):
        found = None
    if not callable(found):
        raise BadInput(f"no class {shown(path)}; it reads FILE.CLASS, with --import FILE.py for a file of your own")
    return found
