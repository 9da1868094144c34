"""The how-to page is followed word for word: its blocks are carried out in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mwl.demonstrators.registry import load_demonstration_config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guide/add-expert.md").read_text()
SECTION = re.search(r"## Make an expert in four steps\n(.*?)\n## ", PAGE, re.S)
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.S | re.M)


def blocks() -> list[tuple[str, str]]:
    """Language and content of the fenced blocks of the section, in order; those of bash are commands."""
    assert SECTION is not None, "the page has lost its section"
    return [(language, textwrap.dedent(content)) for _, language, content in _BLOCK.findall(SECTION[1])]


def described_file() -> str:
    """Where the page says that the first block belongs."""
    assert SECTION is not None
    return re.search(r"in `(conf/demonstrators/\w+\.yaml)`", SECTION[1])[1]


def test_the_page_describes_a_demonstrator_that_can_be_built(tmp_path):
    assert [language for language, _ in blocks()] == ["yaml", "bash", "bash", "bash", "python"]
    (tmp_path / "it.yaml").write_text(blocks()[0][1])
    assert load_demonstration_config(tmp_path / "it.yaml").balance.knee == 0.6


@pytest.mark.slow
def test_a_new_user_makes_an_expert(tmp_path):
    for folder in ("conf", "data/experts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    commands = {"bash": ["sh", "-ec"], "python": [sys.executable, "-c"]}
    for language, content in blocks():
        if language == "yaml":
            (tmp_path / described_file()).write_text(content)
            continue
        done = subprocess.run(
            [*commands[language], content], cwd=tmp_path, env=environment, capture_output=True, text=True
        )  # fmt: skip
        assert done.returncode == 0, f"{content}\n{done.stderr}"
    metrics = json.loads((tmp_path / "runs/experts/crouch/manifest.json").read_text())["metrics"]
    assert metrics["fall_rate"] == 0
    # bent knees need force and put the head lower: 0.78 a step was measured, 0.94 for straight ones
    assert metrics["return_mean"] > 700
