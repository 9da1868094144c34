"""Instructions answered: weights, plan, refusal, and pictures that are none."""

import json
import struct
import tracemalloc
import zlib
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.instructions.preview import Question, instruct, read_picture
from mwl.instructions.view import view

KEYS = {"instruction", "refused", "reason", "weights", "nearest", "plan", "planner", "fallback", "notice"}


def ask(text: str, **more: Any) -> dict[str, Any]:
    return instruct(Question(text, **more))


def test_single_instruction_weighs_every_skill() -> None:
    answer = ask("please stay where you are, upright")
    assert set(answer) == KEYS
    assert max(answer["weights"], key=answer["weights"].get) == "stand"
    assert sum(answer["weights"].values()) == pytest.approx(1.0, abs=1e-4)
    assert answer["nearest"][0]["skill"] == "stand"


def test_touching_is_reaching() -> None:
    weights = ask("touch the target with your left hand")["weights"]
    assert max(weights, key=weights.get) == "reach"


@pytest.mark.parametrize(("text", "said"), [("raise both arms", "both hands"), ("raise your left arm", "left hand")])
def test_a_step_says_which_hands_it_takes(text: str, said: str) -> None:
    out = StringIO()
    Console(file=out, width=160).print(view(ask(text), steps=True))
    assert said in out.getvalue()


def test_compound_instruction_becomes_a_sequence() -> None:
    plan = ask("stand for two seconds, then walk until you are at the door")["plan"]
    assert [max(step["weights"], key=step["weights"].get) for step in plan] == ["stand", "walk"]
    assert [(step["steps"], step["until"]) for step in plan] == [(100, "never"), (0, "at_door")]


def test_what_no_skill_fits_is_refused_with_the_nearest() -> None:
    answer = ask("compose a symphony in four movements")
    assert answer["refused"]
    assert answer["weights"] == {}
    assert answer["nearest"]
    assert "no skill fits" in answer["reason"]


@pytest.mark.parametrize("text", ["walk two metres, then stand for 3 seconds", "compose a symphony in four movements"])
def test_words_asked_again_are_answered_without_a_network(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ask(text)
    with monkeypatch.context() as without:
        without.setattr("mwl.semantics.head.SemanticHead.load", None)
        assert ask(text) == first
        with pytest.raises(TypeError):  # who says more than words is answered by the head that was named
            ask(text, head="data/semantics/embedded")


def test_an_answer_is_made_anew_where_what_it_hangs_on_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("walk ahead")
    card = {"name": "sweep", "description": "walk ahead", "paraphrases": []}
    expert = tmp_path / "data/experts/sweep"
    expert.mkdir(parents=True)
    manifest = json.loads(Path("data/experts/walk/manifest.json").read_text())
    (expert / "manifest.json").write_text(json.dumps({**manifest, "name": "sweep", "card": card}))
    (expert / "model.ckpt").write_bytes(Path("data/experts/walk/model.ckpt").read_bytes())
    monkeypatch.setenv("MWL_HOME", str(tmp_path))
    assert "sweep" in ask("walk ahead")["weights"]


def test_an_expert_that_is_passed_over_is_named_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data/experts/broken").mkdir(parents=True)
    (tmp_path / "data/experts/broken/manifest.json").write_text("{")
    monkeypatch.setenv("MWL_HOME", str(tmp_path))
    for _ in range(2):
        caplog.clear()
        ask("walk ahead")
        assert "broken" in caplog.text


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_nothing_said(text: str) -> None:
    with pytest.raises(BadInput):
        ask(text)


@pytest.mark.parametrize("text", ["走路", "🚶🚪", "walk " * 2000])
def test_what_is_no_english_sentence_is_refused_in_words(text: str) -> None:
    answer = ask(text)
    assert answer["refused"]
    assert len(answer["reason"]) < 200


def test_people_see_bars_steps_and_endings() -> None:
    out = StringIO()
    answer = ask("stand for two seconds, then walk until you are at the door")
    Console(file=out, width=100).print(view(answer, steps=True))
    assert "█" in out.getvalue()
    assert "2 s are over" in out.getvalue()
    assert "the door is within reach" in out.getvalue()


def test_brackets_and_escape_sequences_of_users_are_text() -> None:
    out = StringIO()
    for text in (
        "walk [/nope] forward",
        "walk [red]forward",
        "walk \x1b[31mforward\x07, then stand",
        "walk \u202eforward",
    ):
        Console(file=out, width=100).print(view(ask(text), steps=True))
    shown = out.getvalue()
    assert "[/nope]" in shown
    assert "[red]" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def bomb(side: int) -> bytes:
    """A PNG of few bytes that says it is `side` x `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000 * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [5_000, 12_000, 30_000, 2**31 - 1])
def test_a_picture_of_too_many_pixels_is_refused_undecoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side))
    tracemalloc.start()
    with pytest.raises(CorruptFile):
        read_picture(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6, "bytes; decoded it would be 25 million and more"
    tracemalloc.stop()


def test_pictures(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_picture(tmp_path / "no.png")
    (tmp_path / "bad.png").write_text("not a picture")
    with pytest.raises(CorruptFile):
        read_picture(tmp_path / "bad.png")
    Image.new("RGBA", (5, 3), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(read_picture(tmp_path / "clear.png")).min() == 255, "a transparent picture lies on white"
    Image.new("L", (1, 1)).save(tmp_path / "dot.jpg")
    assert ask("walk forward", frame=tmp_path / "dot.jpg")["weights"]["walk"] > 0.5, "the words say what to do"
