"""Artifacts: whole or not at all, and refused by name where anything in them is not what it should be."""

import json
import math
import os
import shutil
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mwl.core.artifact import (
    MANIFEST,
    MODEL,
    atomic_folder,
    read_checkpoint,
    read_manifest,
    sha256_of,
    update_manifest,
    write_artifact,
)
from mwl.core.checkpoints import load_module
from mwl.core.errors import BadInput, CorruptFile, MissingFile, SpecMismatch, WriteFailed


def write(folder: Path, checkpoint: Any = None, **entries: Any) -> Path:
    checkpoint = {"state_dict": {"w": torch.ones(2)}} if checkpoint is None else checkpoint
    return write_artifact(folder, **{"stage": "expert", "name": "e", "checkpoint": checkpoint, **entries})


def change(folder: Path, **entries: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text()) | entries
    (folder / MANIFEST).write_text(json.dumps({key: value for key, value in manifest.items() if value is not ...}))


@pytest.mark.parametrize("files", [{}, {"other.bin": "0"}, [], None, "model.ckpt", {MODEL: 3}, ...])
def test_a_manifest_that_does_not_list_its_model_is_refused(files: Any, tmp_path: Path) -> None:
    write(tmp_path / "e")
    change(tmp_path / "e", files=files)
    with pytest.raises(CorruptFile, match="manifest"):
        read_manifest(tmp_path / "e")


@pytest.mark.parametrize(
    ("entry", "value"),
    [("name", 3), ("stage", ["expert"]), ("schema", True), ("card", "walk"), ("card", {"paraphrases": "abc"}),
     ("metrics", []), ("metrics", {"env_steps": "many"}), ("provenance", {"training_env_steps": {"a": 1.5}}),
     ("observation", {"size": "51"}), ("memory", -0.5), ("mlflow_run_id", 7), ("name", "x" * 100_000 + "\ud800")],
)  # fmt: skip
def test_a_manifest_entry_of_a_wrong_type_is_one_short_line(entry: str, value: Any, tmp_path: Path) -> None:
    write(tmp_path / "e")
    change(tmp_path / "e", **{entry: value})
    with pytest.raises(BadInput, match="manifest") as caught:
        read_manifest(tmp_path / "e")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b'{"schema": 1', b'{"name": "web app"}', b"[" * 20_000])
def test_what_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    write(tmp_path / "e")
    (tmp_path / "e" / MANIFEST).write_bytes(content)
    with pytest.raises(BadInput, match="manifest"):
        read_manifest(tmp_path / "e")


@pytest.mark.parametrize("name", ["policy.onnx", "model.safetensors", "model.ckpt", "notes"])
def test_a_file_is_no_hand_over_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(MissingFile, match="no artifact"):
        read_manifest(tmp_path / name)


def test_a_folder_may_be_a_link_but_its_files_may_not(tmp_path: Path) -> None:
    write(tmp_path / "e")
    (tmp_path / "link").symlink_to("e")
    (tmp_path / "nothing").symlink_to("gone")
    assert read_manifest(tmp_path / "link")["name"] == "e"
    with pytest.raises(MissingFile, match="a link to nothing"):
        read_manifest(tmp_path / "nothing")
    (tmp_path / "e" / MODEL).rename(tmp_path / "elsewhere")
    (tmp_path / "e" / MODEL).symlink_to("../elsewhere")
    with pytest.raises(CorruptFile, match="is a link"):
        read_manifest(tmp_path / "e")


def stored(folder: Path, checkpoint: Any) -> Path:
    """An artifact with this checkpoint, whatever it is."""
    write(folder)
    torch.save(checkpoint, folder / MODEL)
    change(folder, files={MODEL: sha256_of(folder / MODEL)})
    return folder


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"state_dict": {"layer.weight": torch.tensor([1.0, math.nan])}}, r"state_dict\.layer\.weight is not finite"),
        ({"deep": [{"x": torch.tensor([math.inf]).half()}]}, r"deep\.0\.x is not finite"),
        ({"margin": math.nan}, "margin is nan"),
        ({"kind": {1, 2}}, "kind is a set"),
        ({"w": torch.eye(2).to_sparse()}, "w is no plain tensor"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, "w is no plain tensor"),
        ({"w": torch.ones(1).expand(10**12)}, "w claims 1000000000000 numbers"),
        ([1, 2], "no named entries"),
    ],
)
def test_a_checkpoint_that_is_not_plain_and_finite_names_the_tensor(value: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match=name):
        read_checkpoint(stored(tmp_path / "e", value))


def test_entries_that_refer_to_each_other_end(tmp_path: Path) -> None:
    ring: list[Any] = []
    ring.append(ring)
    doubling: list[Any] = [0]
    for _ in range(40):
        doubling = [doubling, doubling]
    for number, value in enumerate((ring, doubling)):
        with pytest.raises(CorruptFile, match=r"nested too deeply|more than 200000 entries"):
            read_checkpoint(stored(tmp_path / str(number), {"x": value}))


