"""What a newcomer meets: every command of README and guides, typed in a fresh clone and, where it needs no repository,
in an empty folder with the wheel. Writes a log with times and with what was left behind.

    python tests/docs/newcomer.py [--only PAGE] [--long] [--minutes N] [--log FILE]

What takes long is shortened as the tests do, or only parsed, and the log says so; `--long` carries it out as it stands.
Dependencies are taken from the environment that runs this, as in `tests/test_wheel.py`: `make setup` would load them
again. Ends with 1 if a command failed or left something that it was not told to write.
"""

import argparse
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from pages import GUIDES, ROOT, Block, blocks
from test_commands import FEWER, parsed
from test_wheel import installed_wheel, with_own

from mwl.core.files import write_text
from mwl.core.machine import processor

LIMIT, UP = 600.0, 120.0  # s for a command, and until a server says its address
SHORT = {**FEWER, "--episodes": "2"}  # a spread needs two
SERVES = ("playground", "ui")  # until Ctrl-C
TRIED = ("--trainer.fast_dev_run", "true")  # one batch, nothing kept
PARSED = {  # commands that are not carried out, and why
    r"(^| )make setup|^source |^pip install mwl": "done beforehand",
    r"git clone|pip install": "needs the network",
    r"--resume": "needs an interrupted fit",
    r"(?<!runs/)my_|picture\.png|clips/|\.bvh|--chat-url|--encoder": "needs a file or a server of the reader's",
    r"--experiment demo|runs/demo/|mwl report": "needs the demo",
    r"--device cuda": "needs a GPU",
    r"^ray |^mlflow server|address=10\.": "needs a second machine",
    r"^make |mwl run|motion train|^python benchmarks/": "long",
}
WHEEL = ("README", "install")  # whose commands need no repository
_PLAIN = re.compile(r"^```\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`((?:mwl|make) [^`]+)`")
_FILE = re.compile(r"in `(\S+\.yaml)`:\n *```yaml\n(.*?)^ *```", re.DOTALL | re.MULTILINE)  # that a guide has one write
_TARGET = re.compile(r"(?:>|--out|--output|--video)[ =](\S+)")


@dataclass(frozen=True)
class Met:
    """What came of a command.

    Args:
        page: where it stands.
        command: as it stands there.
        outcome: in a few words.
        seconds: of wall clock; None where it was not carried out.
        failed: whether it should have gone otherwise.
    """

    page: str
    command: str
    outcome: str
    seconds: float | None = None
    failed: bool = False


