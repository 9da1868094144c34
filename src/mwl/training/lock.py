"""One process at a time for a result: `mwl fit` holds the stage that it fits, `mwl run` the folder of its pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mwl.core.errors import BadInput
from mwl.core.files import reason, shown


@contextmanager
def held(path: Path, what: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` for this process alone; the system lets go of it however the process ends.

    Args:
        path: the lock file, which is gone afterwards, with its folder where nothing else came to lie in it.
        what: what is held, for the message.
        seconds: how long to wait for another process.

    Raises:
        BadInput: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=seconds)
    try:
        lock.acquire()
    except Timeout as error:
        raise BadInput(
            f"{shown(what)}: another `mwl fit` or `mwl run` is at work on it; wait for it, or name another --output"
        ) from error
    except (OSError, NotImplementedError) as error:
        said = reason(error) if isinstance(error, OSError) else str(error)
        raise BadInput(f"{shown(path)}: can't be locked ({said})") from error
    try:
        yield
    finally:
        with suppress(
            OSError
        ):  # while it is held: whoever opened it meanwhile finds that it lost its name, and retries
            path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            path.parent.rmdir()
