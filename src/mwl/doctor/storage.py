"""What lies on the disk: the MLflow store, shipped data, results, what a kill left over, and how much room there is."""

import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from mwl._places import find
from mwl.core.artifact import MANIFEST, read_manifest, sha256_of
from mwl.core.errors import MwlError
from mwl.core.files import read_json, shown
from mwl.core.terminal import redacted
from mwl.doctor.finding import Finding
from mwl.experiments import store, tracking

_DATA, _RUNS = Path("data"), Path("runs")
_TIME_S = 20.0  # for each of the folders; one of a thousand runs is not read to its end
_ROOM = 2**30  # bytes; a world model's checkpoint with its replay buffer takes a few hundred million
_NAMED = 3  # of those found, how many are named
_LEFT_OVER = re.compile(r"^\..+\.[a-z0-9_]{8}$|^\..*\.part(\.[^.]+)?$")  # as `atomic_folder` and `writing` name theirs


def mlflow_store() -> Iterator[Finding]:
    """Whether runs can be recorded."""
    name, uri = "MLflow store", tracking.shown_uri()
    file = store.sqlite_file(tracking.tracking_uri())
    if file is None:
        why = tracking.trouble()
        remedy = "start the server, or set MLFLOW_TRACKING_URI to sqlite:///<folder>/mlflow.db"
        yield Finding(name, why is None, why or uri, "" if why is None else remedy)
        return
    fault = store.find_fault(file, seconds=_TIME_S)
    if fault is not None and fault is not store.UNMADE:
        yield Finding(name, False, f"{uri} {fault.what}", fault.remedy)
    elif not _can_write(file.parent) or (fault is None and (why := store.find_lock(file))):
        state = f"{uri}: {why if fault is None and _can_write(file.parent) else 'its folder can not be written'}"
        remedy = "make the folder writable, end what holds the store, or set MLFLOW_TRACKING_URI"
        yield Finding(name, False, state, remedy)
    else:
        yield Finding(name, True, f"{uri}, {'exists' if fault is None else 'will be made on first use'}")


def data() -> Iterator[Finding]:
    """Whether the shipped files are what they were."""
    place = find(_DATA)
    remedy = "git checkout -- data; what is foreign there: move it away" if place == _DATA else "pip install mwl again"
    yield _looked_through("data", _unsound(place), remedy)


def runs() -> Iterator[Finding]:
    """Whether results can be used: one that is unsound is passed over, or stops the command that names it."""
    if _RUNS.is_dir():
        yield _looked_through("runs", _unsound(_RUNS), "fit it again, or remove its folder")


def left_over_files() -> Iterator[Finding]:
    """What a kill in the middle of writing left behind."""
    places = [_DATA, _RUNS]
    found = [str(path) for place in places for path in _walk(place) if _LEFT_OVER.match(path.name)]
    file = store.sqlite_file(tracking.tracking_uri())
    found += [] if file is None else [str(path) for path in store.leftovers(file)]
    remedy = f"if nothing is running here: rm -r {' '.join(found[:_NAMED])}" if found else ""
    yield Finding("left-over files", not found, _listed(found) if found else "none", remedy)


def disk_space() -> Iterator[Finding]:
    """Whether there is room where things are written."""
    file = store.sqlite_file(tracking.tracking_uri())
    places = {"here": Path(), "temporary files": Path(tempfile.gettempdir())}
    if file is not None:
        places["MLflow store"] = file.parent
    free = {name: shutil.disk_usage(_nearest(place)).free for name, place in places.items()}
    state = ", ".join(f"{name} {room / 2**30:.1f} GiB" for name, room in free.items())
    short = [name for name, room in free.items() if room < _ROOM]
    remedy = f"free some: {', '.join(short)}" + (", or set TMPDIR" if "temporary files" in short else "")
    yield Finding("disk space", not short, f"free: {state}", remedy if short else "")


CHECKS = (mlflow_store, data, runs, left_over_files, disk_space)


def _looked_through(name: str, faults: Iterable[str | None], remedy: str) -> Finding:
    """Sum up what was found within the time; None stands for one that is sound."""
    deadline, sound, found = time.monotonic() + _TIME_S, 0, []
    for fault in faults:
        if fault is None:
            sound += 1
        else:
            found.append(fault)
        if time.monotonic() > deadline:
            break
    if found:
        return Finding(name, False, _listed(found), remedy)
    return Finding(name, True, f"{sound} files and folders match their manifests")


def _unsound(place: Path) -> Iterator[str | None]:
    """What is wrong with each artifact and each recording below a folder; None where nothing is."""
    for path in _walk(place):
        if path.suffix != ".json" or any(_LEFT_OVER.match(part) for part in path.parts):
            continue
        try:
            if path.name == MANIFEST:
                read_manifest(path.parent)
            elif not (recording := path.with_suffix(".npz")).is_file():
                continue
            else:
                content = read_json(path)
                digest = content.get("sha256") if isinstance(content, dict) else None
                if digest is not None and digest != sha256_of(recording):
                    yield f"{shown(recording)}: differs from the sha256 in {path.name}"
                    continue
        except (MwlError, OSError) as error:
            yield redacted(str(error))
        except Exception as error:  # a manifest of somebody else may hold anything
            yield f"{shown(path)}: {type(error).__name__}: {str(error)[:80]}"
        else:
            yield None


def _walk(place: Path) -> Iterator[Path]:
    """Everything below a folder, for as long as there is time."""
    deadline = time.monotonic() + _TIME_S
    for path in place.rglob("*"):
        yield path
        if time.monotonic() > deadline:
            return


def _listed(found: list[str]) -> str:
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return "; ".join(found[:_NAMED]) + more


def _nearest(place: Path) -> Path:
    """The folder itself, or the nearest one above that exists."""
    return next(path for path in (place, *place.resolve().parents) if path.is_dir())


def _can_write(place: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=_nearest(place)):
            return True
    except OSError:
        return False
