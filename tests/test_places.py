"""Files are found in the working folder, then in the user's, then in what ships; a YAML's paths begin at its folder."""

import os
import shutil
from pathlib import Path

import pytest

from mwl._places import SHIPPED, find, from_folder, places
from mwl.core.artifact import update_manifest
from mwl.core.errors import MissingFile, UnknownAgent
from mwl.evaluation.agents import best_shipped, find_agent, find_expert
from mwl.experiments import tracking
from mwl.pipeline.config import load
from mwl.semantics.shipped import shipped_cards
from mwl.training.schedule import read_part
from mwl.training.stage_cli import resolved_config


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and an empty folder of the user."""
    monkeypatch.setenv("MWL_HOME", str(tmp_path / "home"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def expert(target: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / "data/experts/stand", target))


def test_the_working_folder_comes_before_the_users_and_that_before_what_ships(elsewhere: Path) -> None:
    assert find_expert("stand") == SHIPPED / "data/experts/stand"
    own = expert(places()[1] / "data/experts/stand")
    assert find("data/experts/stand") == find_expert("stand") == own
    expert(Path("data/experts/stand"))
    assert find("data/experts/stand") == find_expert("stand") == Path("data/experts/stand")


def test_without_a_setting_the_users_folder_is_the_platforms(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MWL_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(elsewhere / "share"))  # as Linux names it; others have places of their own
    assert places()[1].is_absolute()
    assert places()[1].name == "mwl"


def test_an_empty_folder_knows_all_that_ships(elsewhere: Path) -> None:
    assert find_agent("h1-reach") == SHIPPED / "data/agents/reach"
    assert best_shipped("h1-push") == "expert:walk"
    assert {"stand", "walk", "run"} <= {card.name for card in shipped_cards()}
    with pytest.raises(
        UnknownAgent,
        match="known: balance_simple, crawl, door, hurdle, maze, pole, reach, run, sit_hard, sit_simple, stand, walk",
    ):
        find_agent("h1-fly")


@pytest.mark.parametrize("address", ["conf:experts/stand.yaml", "conf/experts/stand.yaml"])
def test_a_shipped_configuration_is_understood_anywhere(elsewhere: Path, address: str) -> None:
    config = resolved_config(["--config", address])
    assert config["output"] == "runs/stand"  # here, not beside what ships
    assert config["trainer"]["logger"]["class_path"].endswith("StageLogger")  # of the default.yaml beside it


def test_a_shipped_pipeline_is_understood_anywhere(elsewhere: Path) -> None:
    pipeline, stages = load(Path("conf:pipelines/tiny.yaml"))
    assert pipeline.folder == Path("runs/tiny")
    assert "comparison" in stages


def test_paths_in_a_file_are_relative_to_its_folder(elsewhere: Path) -> None:
    folder = elsewhere / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.yaml").write_text("x: 1\nvariants: {part: {x: 2}}\n")
    (folder / "p.yaml").write_text(
        "a: sub/a.yaml#part\nb: [sub/a.yaml, data/experts]\nc: runs/x\noutput: sub\nd: sub\ne: not/there.yaml\n"
    )
    (folder / "runs/x").mkdir(parents=True)  # results are those of the working folder all the same
    content = read_part("mine/p.yaml")
    assert content == {
        "a": "mine/sub/a.yaml#part",
        "b": ["mine/sub/a.yaml", "data/experts"],
        "c": "runs/x",
        "output": "sub",
        "d": "sub",  # no path by its looks: a task, an agent or a name
        "e": "not/there.yaml",
    }
    assert read_part(content["a"])["x"] == 2


def test_what_is_no_path_stays_as_it_is(elsewhere: Path) -> None:
    value = {"long": "x/" * 300, "zero": "a/\0", "lines": "a/b\nc", "name": "ä/" * 100, "number": 3, "none": None}
    assert from_folder(value, Path("conf")) == value


@pytest.mark.parametrize("path", ["data/../secret", "other/x", "data/none"])
def test_nothing_else_is_looked_for_elsewhere(elsewhere: Path, path: str) -> None:
    assert find(path) == Path(path)


def test_what_ships_is_never_written(elsewhere: Path) -> None:
    with pytest.raises(MissingFile, match="no such folder"):
        update_manifest("data/experts/stand", metrics={})
    assert not os.listdir(elsewhere)


def test_the_store_lies_with_the_results_where_there_is_no_folder_for_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.tracking_uri() == "sqlite:///runs/mlflow/mlflow.db"
    Path("mlflow").mkdir()
    assert tracking.tracking_uri() == "sqlite:///mlflow/mlflow.db"
