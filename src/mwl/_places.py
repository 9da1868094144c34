"""Where what is read lies: the working folder, then the user's data folder, then what ships with the package.

All three have the same layout, `data/` and `conf/`. In a wheel both lie within the package, in a checkout above `src/`.
Nothing is ever written to the second and third. `MWL_HOME` sets the user's folder.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_INSIDE = Path(__file__).parent / "_shipped"
SHIPPED = _INSIDE if _INSIDE.is_dir() else Path(__file__).parents[2]
_OWN = ("output", "extends")  # keys whose value is no file that is read, or is found otherwise
_LONGEST = 255


def places() -> tuple[Path, ...]:
    """The folders that are looked through, in order."""
    if home := os.environ.get("MWL_HOME"):
        return Path(), Path(home), SHIPPED
    from platformdirs import user_data_path

    return Path(), user_data_path("mwl"), SHIPPED


def find(path: Path | str) -> Path:
    """The file or folder that a path means: itself, or, of `data/` and `conf/`, the first one found elsewhere.

    Args:
        path: as the user or a configuration says it; `conf:pipelines/demo.yaml` is `conf/pipelines/demo.yaml`.
    """
    text = str(path)
    path = Path("conf", text.removeprefix("conf:")) if text.startswith("conf:") else Path(path)
    if os.path.lexists(path):
        return path
    return next((found for place in _places_of(path) if os.path.lexists(found := place / path)), path)


def find_each(folder: str, pattern: str) -> dict[Path, Path]:
    """Files below a folder by their names in it, in order; of one name the first one found."""
    found: dict[Path, Path] = {}
    for place in _places_of(Path(folder)):
        for file in (place / folder).glob(pattern):
            found.setdefault(file.relative_to(place / folder), file)
    return dict(sorted(found.items()))


def _places_of(path: Path) -> tuple[Path, ...]:
    """Where to look for a path: everywhere for one of `data/` and `conf/`, else in the working folder alone."""
    return places() if path.parts[:1] in (("data",), ("conf",)) and ".." not in path.parts else (Path(),)


def from_folder(value: Any, folder: Path) -> Any:
    """A configuration whose paths are relative to its file's folder, where something lies there; others stay.

    What begins with `runs/` is a result and lies in the working folder.
    """
    if isinstance(value, Mapping):
        return {key: entry if key in _OWN else from_folder(entry, folder) for key, entry in value.items()}
    if isinstance(value, list):
        return [from_folder(entry, folder) for entry in value]
    if not isinstance(value, str) or len(value) > _LONGEST or "\n" in value or "\0" in value:
        return value
    name, part, rest = value.partition("#")
    path = Path(name)
    is_path = (len(path.parts) > 1 or path.suffix) and not path.is_absolute() and path.parts[0] != "runs"
    return f"{folder / path}{part}{rest}" if is_path and folder != Path() and os.path.exists(folder / path) else value
