"""Text embeddings on disk, so that no process embeds a phrase that an earlier one has."""

import contextlib
import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # where the cache lies is told without torch
    from torch import Tensor

_log = logging.getLogger(__name__)
_SCHEMA = "CREATE TABLE IF NOT EXISTS embedding (key BLOB PRIMARY KEY, value BLOB NOT NULL, check_sum BLOB NOT NULL)"
_WAIT = 5.0  # s, for another process that writes
_MAX_ROWS = 50_000  # of 1.5 kB each; the oldest ones go
_MAX_VALUE = 65_536  # bytes of an embedding
_AT_ONCE = 500  # keys per query, below SQLite's limit on variables


def cache_folder() -> Path:
    """`MWL_CACHE`, else `mwl` in the user's folder for caches."""
    if named := os.environ.get("MWL_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "mwl"


class EmbeddingCache:
    """Embeddings by content: the key is a digest of the encoder's identity and the text.

    One SQLite file, which several processes may read and write. A file that is no database is begun anew, an entry
    that was damaged is passed over, and a folder that cannot be written means no cache: none of it stops a run.

    Args:
        identity: what the embeddings depend on besides the text, such as the sha256 of the encoder's weights.
        folder: None takes `cache_folder()`.
    """

    def __init__(self, identity: str, folder: Path | None = None) -> None:
        self.identity = identity
        self.file = (folder or cache_folder()) / "embeddings.sqlite"

    def read(self, texts: Sequence[str]) -> "dict[str, Tensor]":
        """Embeddings `[E]` of those texts that are known."""
        keys = {self._key(text): text for text in texts}
        found: dict[str, Tensor] = {}

        def work(database: sqlite3.Connection) -> None:
            wanted = list(keys)
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                chosen = f"key IN ({','.join('?' * len(some))}) AND length(value) <= {_MAX_VALUE}"
                query = f"SELECT key, value, check_sum FROM embedding WHERE {chosen}"
                for key, value, check_sum in database.execute(query, some):
                    if (embedding := _sound(key, value, check_sum)) is not None:
                        found[keys[key]] = embedding

        if self.file.is_file():
            self._attempt(work)
        return found

    def write(self, embeddings: "Mapping[str, Tensor]") -> None:
        """Remember embeddings `[E]` by text."""
        rows = []
        for text, embedding in embeddings.items():
            key, value = self._key(text), embedding.detach().float().contiguous().numpy().tobytes()
            rows.append((key, value, _check_sum(key, value)))

        def work(database: sqlite3.Connection) -> None:
            with database:  # one transaction
                database.executemany("INSERT OR REPLACE INTO embedding VALUES (?, ?, ?)", rows)
                newest = "(SELECT max(rowid) FROM embedding)"
                database.execute(f"DELETE FROM embedding WHERE rowid <= {newest} - {_MAX_ROWS}")

        self._attempt(work)

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.identity}\0{text}".encode(errors="surrogatepass")).digest()

    def _attempt(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do something with the database; whatever goes wrong is logged."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.file, timeout=_WAIT)) as database:
                database.execute(_SCHEMA)
                work(database)
        except sqlite3.OperationalError as error:  # locked, read-only or a full disk: the file itself may be sound
            _log.warning("embeddings are not cached: %s: %s", self.file, error)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter: SQLite quotes what is damaged
            _log.warning("cache of embeddings begun anew: %s: %s", self.file, error)
            with contextlib.suppress(OSError):
                self.file.unlink()
        except OSError as error:
            _log.warning("embeddings are not cached: %s", error)


def _sound(key: bytes, value: object, check_sum: bytes) -> "Tensor | None":
    """The embedding of a row; None for a damaged one."""
    if not isinstance(value, bytes) or not value or len(value) % 4 or _check_sum(key, value) != check_sum:
        return None
    import torch

    embedding = torch.frombuffer(bytearray(value), dtype=torch.float32)
    return embedding if embedding.isfinite().all() else None


def _check_sum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(key + value, digest_size=8).digest()