@dataclass
class Place:
    """Where commands are typed.

    Args:
        folder: working folder.
        programs: folder of `mwl` and `python`.
        home: of the newcomer, empty at first.
        whole: whether nothing is shortened.
        until: when, by the monotonic clock, nothing more is typed.
    """

    folder: Path
    programs: Path
    home: Path
    whole: bool
    until: float = float("inf")
    met: list[Met] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    """Files that the commands were told to write."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a newcomer, who has set none of ours."""
        own = {key: value for key, value in os.environ.items() if not re.match("PYTHON|MLFLOW|MWL|XDG|MUJOCO", key)}
        return {**own, "HOME": str(self.home), "PATH": f"{self.programs}:{own['PATH']}", "OMP_NUM_THREADS": "1"}

    def enter(self, page: str, command: str) -> None:
        """Carry a command out, or parse it where it needs what is not here."""
        if any(one.command == command and not one.failed for one in self.met):
            self.met.append(Met(page, command, "typed above"))
            return
        if time.monotonic() > self.until:
            self.met.append(Met(page, command, "left out: the time was up"))
            return
        words = shlex.split(command, comments=True)
        line = " ".join(words)
        self.told |= {target.strip("'\"") for target in _TARGET.findall(line)}
        reason = next((why for pattern, why in PARSED.items() if re.search(pattern, line)), "")
        needed = [
            word for before, word in zip(["", *words], words, strict=False) if before not in ("--out", "--output")
        ]
        needed = [word for word in needed if word.startswith("runs/") and not (self.folder / word).exists()]
        if needed and not reason:
            reason = f"needs {needed[0]}, which a training leaves"
        if reason and not (self.whole and reason == "long"):
            outcome, failed = f"parsed: {reason}", False
            try:
                if reason not in ("done beforehand", "needs the network"):
                    parsed(words)
            except (Exception, SystemExit) as error:
                outcome, failed = f"failed, parsed alone as it is {reason}: {error}", True
            self.met.append(Met(page, command, outcome, failed=failed))
        elif words[1] in SERVES:
            self._serve(page, command, words)
        else:
            self._run(page, command, words)
        print(f"{page}: {command}: {self.met[-1].outcome}", file=sys.stderr, flush=True)

    def _run(self, page: str, command: str, words: list[str]) -> None:
        short = words
        if not self.whole:
            short = [SHORT.get(before, word) for before, word in zip(["", *words], words, strict=False)]
            if words[1] == "fit" and not {"--print_config", TRIED[0]} & set(words):
                short = [*short, *TRIED]
            if words[1] == "play" and "--steps-per-clause" not in words:
                short = [*short, "--steps-per-clause", SHORT["--steps-per-clause"]]
        line, begun = command if short == words else shlex.join(short), time.monotonic()
        with tempfile.TemporaryFile() as said:
            shell = subprocess.Popen(
                ["bash", "-c", line],
                cwd=self.folder,
                env=self.environment,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                code = shell.wait(LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(shell.pid, signal.SIGKILL)
                code = shell.wait()
            seconds = time.monotonic() - begun
            said.seek(0)
            last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
        fine = code == 0 or (code == 3 and short != words)  # a plan that was cut short achieves nothing
        outcome = ("shortened" if short != words else "done") if fine else f"failed ({code}): {last[:200]}"
        self.met.append(Met(page, command, outcome, seconds, not fine))

    def _serve(self, page: str, command: str, words: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        begun = time.monotonic()
        server = subprocess.Popen(
            [*words, "--port", port],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert server.stdout is not None
        patience = threading.Timer(UP, os.killpg, (server.pid, signal.SIGKILL))
        patience.start()
        ready = any(re.search(rf"http://\S+:{port}", line) for line in server.stdout)
        seconds = time.monotonic() - begun
        if ready:
            os.killpg(server.pid, signal.SIGINT)
        server.communicate()
        patience.cancel()
        self.met.append(Met(page, command, "serves" if ready else "failed: no address", seconds, not ready))


def commands() -> Iterator[tuple[str, str]]:
    """Page and command, in the order in which they stand there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    plain = [Block("", text) for text in _PLAIN.findall(readme)]
    for block in [*plain, *(Block("", span) for span in _SPAN.findall(readme))]:
        yield from (("README", line.partition("  #")[0].strip()) for line in block.text.splitlines() if line.strip())
    for page in GUIDES:
        for block in blocks(page, "bash"):
            lines = block.text.replace("\\\n", " ").splitlines()
            yield from (
                (page.stem, re.sub(r"\s+", " ", line.partition("  #")[0]).strip()) for line in lines if line.strip()
            )


def in_clone(scratch: Path, only: str, whole: bool, minutes: float) -> tuple[list[Met], list[str]]:
    """What came of the commands in a fresh clone, and what they left that they were not told to write."""
    folder = scratch / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    with_own(folder / ".venv", "--no-build-isolation", "--editable", str(folder))
    (scratch / "home").mkdir()
    place = Place(folder, folder / ".venv/bin", scratch / "home", whole, time.monotonic() + 60 * minutes)
    for guide in GUIDES:
        for name, content in _FILE.findall(guide.read_text(encoding="utf-8")):
            (folder / name).write_text(textwrap.dedent(content))
            place.told.add(name)
    for page, command in commands():
        if only in page:
            place.enter(page, command)
    for name in place.told:
        if (file := folder / name).is_file():
            file.unlink()
            file.with_suffix(".json").unlink(missing_ok=True)  # what a recording says of itself lies beside it
    status = subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True)
    return place.met, status.stdout.splitlines()


def in_empty_folder(scratch: Path, only: str, whole: bool, minutes: float) -> tuple[list[Met], list[str]]:
    """The same with the wheel, beside `runs`."""
    (scratch / "wheel").mkdir()
    environment, folder = installed_wheel(scratch / "wheel"), scratch / "empty"
    folder.mkdir()
    (scratch / "other_home").mkdir()
    place = Place(folder, environment / "bin", scratch / "other_home", whole, time.monotonic() + 60 * minutes)
    for page, command in commands():
        command = command.removeprefix(".venv/bin/")
        if page in WHEEL and only in page and command.startswith("mwl "):
            place.enter(page, command)
    return place.met, [name for name in sorted(os.listdir(folder)) if name not in {"runs", *place.told}]


def page_of(parts: dict[str, tuple[list[Met], list[str]]], asked: str) -> str:
    """The log in Markdown."""
    text = f"""# December 2026: a newcomer's commands

Every command of README and guides, copied from the page and typed one after another in a fresh clone; those that need
no repository once more in an empty folder, with the wheel installed. `{asked}` did it and wrote this page, on
{processor()}, beside other work.

* *done*: as it stands; the seconds are of wall clock.
* *shortened*: with two episodes, two steps a clause, or one batch of a training (`{" ".join(TRIED)}`).
* *serves*: it said its address and was ended by Ctrl-C.
* *typed above*: the page has a command of another one.
* *left out*: the time that `--minutes` gives was up.
* *parsed*: flags and files were checked, nothing was carried out, for the reason given.

Dependencies were there beforehand: what `make setup` takes is not in these times.
"""
    for place, (met, left) in parts.items():
        text += f"\n## In {place}\n\n"
        kinds = [one.outcome.partition(":")[0].partition(" ")[0] for one in met]
        text += f"{len(met)} commands: " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        text += f". Left behind: {', '.join(left) if left else 'nothing that was not asked for'}.\n"
        for page, group in groupby(met, lambda one: one.page):
            text += f"\n### {page}\n\n```text\n"
            for one in group:
                seconds = "" if one.seconds is None else f"{one.seconds:.1f} s"
                text += f"{seconds:>8}  {one.command}\n{'':10}{one.outcome}\n"
            text += "```\n"
    return text


def main() -> int:
    """Type everything, write the log, say what was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PAGE", help="pages with this in their name")
    parser.add_argument("--long", action="store_true", help="shorten nothing")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of typing, in each of the two places")
    parser.add_argument("--log", type=Path, metavar="FILE", help="where to write it")
    options = parser.parse_args()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        asked = (Path(scratch), options.only, options.long, options.minutes)
        parts = {"a fresh clone": in_clone(*asked), "an empty folder, with the wheel": in_empty_folder(*asked)}
    text = page_of(parts, shlex.join(["python", "tests/docs/newcomer.py", *sys.argv[1:]]))
    if options.log:
        write_text(options.log, text)
    else:
        print(text)
    wrong = [one for met, _ in parts.values() for one in met if one.failed]
    return 1 if wrong or any(left for _, left in parts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
