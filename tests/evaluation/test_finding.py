"""`expert:NAME` finds a sound expert whatever else lies around, and says what it took and what it passed over."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mwl.core.artifact import MANIFEST, MODEL, write_artifact
from mwl.core.errors import UnknownAgent
from mwl.evaluation.agents import find_expert

SHIPPED = Path(__file__).parents[2] / "data/experts/stand"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SHIPPED, tmp_path / "data/experts/stand")
    return tmp_path


def expert(folder: Path, name: str) -> Path:
    return write_artifact(folder, stage="expert", name=name, checkpoint={"state_dict": {}})


@pytest.mark.parametrize(
    "content",
    [b"", b'{"schema": 1, "sta', b'{"name": "web app", "icons": []}', b'{"schema": 0, "files": {}}', b"\xff", b"7"],
)
def test_an_unsound_folder_is_passed_over_with_a_word(
    content: bytes, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (place / "runs/old").mkdir(parents=True)
    (place / "runs/old" / MANIFEST).write_bytes(content)
    assert find_expert("stand") == Path("data/experts/stand")
    assert "runs/old" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_a_damaged_expert_gives_way_to_a_sound_one(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    expert(place / "runs/a/jump", "jump")
    expert(place / "runs/b/jump", "jump")
    (place / "runs/a/jump" / MODEL).write_bytes(b"damaged")
    assert find_expert("jump") == Path("runs/b/jump")
    assert "runs/a/jump/model.ckpt: content differs" in caplog.text
    (place / "runs/b/jump" / MODEL).unlink()
    with pytest.raises(UnknownAgent, match="jump"):
        find_expert("jump")


def test_hidden_folders_do_not_count(place: Path) -> None:
    for folder in ("runs/.mine.abcdefgh", "runs/.cache/mine", "data/experts/.mine.old.abcdefgh/mine"):
        expert(place / folder, "mine")
    with pytest.raises(UnknownAgent, match=r"known experts: .*stand") as caught:
        find_expert("mine")
    assert "mine" not in str(caught.value).partition("known experts")[2]


def test_of_several_the_choice_does_not_hang_on_times_and_is_said(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [expert(place / name, "jump") for name in ("runs/b", "runs/a", "runs/c/jump")]
    for newest in folders:
        for folder in folders:
            os.utime(folder / MANIFEST, (1, 2 if folder == newest else 1))
        caplog.clear()
        assert find_expert("jump") == Path("runs/a")
        assert "expert:jump is runs/a; of the same name: runs/b, runs/c/jump" in caplog.text
    expert(place / "runs/stand", "stand")
    assert find_expert("stand") == Path("data/experts/stand")  # shipped ones come first


def test_a_name_of_any_length_is_one_short_line(place: Path) -> None:
    manifest: dict[str, Any] = json.loads((place / "data/experts/stand" / MANIFEST).read_text())
    assert manifest["name"] == "stand"
    with pytest.raises(UnknownAgent) as caught:
        find_expert("x" * 10_000)
    said, known = str(caught.value).split("known experts: ")
    assert len(said) < 200
    assert {"stand", "walk"} <= set(known.split(", "))
