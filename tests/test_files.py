"""Writing whole or not at all, reading within bounds, and what is refused before the work begins."""

import errno
import json
from pathlib import Path

import pytest

from mwl import files
from mwl.errors import BadInput, CorruptFile, MissingFile, WriteFailed


def test_a_dot_in_a_name_is_no_ending() -> None:
    assert files.with_ending("a/noise_0.1", ".npz") == Path("a/noise_0.1.npz")
    assert files.with_ending("a/noise.npz", ".npz") == Path("a/noise.npz")
    assert files.without_ending("a/take.01.json", ".json") == Path("a/take.01")


def test_a_write_that_fails_leaves_the_old_file_and_no_scratch(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    files.write_json(target, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(target, {"a": float("nan")})
    with pytest.raises(RuntimeError), files.writing(target) as scratch:
        _half(scratch)
    assert json.loads(target.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def _half(scratch: Path) -> None:
    scratch.write_text("half")
    raise RuntimeError


def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(WriteFailed, match=r"could not be written \(no space left"), files.writing(tmp_path / "x.bin"):
        raise full
    assert not list(tmp_path.iterdir())


def test_a_written_file_has_the_rights_that_the_user_gives_to_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_is_in_the_way_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").touch()
    (tmp_path / "folder").mkdir()
    assert files.output_file(tmp_path / "new/film.mp4", endings=(".mp4",)) == tmp_path / "new/film.mp4"
    assert files.output_file(tmp_path / "there.mp4", force=True) == tmp_path / "there.mp4"
    assert files.output_folder(tmp_path / "folder") == tmp_path / "folder"
    for name, match in (
        ("there.mp4", "exists already; --force"),
        ("folder", "is a folder"),
        ("film", "must end in .mp4"),
        ("there.mp4/film.mp4", "can't write to"),
        ("x" * 250 + ".mp4", "longer than 200 bytes"),
    ):
        with pytest.raises(BadInput, match=match):
            files.output_file(tmp_path / name, endings=(".mp4",) if name != "folder" else ())
    (tmp_path / "folder/kept").touch()
    with pytest.raises(BadInput, match="exists already; --force"):
        files.output_folder(tmp_path / "folder")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"1" + b"0" * 5000, "is no JSON"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"", "is no JSON"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CorruptFile, match=match) as refused:
        files.read_json(tmp_path / "x.json")
    assert len(str(refused.value)) < 400


def test_json_is_read_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert files.read_json(tmp_path / "x.json") == {"a": 1}
    with pytest.raises(CorruptFile, match="larger than"):
        files.read_json(tmp_path / "x.json", limit=5)
    with pytest.raises(MissingFile):
        files.read_json(tmp_path / "y.json")


def test_a_message_does_not_repeat_a_bad_value_whole() -> None:
    assert len(files.shown("x" * 30_000)) <= 80
