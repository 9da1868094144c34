"""Instructions answered: weights, plan, refusal, and pictures that are none."""

from pathlib import Path

import pytest

from mwl.errors import CorruptFile, MissingFile
from mwl.pipeline.instruct import instruct, read_picture

KEYS = {"instruction", "refused", "weights", "nearest", "plan"}


def test_single_instruction_weighs_every_skill() -> None:
    answer = instruct("please stay where you are, upright")
    assert set(answer) == KEYS
    assert max(answer["weights"], key=answer["weights"].get) == "stand"
    assert sum(answer["weights"].values()) == pytest.approx(1.0, abs=1e-4)
    assert answer["nearest"][0]["skill"] == "stand"


def test_touching_is_reaching() -> None:
    weights = instruct("touch the target with your left hand")["weights"]
    assert max(weights, key=weights.get) == "reach"


def test_compound_instruction_becomes_a_sequence() -> None:
    plan = instruct("stand, then walk forward")["plan"]
    assert [max(step["weights"], key=step["weights"].get) for step in plan] == ["stand", "walk"]


def test_what_no_skill_fits_is_refused_with_the_nearest() -> None:
    answer = instruct("compose a symphony in four movements")
    assert answer["refused"]
    assert answer["weights"] == {}
    assert answer["nearest"]


def test_pictures(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_picture(tmp_path / "no.png")
    (tmp_path / "bad.png").write_text("not a picture")
    with pytest.raises(CorruptFile):
        read_picture(tmp_path / "bad.png")