def test_a_checkpoint_that_is_compressed_is_refused(tmp_path: Path) -> None:
    folder = stored(tmp_path / "e", {"w": torch.zeros(2**20)})
    with zipfile.ZipFile(folder / MODEL) as plain, zipfile.ZipFile(folder / "new", "w", zipfile.ZIP_DEFLATED) as dense:
        for member in plain.infolist():
            dense.writestr(member.filename, plain.read(member))
    (folder / "new").rename(folder / MODEL)
    with pytest.raises(CorruptFile, match="is compressed"):
        read_checkpoint(folder)


def test_a_tensor_may_not_reach_beyond_the_file(tmp_path: Path) -> None:
    """Pickles say how long a storage is; the file says how much it holds."""
    folder = stored(tmp_path / "e", {"w": torch.ones(200)})
    with zipfile.ZipFile(folder / MODEL) as plain, zipfile.ZipFile(folder / "new", "w") as longer:
        for member in plain.infolist():
            content = plain.read(member)
            if member.filename.endswith("data.pkl"):
                assert b"K\xc8" in content  # 200
                content = content.replace(b"K\xc8", b"M\xff\xff")  # 65,535
            longer.writestr(member.filename, content)
    (folder / "new").rename(folder / MODEL)
    with pytest.raises(CorruptFile, match="cannot be read"):
        read_checkpoint(folder)


def test_damaged_checkpoints_are_named_errors(tmp_path: Path) -> None:
    folder = stored(tmp_path / "e", {"hyper_parameters": {"a": 1, "b": "x"}, "state_dict": {"w": torch.ones(8)}})
    whole, generator = (folder / MODEL).read_bytes(), torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(3):
            where, what = (
                torch.randint(len(whole), (), generator=generator),
                torch.randint(256, (), generator=generator),
            )
            damaged[int(where)] = int(what)
        (folder / MODEL).write_bytes(damaged)
        try:
            assert all(tensor.isfinite().all() for tensor in read_checkpoint(folder).get("state_dict", {}).values())
        except CorruptFile:
            refused += 1
    assert refused > 0


class TestModule:
    """`load_module` compares before it builds."""

    def test_weights_come_back(self) -> None:
        layer = nn.Linear(3, 2)
        torch.testing.assert_close(load_module(lambda: nn.Linear(3, 2), layer.state_dict(), "x").weight, layer.weight)

    def test_sizes_beyond_all_memory_are_refused_by_the_weights(self) -> None:
        with pytest.raises(SpecMismatch, match=r"'bias' are torch.float32 of shape '?\[2\]"):
            load_module(lambda: nn.Linear(10**7, 10**7), nn.Linear(3, 2).state_dict(), "x")

    @pytest.mark.parametrize(
        ("weights", "match"),
        [
            ({"weight": torch.ones(2, 3)}, "lacks weights 'bias'"),
            ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "c": torch.ones(1)}, "unknown weights 'c'"),
            ({"weight": torch.ones(2, 3, dtype=torch.int64), "bias": torch.ones(2)}, "int64"),
            ({"weight": torch.full((2, 3), 1e300, dtype=torch.float64), "bias": torch.ones(2)}, "too large"),
            ({"weight": [1], "bias": torch.ones(2)}, "no weights"),
            (None, "no weights"),
        ],
    )
    def test_other_weights_are_refused(self, weights: Any, match: str) -> None:
        with pytest.raises(SpecMismatch, match=match):
            load_module(lambda: nn.Linear(3, 2), weights, "x")


def test_figures_that_are_not_finite_are_written_as_none(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", metrics={"a": math.nan, "b": [1.0, math.inf], "c": 2})
    assert read_manifest(folder)["metrics"] == {"a": None, "b": [1.0, None], "c": 2}
    update_manifest(folder, metrics={"a": -math.inf})
    assert read_manifest(folder)["metrics"] == {"a": None}


def killed_in_mid_write(target: Path, moment: str) -> None:
    """A child process dies as the finished folder is put in place: before, or once the old one has stepped aside."""
    child = os.fork()
    if child == 0:
        rename = os.rename

        def dying(*arguments: Any) -> None:
            if moment == "old":
                rename(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        os.rename = dying  # type: ignore[assignment]
        with atomic_folder(target) as folder:
            (folder / "content").write_text("new")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["new", "old"])
def test_what_a_kill_leaves_is_put_right_by_the_next_write(moment: str, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e/content").write_text("old")
    killed_in_mid_write(tmp_path / "e", moment)
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(".")]) > 0
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "e"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    assert (tmp_path / "e/content").read_text() == "old"


def test_the_scratch_folder_of_a_writer_at_work_stays(tmp_path: Path) -> None:
    (tmp_path / ".e.settings.d").mkdir()  # somebody's own
    with atomic_folder(tmp_path / "e") as first:
        (first / "x").touch()
        with atomic_folder(tmp_path / "e") as second:
            assert (first / "x").is_file()
            (second / "y").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".e.settings.d", "e"]
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["x"]


def test_a_full_disk_is_said_and_the_old_folder_stays(tmp_path: Path) -> None:
    write(tmp_path / "e")
    with pytest.raises(WriteFailed, match="no space left"), atomic_folder(tmp_path / "e"):
        raise OSError(28, "No space left on device")
    assert read_manifest(tmp_path / "e")
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    shutil.rmtree(tmp_path / "e")
