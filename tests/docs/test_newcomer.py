"""The newcomer's script finds the commands, carries out what it can and says what came of it."""

from pathlib import Path

from newcomer import Place, commands, page_of
from pages import GUIDES


def test_every_page_with_commands_is_read() -> None:
    found = list(commands())
    assert (
        {"README", "get-started", "world-model"} <= {page for page, _ in found} <= {"README", *(p.stem for p in GUIDES)}
    )
    assert ("README", "make setup") in found
    assert ("get-started", "mwl doctor") in found
    assert not [command for _, command in found if command.endswith("\\")], "a command of two lines is one"


def test_what_came_of_commands_is_told(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, does in {"mwl": 'echo "$@" > "$HOME/said"; echo no good >&2; test "$2" = right'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    place = Place(tmp_path, programs, tmp_path, whole=False)
    place.enter("page", "mwl doctor right")
    place.enter("page", "mwl doctor wrong")
    place.enter("page", "mwl evaluate right --episodes 20")
    assert (tmp_path / "said").read_text() == "evaluate right --episodes 2\n"
    place.enter("page", "mwl doctor right")
    place.enter("page", "make test WORKERS=8")
    assert [met.outcome for met in place.met] == [
        "done",
        "failed (1): no good",
        "shortened",
        "typed above",
        "parsed: long",
    ]
    assert [met.failed for met in place.met] == [False, True, False, False, False]
    text = page_of({"a place": (place.met, ["left.txt"])}, "this")
    assert "5 commands: 1 done, 1 failed, 1 shortened, 1 typed, 1 parsed. Left behind: left.txt." in text
    assert f"{'':10}failed (1): no good" in text
