"""Control steps per second of `mwl playground` while a visitor in a headless Chromium uses it, and its memory.

The browser draws without a GPU on the same cores, so that its window is small. What is measured is what the page says.

python benchmarks/playground.py [--minutes 10] [--agents none agent:walk agent:reach] [--table FILE]
python benchmarks/playground.py --pictures docs/images
"""

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mwl.evaluation.table import report

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
WORDS = {  # what each is told again and again; "none" are the experts
    "none": ("walk two metres, turn left, then stop", "go backwards slowly", "turn around", "fold the laundry", "stop"),
    "agent:walk": ("walk two metres", "fold the laundry", "walk forward"),
    "agent:reach": ("go to the target", "fold the laundry", "touch the target"),
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EVERY, PATIENCE = 10.0, 120.0  # s between two instructions; s for what takes some seconds where nothing else runs


@contextmanager
def playground(*flags: str) -> Iterator[tuple[str, int]]:
    """Its address and the id of its process."""
    command = [sys.executable, "-m", "mwl", "playground", "--port", "0", *flags]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        found = next((m for line in process.stderr if (m := re.search(r"http://\S+", line))), None)
        try:
            yield found[0] if found else sys.exit("it ended before it listened"), process.pid
        finally:
            process.terminate()


@contextmanager
def visit(address: str, width: int, height: int) -> Iterator["Page"]:
    """The page in a browser, without the notice that it draws without a GPU."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--use-gl=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        page.get_by_text("Begin anew").wait_for()
        for notice in page.locator(".mantine-Notification-closeButton").all():
            notice.click()
        yield page
        browser.close()


def tell(page: "Page", words: str) -> None:
    """Type and press Enter."""
    box = page.locator('xpath=//*[text()="Tell it"]/following::input[1]')
    box.fill(words)
    box.press("Enter")


def resident(process: int) -> float:
    """Memory in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def use(agent: str, minutes: float) -> list[str]:
    """A row of the table."""
    flags = [] if agent == "none" else ["--agent", agent]
    with playground(*flags) as (address, process), visit(address, 700, 600) as page:
        rates, dropped, memory, words = [], 0, [], itertools.cycle(WORDS.get(agent, ("stop",)))
        time.sleep(EVERY)  # it has come up by now
        begun = told = time.monotonic()
        before = None
        while time.monotonic() - begun < 60 * minutes:
            if time.monotonic() - told >= EVERY:
                tell(page, next(words))
                told = time.monotonic()
            found = re.search(r"(\d+) control steps per second, (\d+) dropped", page.inner_text("body"))
            assert found
            rates.append(float(found[1]))
            dropped = int(found[2])
            before = dropped if before is None else before
            memory.append(resident(process))
            time.sleep(1.0)
    assert before is not None
    early, late = (np.median(part) for part in (memory[: len(memory) // 5], memory[-(len(memory) // 5) :]))
    name = "experts" if agent == "none" else agent
    return [
        name,
        f"{np.mean(rates):.1f}",
        f"{np.quantile(rates, 0.05):.0f}",
        f"{dropped - before}",
        f"{early:.0f}",
        f"{late:.0f}",
    ]


def photograph(folder: Path) -> None:
    """The pictures of the documents."""

    def shot(page: "Page", name: str) -> None:
        page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=80)

    def until(page: "Page", text: str) -> None:
        page.get_by_text(text).first.wait_for()

    with playground() as (address, _), visit(address, 1280, 800) as page:
        tell(page, "walk two metres, turn left, walk one metre, then stop")
        until(page, "✓ turn left")
        shot(page, "playground")
        tell(page, "fold the laundry")
        until(page, "refused: ")
        shot(page, "playground_refused")
    with playground("--agent", "agent:reach") as (address, _), visit(address, 1280, 800) as page:
        until(page, "expected return")
        page.get_by_role("button", name="Begin anew").click()
        time.sleep(EVERY)  # it is on its way, and the way is known
        shot(page, "playground_guided")


def main() -> None:
    """Measure and print, or take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of use, for each")
    parser.add_argument("--agents", nargs="+", default=list(WORDS), help="'none' are the experts")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="take the pictures of the documents instead")
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    if find_spec("playwright") is None or CHROMIUM is None:
        print("this needs Chromium and the package playwright: nothing measured", file=sys.stderr)
        return
    if options.pictures is not None:
        photograph(options.pictures)
        return
    rows: list[Any] = [use(agent, options.minutes) for agent in options.agents]
    head = ("acts", "steps per s, mean", "steps per s, 5 %", "dropped", "MB, first fifth", "MB, last fifth")
    report(head, rows, options.table)


if __name__ == "__main__":
    main()
