"""The page as a visitor uses it, in a real Chromium; what it says is read from the page alone."""

import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("viser", reason="the playground needs the extra `viewer`")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
PATIENCE = 120.0  # s for what takes some seconds where nothing else runs


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [str(Path(sys.executable).parent / "mwl"), "playground", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        found = next((m for line in process.stderr if (m := re.search(r"http://\S+", line))), None)
        assert found, "it ended before it listened"
        yield found[0]
        process.terminate()


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--use-gl=swiftshader", "--enable-unsafe-swiftshader"]
        )
        opened = browser.new_page(viewport={"width": 1280, "height": 1400})
        opened.set_default_timeout(1000 * PATIENCE)
        opened.goto(address)
        opened.get_by_text("Begin anew").wait_for()
        yield opened
        browser.close()


def place(page: Any) -> tuple[float, ...]:
    """x and y in m, heading in degrees, and speed in m/s, as the page says them."""
    found = re.search(r"at \((\S+), (\S+)\) m, heading (\S+)°, (\S+) m/s", page.inner_text("body"))
    assert found
    return tuple(map(float, found.groups()))


def until(page: Any, holds: Callable[[str], bool]) -> str:
    """The text of the page, once something holds of it."""
    end = time.monotonic() + PATIENCE
    while not holds(text := page.inner_text("body")):
        assert time.monotonic() < end, text
        time.sleep(0.2)
    return text


def tell(page: Any, words: str) -> None:
    box = page.locator('xpath=//*[text()="Tell it"]/following::input[1]')
    box.fill(words)
    box.press("Enter")


def test_a_visitor_tells_pushes_and_moves_it(page: Any) -> None:
    x, y, *_ = place(page)
    tell(page, "walk two metres, then stop")
    until(page, lambda text: "✓ walk two metres" in text and "✓ stop" in text)
    after = place(page)
    # 0.3 m is asked of a distance, and from a walk it takes 0.2 to 0.4 m to stand.
    assert math.hypot(after[0] - x, after[1] - y) == pytest.approx(2.2, abs=0.4)
    before = after[2]
    tell(page, "turn left")
    until(page, lambda text: "✓ turn left" in text)
    assert (place(page)[2] - before) % 360 == pytest.approx(90, abs=15)
    tell(page, "fold the laundry")
    until(page, lambda text: "refused: " in text)
    tell(page, "walk backwards")
    until(page, lambda text: "refused: " not in text and place(page)[3] > 0.3)
    tell(page, "stop")
    until(page, lambda text: "✓ stop" in text)
    page.get_by_role("tab", name="Push").click()
    page.get_by_role("button", name="Push forwards").click()
    until(page, lambda text: "pushed by 0.5 m/s" in text)
    time.sleep(3)
    assert "lies on the floor" not in page.inner_text("body")
    page.get_by_role("button", name="Begin anew").click()
    until(page, lambda text: "told nothing yet" in text and max(map(abs, place(page)[:2])) < 0.2)
    page.get_by_role("tab", name="World").click()
    page.get_by_label("Scene").click()
    page.get_by_role("option", name="h1-reach").click()
    tell(page, "walk over to the target")
    until(page, lambda text: "▶" in text)
