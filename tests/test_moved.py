"""Old module names: what they were still imports, is the same object, and counts in a stage's key."""

from importlib import import_module

import pytest

from mwl._moved import MOVED, present
from mwl.pipeline.fingerprint import code_version


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_gives_the_module_itself(old: str) -> None:
    assert import_module(f"mwl.{old}") is import_module(f"mwl.{MOVED[old]}")


def test_names_from_an_old_room_import() -> None:
    from mwl.gating import Guidance as old
    from mwl.selection import Guidance as new

    assert old is new


def test_a_stage_that_names_a_class_by_its_old_module_has_the_same_key() -> None:
    assert present("mwl.experts.practice.Practice") == "mwl.experts.finetuning.module.Practice"
    assert present("mwl.experts.library.Expert") == "mwl.experts.library.Expert"
    assert code_version({"mwl.experts.practice"}) == code_version({"mwl.experts.finetuning.module"})
