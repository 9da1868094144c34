"""Guides are short to read, and name only what is there."""

import re
from pathlib import Path
from statistics import mean

import pytest
from pages import GUIDES, PAGES, ROOT, anchors, code_spans, links, numbers, paragraphs, sentences, words

SRC = ROOT / "src"
OWN = re.compile(r"my_|mine|crouch|\.\.\.|[<>*{}A-Z$]")  # files that the reader makes, and patterns
NAMING = [file for folder in ("src", "conf", "benchmarks", "tests") for file in (ROOT / folder).rglob("*.*")]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_is_short_to_read(page: Path) -> None:
    text = paragraphs(page.read_text(encoding="utf-8"))
    lengths = {sentence: len(words(sentence)) for paragraph in text for sentence in sentences(paragraph)}
    assert mean(lengths.values()) <= 18, f"{mean(lengths.values()):.1f} words a sentence"
    assert [sentence for sentence, length in lengths.items() if length > 40] == []
    assert [paragraph for paragraph in text if len(words(paragraph)) > 90] == []
    assert [(numbers(paragraph), paragraph) for paragraph in text if len(numbers(paragraph)) > 2] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(f"{path}#{anchor}" if anchor else path)
    assert lost == []


def test_pages_that_code_and_configurations_name_are_there() -> None:
    named = {
        (str(file.relative_to(ROOT)), page)
        for file in NAMING
        if file.suffix in (".py", ".yaml", ".md")
        for page in re.findall(r"\bdocs/[\w/-]+\.md", file.read_text(encoding="utf-8"))
    }
    assert named
    assert {(file, page) for file, page in named if not (ROOT / page).is_file()} == set()


def is_defined(name: str) -> bool:
    """Whether a dotted name is a module of ours, or something that one defines."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        place = SRC.joinpath(*parts[:end])
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            return all(re.search(rf"(class|def|import.*) \b{part}\b|\b{part}\b *[:=,]", text) for part in parts[end:])
    return False


@pytest.mark.parametrize("page", [*GUIDES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_files_and_names_that_a_guide_speaks_of_are_there(page: Path) -> None:
    spans = [span for span in code_spans(page) if not OWN.search(span.partition("mwl.")[0] or "")]
    files = [span for span in spans if re.match(r"(conf|data|docs|src|tests|benchmarks|notebooks)/[\w./-]+$", span)]
    assert [file for file in files if not (ROOT / file).exists()] == []
    names = [span for span in spans if re.fullmatch(r"mwl(\.\w+)+", span)]
    assert [name for name in names if not is_defined(name)] == []
