"""The commands of the guides work as they are printed.

Above each block of commands the page says what a test does with it, in a comment: `runs` (in an empty folder beside
the shipped files, with fewer episodes), `parses` (by the parser of the command itself), or `runs in FILE`, the test
that follows the page. Blocks of Python run where they are marked; the others compile.
"""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from pages import GUIDES, ROOT, Block, blocks

from mwl.app.cli import build_parser, main
from mwl.mocap.readers.joint_names import read_joint_map
from mwl.pipeline.config import load
from mwl.training.schedule import split
from mwl.training.stage_cli import resolved_config

FEWER = {"--episodes": "1", "--steps-per-clause": "2"}  # what a command is given instead when a test runs it
UNCHECKED = {"cd", "cp", "export", "git", "mkdir", "mlflow", "pip", "ray", "sed", "source"}


def ids(of: object) -> str | None:
    return of.stem if isinstance(of, Path) else None


def having(marker: str, language: str = "bash") -> list[tuple[Path, Block]]:
    """Blocks with a marker."""
    return [(page, block) for page in GUIDES for block in blocks(page, language) if block.how == marker]


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the shipped files beside."""
    for folder in ("conf", "data"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def parsed(words: list[str]) -> None:
    """Check the flags and files of one command; raises where it would be refused."""
    while words and re.match(r"\w+=", words[0]):  # variables of the environment
        words = words[1:]
    program, *rest = [Path(words[0]).name, *words[1:]]
    if "--import" in rest:  # a file of the reader's, which every command reads first
        at = rest.index("--import")
        del rest[at : at + 2]
    if program == "mwl" and rest[0] == "fit":
        own = [file for flag, file in pairwise(rest) if flag == "--config" and not split(file)[0].exists()]
        assert all(re.search(r"my_|mine|crouch|^runs/", file) for file in own), f"no configuration {own}"
        if not own:
            resolved_config([word for word in rest[1:] if word != "--print_config"])  # that one ends the program
    elif program == "mwl":
        build_parser().parse_args(rest)
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in rest if "=" not in word and word not in targets] == []
    elif program == "pytest" or rest[:2] == ["-m", "pytest"]:
        assert [word for word in rest if word.startswith("tests/") and not Path(word).exists()] == []
    elif program in ("python", "python3"):
        script = Path(rest[0]).read_text(encoding="utf-8")
        assert [word for word in rest[1:] if word.startswith("--") and f'"{word}"' not in script] == []
    else:
        assert program in UNCHECKED, f"nothing here knows how to check {program}"


@pytest.mark.parametrize("page", GUIDES, ids=ids)
def test_each_block_says_what_a_test_does_with_it(page: Path) -> None:
    for block in blocks(page, "bash"):
        if block.how not in ("runs", "parses"):
            file = ROOT / block.how.removeprefix("runs in ")
            assert block.how.startswith("runs in "), f"{page.name}: a marker above {block.text}"
            assert page.name in file.read_text(encoding="utf-8"), f"{file.name} does not follow {page.name}"


@pytest.mark.parametrize(("page", "block"), having("parses"), ids=ids)
def test_commands_are_accepted(page: Path, block: Block) -> None:
    for words in block.commands():
        parsed(words)


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(("page", "block"), having("runs"), ids=ids)
def test_commands_run(page: Path, block: Block) -> None:
    for program, *rest in block.commands():
        assert program == "mwl", "only our own commands are run"
        for flag, value in FEWER.items():
            rest = [value if before == flag else word for before, word in zip(["", *rest], rest, strict=False)]
        assert main(rest) == 0


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(("page", "block"), having("runs", "python"), ids=ids)
def test_python_runs(page: Path, block: Block) -> None:
    exec(compile(block.text, page.name, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", GUIDES, ids=ids)
def test_python_is_python(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block.text, page.name, "exec")


def test_the_pipeline_of_the_guide_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(blocks(ROOT / "docs/guide/pipelines.md", "yaml")[0].text)
    pipeline, stages = load(tmp_path / "mine.yaml")
    assert (pipeline.name, list(stages)) == ("mine", ["walk", "look", "table"])


def test_the_joint_map_of_the_guide_is_one(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(blocks(ROOT / "docs/guide/motion-clips.md", "yaml")[0].text)
    assert read_joint_map(tmp_path / "map.yaml") == {"left_hip": "J07", "left_knee": "J08"}
