"""The project's words: a glossary whose files exist, and none of the words that it has given up."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/glossary.md").read_text().splitlines()[6:]
    if line.startswith("| ")
]
ALIASES = {"src/mwl/_moved.py", "src/mwl/_renamed.py"}
RETIRED = (
    r"\bpractis", r"\bpractices?\b(?!\.yaml)", r"left_behind", r"\btakeovers?\b(?!\.yaml)", r"\btake_?over\b",
    r"\bpredecessors\b", r"hand-?off", r"\bkick", r"\bproven\b", r"earned_share", r"\btrial_",
    r"\btrials\b(?!, whose|:)",
    r"\bsituations?\b", r"\btune_", r"\btuner\b", r"(?<!fine-)(?<!locked-text )(?<!benchmarks/)(?<!\")(?<!`)\btuning\b",
    r"\bset(ting|s)?[ _]off\b", r"\blanes?\b", r"roughness", r"\bbending\b", r"\brehears", r"\bpilot",
    r"\bbefore_falls\b", r"\badvice\b", r"\bnaturalness\b", r"\bfooting\b", r"\bin charge\b", r"\boff the mark\b",
)  # fmt: skip
"""Patterns of words that have a word of the field in their place; the former names load by `mwl._renamed`."""


def texts() -> dict[str, str]:
    listed = subprocess.run(["git", "ls-files", "src", "conf", "docs"], cwd=ROOT, text=True, capture_output=True)
    names = set(listed.stdout.split()) - ALIASES or pytest.skip("no repository")
    suffixes = (".py", ".yaml", ".md")
    return {
        name: (ROOT / name).read_text()
        for name in sorted(names)
        if name.endswith(suffixes) and not name.startswith(("docs/log/", "docs/changelog"))
    }


def test_the_glossary_has_at_most_25_terms_each_once() -> None:
    terms = [row[0] for row in ROWS]
    assert 15 < len(terms) <= 25
    assert len(set(terms)) == len(terms)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_term_has_a_meaning_a_word_of_the_field_and_a_file_that_exists(row: list[str]) -> None:
    term, meaning, field, file = row
    assert meaning.endswith(".")
    assert field
    assert (ROOT / file.strip("`")).is_file(), term


def test_retired_words_are_gone() -> None:
    pattern = re.compile("|".join(RETIRED), re.IGNORECASE)
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)
