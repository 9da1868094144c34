"""Writing whole or not at all, reading within bounds, and what is refused before the work begins."""

import errno
import itertools
import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mwl.core import files
from mwl.core.errors import BadInput, CorruptFile, MissingFile, WriteFailed


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


def test_arrays_come_back_as_they_were_written(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float16).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        "text": np.array(["left_knee", "ä"]),
        "number": np.float64(0.5),
        "empty": np.zeros((0, 3)),
        "big endian": np.arange(3, dtype=">f4"),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        for name, value in files.read_npz(tmp_path / "x.npz").items():
            np.testing.assert_array_equal(value, arrays[name])
            assert value.dtype == arrays[name].dtype
    assert list(files.read_npz(tmp_path / "x.npz", ("a", "none"))) == ["a"]


def test_an_archive_that_unpacks_to_more_than_it_may_is_refused_unread(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", zeros=np.zeros(2**24), small=np.ones(3))  # 128 MiB from 130 kB
    tracemalloc.start()
    with pytest.raises(CorruptFile, match="would unpack to 128 MiB; 64 MiB are allowed"):
        files.read_npz(tmp_path / "zeros.npz")
    assert files.read_npz(tmp_path / "zeros.npz", ["small"])["small"].tolist() == [1, 1, 1]
    with pytest.raises(CorruptFile, match="0 MiB are allowed"):
        files.read_npz(tmp_path / "zeros.npz", ["small"], limit=100)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_an_array_without_bytes_may_not_claim_a_length(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, archive.open("x.npy", "w") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 0)}
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
    with pytest.raises(CorruptFile, match="do not fill"):
        files.read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["object", "record", "npy", "lzma", "twice", "empty", "folder"])
def test_what_is_no_archive_of_plain_arrays_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    if kind == "object":
        np.savez(path, allow_pickle=True, x=np.array([{}], dtype=object))
    elif kind == "record":
        np.savez(path, x=np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]))
    elif kind == "npy":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    elif kind in ("lzma", "twice"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA if kind == "lzma" else zipfile.ZIP_STORED) as archive:
            for name in ("x.npy", "x") if kind == "twice" else ("x.npy",):
                with archive.open(name, "w") as member:
                    np.save(member, np.zeros(3))
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
    with pytest.raises(MissingFile if kind == "folder" else CorruptFile, match=r"x\.npz"):
        files.read_npz(path)


def test_a_damaged_archive_is_a_named_error_or_what_it_was(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(40.0).reshape(4, 10), n=np.array(["x"]))
    whole, rng = (tmp_path / "x.npz").read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        (tmp_path / "y.npz").write_bytes(damaged[: rng.integers(1, len(damaged))] if rng.random() < 0.2 else damaged)
        try:
            size = sum(value.nbytes for value in files.read_npz(tmp_path / "y.npz").values())
        except CorruptFile as error:
            size = len(str(error))
        assert size < 1000


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": ' + "1" * 400 + "}",
        '{"a": ' + "1" * 9999 + "}",
        "[" * 100_000,
        "[" * 100 + "]" * 100,
        '{"a": "\\ud800"}',
        "{",
        b"\xff\xfe\x00",
    ],
)
def test_json_that_is_no_plain_sound_value_is_refused_in_a_short_line(text: str | bytes) -> None:
    with pytest.raises(CorruptFile) as refusal:
        files.parse_json(text, "x.json")
    assert len(str(refusal.value)) < 300


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefgh")
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in itertools.pairwise("abcdefgh")
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "more than 100000 entries"),
        (MERGES, "more than 100000 entries"),
        ("[" * 100_000, "nested too deeply"),
        ("- " * 50_000 + "x", "nested too deeply"),
        ("&a [*a]", "part of"),
        ("a: 1\nb: 2\na: 3", "'a' twice"),
        ("a: .nan", "not finite"),
        ("a: -.inf", "not finite"),
        ("a: " + "1" * 400, "64 bits"),
        ("a: " + "1" * 9999, "no YAML"),
        ("a: 2001-99-99", "no YAML"),
        ("a: !!python/object/apply:os.system [ls]", "no YAML"),
        ("a: !!bool maybe", "no YAML"),
        ("? {a: 1}\n: 2", "no YAML"),
        ("a: \x00", "no YAML"),
    ],
)
def test_yaml_that_is_no_plain_sound_value_is_refused_in_a_short_line(text: str, why: str) -> None:
    with pytest.raises(CorruptFile, match=why) as refusal:
        files.parse_yaml(text, "x.yaml")
    assert len(str(refusal.value)) < 300


def test_a_message_never_repeats_a_megabyte() -> None:
    message = str(CorruptFile(f"x.yaml: bad value {'v' * 10**6}; expected a number"))
    assert len(message) <= 500
    assert message.startswith("x.yaml: bad value vvv")
    assert message.endswith("vvv; expected a number")


def test_yaml_with_aliases_and_merges_is_read_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a {k: 1}\nb: {<<: *a, k: 2, l: [*a, *a]}\n")
    assert files.read_yaml(tmp_path / "x.yaml") == {"a": {"k": 1}, "b": {"k": 2, "l": [{"k": 1}, {"k": 1}]}}
    with pytest.raises(CorruptFile, match="larger than"):
        files.read_yaml(tmp_path / "x.yaml", limit=10)
