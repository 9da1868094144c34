"""The file of the local MLflow store: made whole or not at all, and looked at before MLflow touches it."""

import logging
import os
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mwl.core.errors import CorruptFile, StoreFailed, WriteFailed
from mwl.core.files import reason, shown, writing

if TYPE_CHECKING:
    from sqlalchemy import Engine

SCHEME = "sqlite:///"
ARTIFACTS = "artifacts"
_HEADER = b"SQLite format 3\0"
_TABLES = {"alembic_version", "experiments", "runs", "metrics", "params", "tags"}  # of MLflow since its first releases
_LOCK_S = 120.0  # making the store takes seconds; others may be waiting to do the same
_BUSY_S = 5.0


@dataclass(frozen=True)
class Fault:
    """What is wrong with a store, and what to do about it."""

    what: str
    remedy: str
    passing: bool = False


UNMADE = Fault("holds nothing yet", "it is made on first use")


def sqlite_file(uri: str) -> Path | None:
    """The file that a tracking address names; None where it names no file."""
    path = uri.removeprefix(SCHEME).partition("?")[0]
    return Path(path) if uri.startswith(SCHEME) and path and path != ":memory:" else None


def ensure(file: Path) -> None:
    """Make the store where there is none; refuse one that is broken or isn't MLflow's, untouched.

    Raises:
        CorruptFile: broken, or no MLflow store; the message says the remedy.
        StoreFailed: it can't be made, as in a folder that can't be written, or is locked.
    """
    fault = find_fault(file)
    if fault is UNMADE:
        _make(file)
    elif fault is not None:
        message = f"{shown(file)}: {fault.what}; {fault.remedy}"
        raise StoreFailed(message) if fault.passing else CorruptFile(message)


def _make(file: Path) -> None:
    """Let MLflow make its tables in a file beside, and move that into place.

    MLflow builds its tables over seconds, in many steps; a store that is broken off or built by two at once stays
    broken for good.
    """
    from filelock import FileLock, Timeout

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=_LOCK_S):
            if find_fault(file) is not UNMADE:  # made while we waited
                return
            for left_over in leftovers(file):
                left_over.unlink(missing_ok=True)
            with writing(file) as scratch:
                _build(scratch, file.parent / ARTIFACTS)
    except Timeout as error:
        raise StoreFailed(f"{shown(file)}: another process has been making this store for {_LOCK_S:.0f} s") from error
    except (WriteFailed, StoreFailed):
        raise
    except OSError as error:
        raise StoreFailed(f"{shown(file)}: can't be made ({reason(error)})") from error
    except Exception as error:  # sqlalchemy's, sqlite's and MLflow's own
        raise StoreFailed(f"{shown(file)}: can't be made ({first_line(error)})") from error


def _build(file: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine: Engine | None = None
    try:
        engine = SqlAlchemyStore(f"{SCHEME}{file}", artifacts.resolve().as_uri()).engine
    finally:
        if engine is not None:
            engine.dispose()
        for beside in ("-journal", "-wal", "-shm"):
            with suppress(OSError):
                os.unlink(f"{file}{beside}")


def leftovers(file: Path) -> list[Path]:
    """Files that a kill in the middle of making the store left beside it."""
    return sorted(file.parent.glob(f".{file.stem[:40]}.*.part{file.suffix}*"))


def find_fault(file: Path, *, seconds: float = 0.0) -> Fault | None:
    """What is wrong with a store; None where nothing is, `UNMADE` where there is none or one without content.

    Args:
        file: the store.
        seconds: how long to look for damage inside; 0 looks at its tables alone.
    """
    away = f"move it away (mv {file} {file}.broken); the next run makes a new one"
    try:
        if not file.exists() or (file.is_file() and file.stat().st_size == 0):
            return UNMADE
        if not file.is_file():
            return Fault("is no file", "set MLFLOW_TRACKING_URI to sqlite:///<folder>/mlflow.db")
        if not _starts_as_sqlite(file):
            return Fault("is no SQLite database", away)
        tables = _tables(file)
        if not tables:
            return UNMADE
        missing = _TABLES - tables
        if missing == _TABLES:
            foreign = "set MLFLOW_TRACKING_URI to another file; nothing was changed in this one"
            return Fault("is a database of something else, not an MLflow store", foreign)
        if missing or len(versions := _versions(file)) != 1:
            return Fault("is an MLflow store that was broken off while it was made", away)
        if seconds:
            return _damage(file, seconds, away) or _outdated(file, versions[0])
    except OSError as error:
        return Fault(f"can't be read ({reason(error)})", "make it readable, or set MLFLOW_TRACKING_URI")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return Fault("is locked by another process", "end that process, or wait for it", passing=True)
        return Fault(f"can't be read ({error})", away)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter: SQLite quotes what is damaged
        return Fault(f"is damaged ({error})", away)
    return None


def _damage(file: Path, seconds: float, remedy: str) -> Fault | None:
    """What SQLite's own check finds within the time; a store so large that it takes longer counts as sound."""
    deadline = time.monotonic() + seconds
    with closing(_opened(file)) as database:
        database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            found = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                return None
            raise
    return None if found == ("ok",) else Fault(f"is damaged ({str(found[0])[:100]})", remedy)


def _outdated(file: Path, version: str) -> Fault | None:
    """Whether the store was made by another MLflow than the one installed."""
    import mlflow
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if version in scripts.get_heads():
        return None
    if version in {script.revision for script in scripts.walk_revisions()}:
        return Fault(
            "was made by an older MLflow, or broken off while it was made",
            f"copy it, then: mlflow db upgrade {SCHEME}{file}; where that fails, move it away",
        )
    return Fault("was made by a newer MLflow", "install that, or set MLFLOW_TRACKING_URI to another file")


def find_lock(file: Path) -> str | None:
    """Why nothing can be written to a store right now; None where it can."""
    try:
        with closing(_opened(file)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return str(error)
    return None if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK) else "its folder can't be written"


def _starts_as_sqlite(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(len(_HEADER)) == _HEADER


def _tables(file: Path) -> set[str]:
    with closing(_opened(file)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _versions(file: Path) -> list[str]:
    with closing(_opened(file)) as database:
        return [version for (version,) in database.execute("SELECT version_num FROM alembic_version")]


def _opened(file: Path) -> sqlite3.Connection:
    """For writing where that is allowed, or SQLite can't undo what a killed process had half written."""
    return sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=rw", uri=True, timeout=_BUSY_S)


def first_line(error: BaseException) -> str:
    """What an error of MLflow or its database says, without the statement that failed; sqlalchemy's are pages long."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("(sqlite3.OperationalError) ").removeprefix("(sqlite3.DatabaseError) ")[:200]
