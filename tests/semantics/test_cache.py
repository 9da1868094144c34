"""Embeddings on disk: remembered by content, whoever writes them, and whatever happens to the file."""

import multiprocessing
import os
import sqlite3
from pathlib import Path

import pytest
import torch

from mwl.semantics.encoders.cache import EmbeddingCache, _check_sum, cache_folder
from mwl.semantics.encoders.towers import ClipEncoder

SIZE = 8


def _embedding(text: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(text.encode()))
    return torch.randn(SIZE, generator=generator)


def _encoder(calls: list[str], identity: str = "weights-1") -> ClipEncoder:
    def encode(texts: list[str]) -> torch.Tensor:
        calls.extend(texts)
        return torch.stack([_embedding(text) for text in texts])

    return ClipEncoder("counting", torch.nn.Identity(), encode, 4, identity=identity, size=SIZE)


def test_a_second_process_embeds_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MWL_CACHE", str(tmp_path))
    first, second, other = [], [], []
    texts = [f"text {i}" for i in range(1200)]  # more than one query's worth
    expected = _encoder(first).texts(texts)
    assert torch.equal(_encoder(second).texts(texts), expected)
    assert (len(first), len(second)) == (1200, 0)
    _encoder(other, identity="weights-2").texts(texts[:3])
    assert other == texts[:3], "other weights, other embeddings"


def test_a_file_that_is_no_database_is_begun_anew(tmp_path: Path) -> None:
    cache = EmbeddingCache("e", tmp_path)
    cache.file.write_bytes(b"this is no database, but it is long enough to look at" * 50)
    assert cache.read(["walk"]) == {}
    cache.write({"walk": _embedding("walk")})
    assert torch.equal(cache.read(["walk"])["walk"], _embedding("walk"))


def test_a_damaged_entry_is_passed_over(tmp_path: Path) -> None:
    cache = EmbeddingCache("e", tmp_path)
    cache.write({"walk": _embedding("walk"), "stand": _embedding("stand")})
    with sqlite3.connect(cache.file) as database:
        database.execute("UPDATE embedding SET value = zeroblob(32) WHERE key = ?", (cache._key("walk"),))
    database.close()
    assert set(cache.read(["walk", "stand"])) == {"stand"}


@pytest.mark.parametrize("value", [b"", b"abc", "a text", None, b"\x00\x00\xc0\x7f" * SIZE, b"\x00" * 80_000])
def test_a_row_that_is_no_embedding_is_passed_over(tmp_path: Path, value: bytes | str | None) -> None:
    cache = EmbeddingCache("e", tmp_path)
    cache.write({"walk": _embedding("walk")})
    with sqlite3.connect(cache.file) as database:
        key = cache._key("walk")
        check_sum = _check_sum(key, value) if isinstance(value, bytes) else b""
        database.execute(
            "UPDATE OR IGNORE embedding SET value = ?, check_sum = ? WHERE key = ?", (value, check_sum, key)
        )
    database.close()
    assert set(cache.read(["walk"])) == ({"walk"} if value is None else set())  # which the table does not take


def test_embeddings_of_another_size_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MWL_CACHE", str(tmp_path))
    calls: list[str] = []
    EmbeddingCache("weights-1", tmp_path).write({"walk": torch.ones(SIZE + 1)})
    assert _encoder(calls).texts(["walk", "stand"]).shape == (2, SIZE)
    assert calls == ["walk", "stand"]


def test_the_cache_forgets_its_oldest_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mwl.semantics.encoders.cache._MAX_ROWS", 10)
    cache = EmbeddingCache("e", tmp_path)
    for number in range(15):
        cache.write({str(number): torch.ones(SIZE)})
    assert set(cache.read([str(number) for number in range(15)])) == {str(number) for number in range(5, 15)}


@pytest.mark.skipif(os.name == "nt", reason="a file where a folder should be is another error there")
def test_where_nothing_can_be_written_there_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache("e", tmp_path / "file")
    cache.write({"walk": _embedding("walk")})
    assert cache.read(["walk"]) == {}


def _write(folder: Path, writer: int) -> None:
    for i in range(20):
        EmbeddingCache("e", folder).write({f"{writer}-{i}": _embedding(f"{writer}-{i}")})


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, writer)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    wanted = [f"{writer}-{i}" for writer in range(3) for i in range(20)]
    assert set(EmbeddingCache("e", tmp_path).read(wanted)) == set(wanted)


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MWL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/mwl")
    monkeypatch.setenv("MWL_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
