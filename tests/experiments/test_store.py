"""The local MLflow store: whole or not there, whoever is killed and however many begin at once; faults named."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mwl.core.errors import BadInput, CorruptFile, MwlError, StoreFailed
from mwl.experiments import store, tracking

OPEN = "from mwl import tracking; tracking.open_run('together', 'one'); print('opened')"


def address(file: Path) -> str:
    return f"sqlite:///{file}"


def beginning(file: Path) -> "subprocess.Popen[str]":
    """A process that opens a run in a store, which it has to make first."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": address(file)}
    return subprocess.Popen([sys.executable, "-c", OPEN], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound store; making one takes seconds."""
    file = tmp_path_factory.mktemp("sound") / "mlflow.db"
    store.ensure(file)
    return file


@pytest.fixture
def file(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound, tmp_path / "mlflow.db"))


def changed(file: Path, *statements: str) -> None:
    with sqlite3.connect(file) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def test_a_store_is_made_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address(file))
    assert tracking.trouble() is None
    assert store.find_fault(file, seconds=5) is None
    assert {path.name for path in file.parent.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


def test_a_kill_while_the_store_is_made_leaves_none_and_the_next_makes_it(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    process = beginning(file)
    deadline = time.monotonic() + 120
    while not (begun := store.leftovers(file)) or not any(path.stat().st_size for path in begun):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not file.exists(), "it was killed in the middle of it"
    store.ensure(file)
    assert store.find_fault(file, seconds=5) is None
    assert not store.leftovers(file)


@pytest.mark.slow
def test_four_that_begin_at_once_share_one_store(tmp_path: Path) -> None:
    processes = [beginning(tmp_path / "mlflow.db") for _ in range(4)]
    assert [process.communicate()[0].strip() for process in processes] == ["opened"] * 4
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (4,)
        assert database.execute("SELECT count(*) FROM experiments WHERE name = 'together'").fetchone() == (1,)


@pytest.mark.parametrize(
    ("statements", "what", "remedy"),
    [
        (("DROP TABLE alembic_version",), "broken off", "mv "),
        (("DELETE FROM alembic_version",), "broken off", "mv "),
        (("DROP TABLE runs",), "broken off", "mv "),
        (("UPDATE alembic_version SET version_num = 'abc'",), "newer MLflow", "install"),
        (("UPDATE alembic_version SET version_num = '451aebb31d03'",), "older MLflow", "mlflow db upgrade"),
    ],
)
def test_faults_of_tables(file: Path, statements: tuple[str, ...], what: str, remedy: str) -> None:
    changed(file, *statements)
    fault = store.find_fault(file, seconds=5)
    assert fault is not None
    assert what in fault.what
    assert remedy in fault.remedy


def test_damage_inside_is_found_where_it_is_looked_for(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    file.write_bytes(content)
    fault = store.find_fault(file, seconds=5)
    assert fault is not None
    assert "damaged" in fault.what


def test_a_database_of_something_else_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "recipes.db"
    changed(file, "CREATE TABLE recipes (name TEXT)")
    before = file.read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address(file))
    with pytest.raises(CorruptFile, match="something else"):
        tracking.client()
    assert file.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.touch()
    assert store.find_fault(file) is store.UNMADE
    store.ensure(file)
    assert store.find_fault(file) is None


def test_a_lock_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_BUSY_S", 0.1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address(file))
    for kind in ("IMMEDIATE", "EXCLUSIVE"):
        with sqlite3.connect(file) as other:
            other.execute(f"BEGIN {kind}")
            assert "locked" in (tracking.trouble() or "")
            other.rollback()
        other.close()
    assert tracking.trouble() is None


@pytest.mark.parametrize(
    "uri", ["./mlruns", "nonsense://there", "sqlite://", "sqlite:///:memory:", "x" * 5000, "file:///tmp"]
)
def test_addresses_that_are_none(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(BadInput, match="no address of a store") as refusal:
        tracking.client()
    assert len(str(refusal.value)) < 400


def test_no_server_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "no server answers" in (tracking.trouble() or "")


def test_what_takes_too_long_is_given_up() -> None:
    with pytest.raises(StoreFailed, match="no answer within 0 s"):
        tracking.within(0.05, lambda: time.sleep(5))


def test_words_of_others_become_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    with pytest.raises(StoreFailed) as failure, tracking.telling():
        raise RuntimeError(
            "(sqlite3.OperationalError) disk full at http://me:hunter2@127.0.0.1:9\n[SQL: INSERT INTO ...]"
        )
    assert "\n" not in str(failure.value)
    assert "hunter2" not in str(failure.value)
    assert isinstance(failure.value, MwlError)
