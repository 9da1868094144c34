"""`evaluation.json` is read back as it was written, and nothing else is taken for one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import RECORD

from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.evaluation.record import FILE, Record


def test_there_and_back(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(RECORD.to_json())
    assert Record.read(tmp_path) == Record.read(tmp_path / FILE) == RECORD
    later = json.loads(RECORD.to_json()) | {"of a later version": 1}
    assert Record.parse(json.dumps(later), "x") == RECORD
    assert Record.parse(replace(RECORD, return_ci95=None).to_json(), "x").return_ci95 is None
    with pytest.raises(MissingFile):
        Record.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("field", "value"),
    [("task", 3), ("task", None), ("episodes", "2"), ("episodes", True), ("episodes", 3), ("returns", [1.0, "2"]),
     ("returns", [1.0]), ("returns", None), ("lengths", [3, 4.5]), ("return_ci95", [1.0]), ("return_mean", [1.5]),
     ("env_steps", 10**30), ("run_id", 5), ("extra", []), ("jerk", ...)],
)  # fmt: skip
def test_a_field_of_another_type_is_refused_by_name(field: str, value: Any) -> None:
    content = json.loads(RECORD.to_json()) | {field: value}
    text = json.dumps({key: entry for key, entry in content.items() if entry is not ...})
    with pytest.raises(CorruptFile, match=r"some\.json"):
        Record.parse(text, "some.json")


@pytest.mark.parametrize("text", ["", "[]", "7", "null", '{"task": NaN}', "[" * 50_000, '{"a": 1e999}', "\ud800"])
def test_what_is_no_evaluation_is_refused(text: str) -> None:
    with pytest.raises(CorruptFile, match=r"some\.json"):
        Record.parse(text, "some.json")


def test_damaged_files_are_named_errors(tmp_path: Path) -> None:
    whole, rng = RECORD.to_json().encode(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        (tmp_path / FILE).write_bytes(damaged)
        try:
            sound = Record.read(tmp_path).episodes == 2
        except BadInput as error:
            sound = len(str(error)) < 800
        assert sound
