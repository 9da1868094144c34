"""What the tests of the documents read: prose, links, names and commands of a Markdown page."""

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])

_FENCE = re.compile(r"^( *)```.*?^\1```\n?", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`[^`]+`")
_SENTENCE_END = re.compile(r"(?<=[.!?])[)*\"]*\s+")
_BLOCK = re.compile(
    r"(?: *<!-- (?P<how>[^>]*?) -->\n)?^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```", re.S | re.M
)


def without_code(text: str) -> str:
    """The page without fenced blocks and comments."""
    return _COMMENT.sub("", _FENCE.sub("", text))


def paragraphs(text: str) -> list[str]:
    """Paragraphs and list items in plain words; code in a line counts as one word, tables and headings do not count."""
    found = [""]
    for line in without_code(text).splitlines():
        if not line.strip() or line.lstrip().startswith(("#", "|")):
            found.append("")
        elif re.match(r" *([*-]|\d+\.) ", line):
            found.append(re.sub(r"^ *([*-]|\d+\.) ", "", line))
        else:
            found[-1] += " " + line.strip()
    plain = (_CODE.sub("code", _LINK.sub(lambda link: link["text"], paragraph)).strip() for paragraph in found)
    return [paragraph for paragraph in plain if re.search(r"\w", paragraph)]


def sentences(paragraph: str) -> list[str]:
    """Sentences of a paragraph."""
    return [sentence for sentence in _SENTENCE_END.split(paragraph) if words(sentence)]


def words(text: str) -> list[str]:
    """Words of a text."""
    return re.findall(r"[\w'-]*\w[\w'-]*", text)


def numbers(text: str) -> list[str]:
    """Figures of a text, as `1.1` or `12,000`."""
    return re.findall(r"(?<![\w-])\d[\d.,]*\d|(?<![\w-])\d(?![\w-])", text)


def links(page: Path) -> list[tuple[str, str]]:
    """Relative links of a page: path (may be empty) and anchor (may be empty)."""
    targets = (link["target"] for link in _LINK.finditer(without_code(page.read_text(encoding="utf-8"))))
    parts = (target.partition("#") for target in targets if not re.match(r"\w+:", target))
    return [(path, anchor) for path, _, anchor in parts]


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as the site makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def code_spans(page: Path) -> list[str]:
    """What stands between back quotes in a page's text."""
    return [span[1:-1] for span in _CODE.findall(without_code(page.read_text(encoding="utf-8")))]


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        how: the marker above it: `runs`, `parses`, `runs in FILE`, or nothing.
        text: what stands in it.
    """

    how: str
    text: str

    def commands(self) -> list[list[str]]:
        """Words of each command, of a block for the shell."""
        lines = self.text.replace("\\\n", " ").splitlines()
        split = [shlex.split(line, comments=True) for line in lines]
        return [command for command in split if command]


def blocks(page: Path, language: str) -> list[Block]:
    """The blocks of a page in a language, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [
        Block(match["how"] or "", textwrap.dedent(match["text"])) for match in found if match["language"] == language
    ]
