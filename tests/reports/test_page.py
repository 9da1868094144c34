"""The page of a comparison: all in it, nothing fetched, nothing taken for markup; and in a browser, looked into."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import RECORD

from mwl.evaluation.compare import Comparison, rows_of, standings
from mwl.evaluation.curves import RETURN, REWARD, Point
from mwl.reports.page import Page, charts

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
RECORDS = [
    RECORD,
    replace(RECORD, task="h1-stand", address="runs/b"),
    replace(RECORD, agent="<b>tdmpc2</b>", address="runs/c", returns=[10.0, 30.0]),
]


def comparison() -> Comparison:
    """Two agents that learned to walk: in twenty minutes, a point a minute, to 1000 and to 100."""
    histories = {
        record.row: [
            {
                RETURN: [Point(1000 * i, 1.0 * i, most * i / 20) for i in range(21)],
                REWARD: [Point(1000 * i, 1.0 * i, most * i / 20_000) for i in range(21)],
            }
        ]
        for record, most in ((RECORDS[0], 1000.0), (RECORDS[2], 100.0))
    }
    return Comparison(RECORDS, histories, rows_of(RECORDS, {}), standings(RECORDS))


def test_a_page_needs_nothing_from_elsewhere() -> None:
    text = Page("Walks", comparison(), links=False).html()
    assert not re.search(r"(?:src|href)=\"(?!#)\w+:", text)
    assert "://" not in text, "no address of any kind: no script, style, font or picture from a server"
    assert "850.0" in text
    assert "5M" in text, "what the experts cost stands beside the agent's own steps"


def test_names_are_text_and_not_markup() -> None:
    text = Page("<i>Walks</i>", comparison(), intro=["</p><script>1</script>"], links=False).html()
    assert "<b>tdmpc2" not in text
    assert "&lt;b&gt;tdmpc2" in text
    assert text.count("<script") == text.count("</script>") == 1 + len(charts(comparison()))
    assert "<i>Walks" not in text


def test_no_secret_is_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter22")
    assert "hunter22" not in Page("hunter22", comparison(), links=False).html()


def test_curves_are_in_returns_and_rewards_against_steps_and_minutes_with_published_ones_behind() -> None:
    (walk, views), (profile, _) = charts(comparison())
    assert (walk, profile) == ("h1-walk", "Performance profile over tasks")
    assert [(view["x"], view["y"][:6]) for view in views] == [
        ("environment steps", "return"),
        ("minutes of training", "return"),
        ("environment steps", "reward"),
        ("minutes of training", "reward"),
    ]
    published = {line["name"] for line in views[0]["series"] if line.get("dashed")}
    assert "TD-MPC2 (published)" in published
    assert {line["name"] for line in views[0]["series"]} - published == {"guided", "<b>tdmpc2</b>"}
    assert views[0]["until"] == 100_000, "as far as the first published return beyond ours"
    assert not any(line.get("dashed") for view in views[1:] for line in view["series"]), "others state no minutes"
    json.dumps(views, allow_nan=False)


def test_without_evaluations_there_are_no_empty_tables() -> None:
    empty = Comparison([], {}, [], [])
    text = Page("Nothing yet", empty).html()
    assert "<table" not in text
    assert "<figure" not in text


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    """The page in a browser, with all that it asked for and complained of."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    (tmp_path / "page.html").write_text(Page("Walks", comparison(), links=False).html(), encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        yield page
        browser.close()


def test_a_reader_looks_into_a_curve(opened: Any) -> None:
    figure = opened.locator("figure.chart").first
    figure.scroll_into_view_if_needed()
    svg = figure.locator("svg")
    box = svg.bounding_box()

    def places() -> list[str]:
        return svg.locator("text").all_text_contents()

    figure.locator("select").select_option(index=1)
    assert places()[-2:] == ["minutes of training", "return of episodes in training"]
    assert {"0", "20"} <= set(places())

    # the drawing is 680 wide, its axis from 70 to 656 for 0 to 20 minutes: the middle, 363, is minute 10
    middle = box["x"] + box["width"] * 363 / 680
    opened.mouse.move(middle, box["y"] + box["height"] / 2)
    told = figure.locator(".said").inner_text()
    value, at = map(float, re.findall(r"guided: (\S+) at (\S+)", told)[0])
    assert at == pytest.approx(10, abs=0.3)
    assert value == pytest.approx(50 * at, rel=0.01), "1000 in twenty minutes, straight"

    opened.mouse.down()
    opened.mouse.move(middle + box["width"] / 4, box["y"] + box["height"] / 2)
    opened.mouse.up()
    assert "0" not in places(), "from minute 10 on"
    assert "20" not in places()
    figure.get_by_text("reset").click()
    assert {"0", "20"} <= set(places())

    assert svg.locator("polyline").count() == 2
    figure.get_by_role("button", name="guided").click()
    assert svg.locator("polyline").count() == 1
    assert opened.complaints == []
    assert all(url.startswith("file:") for url in opened.asked)
