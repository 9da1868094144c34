"""Films: readable, of the promised length, and only there when complete."""

from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
import torch

from mwl import make_env
from mwl.evaluation.video import Recorder, annotate


class Still:
    last = None

    def reset(self, done: torch.Tensor | None = None) -> None: ...

    def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
        return torch.zeros(len(observation), 19)


def test_film_has_one_frame_per_so_many_steps(tmp_path: Path) -> None:
    env = make_env("h1-stand", 1)
    env.reset()
    path = tmp_path / "film.mp4"
    with Recorder(path, ["a caption"], every=5, size=(160, 120), max_steps=20) as recorder:
        for step in range(30):
            recorder(step, env, Still())
            assert not path.exists(), "no half a film"
    with imageio.get_reader(path) as film:
        assert film.get_meta_data()["fps"] == 10.0
        assert len([frame for frame in film]) == 4  # noqa: C416  # a reader of film has no length
    assert not list(tmp_path.glob(".*")), "no scratch file is left"


def test_a_film_is_taken_by_the_camera_that_shows_the_whole_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {}
    for name in ("h1-stand", "h1-door"):
        env = make_env(name, 1)
        env.reset()
        plain = env.render

        def render(task: str = name, plain: Any = plain, **asked: Any) -> Any:
            taken[task] = asked["camera"]
            return plain(**asked)

        monkeypatch.setattr(env, "render", render)
        with Recorder(tmp_path / f"{name}.mp4", size=(160, 120)) as recorder:
            recorder(0, env, Still())
    assert taken == {"h1-stand": None, "h1-door": "both_sides"}


def test_annotation_changes_only_the_top() -> None:
    picture = np.full((240, 320, 3), 90, dtype=np.uint8)
    result = annotate(picture, ["one line"], {"walk": 0.7, "stand": 0.3})
    assert result.shape == picture.shape
    assert not np.array_equal(result[:60], picture[:60])
    assert np.array_equal(result[120:], picture[120:])


LONG = "“first stand still for two seconds, then walk over to the door, open it with your left hand and go on”"
SEVEN = {"stand": 0.5, "walk": 0.2, "run": 0.1, "reach": 0.1, "approach": 0.05, "handle_pull": 0.05, "crawl": 0.0}


def test_text_of_any_length_and_bars_of_many_experts_keep_apart() -> None:
    black = np.zeros((360, 480, 3), dtype=np.uint8)  # the shade behind text and bars leaves it black
    bars = annotate(black, [], SEVEN)
    begin = int(bars.any(axis=(0, 2)).argmax())  # first column of the names beside the bars
    both = annotate(black, [LONG, f"now (stand): {LONG}", "Supercalifragilistic" * 9, "t = 1.0 s"], SEVEN)
    assert np.array_equal(both[:, begin:], bars[:, begin:])
    assert not both[:, begin - 4 : begin].any(), "a gap between them"
    assert both[:, 200:begin].any(), "text goes as far as it can"


def test_a_long_line_takes_two_rows() -> None:
    black = np.zeros((360, 480, 3), dtype=np.uint8)
    words, row = LONG.split(), 20  # pixels, where the first row ends
    wrapped = annotate(black, [LONG], SEVEN)[:, :330]  # left of the bars
    alone = {n: annotate(black, ["", " ".join(words[n:])])[row:, :330] for n in range(len(words))}
    assert any(np.array_equal(wrapped[row:], rest) for n, rest in alone.items() if n > 0), "no word is lost"


def test_of_many_experts_only_the_heaviest_get_a_bar() -> None:
    black = np.zeros((360, 480, 3), dtype=np.uint8)
    four = {name: SEVEN[name] for name in ("stand", "walk", "run", "reach")}
    shown = annotate(black, [], SEVEN)[:, 384:]
    assert np.array_equal(shown, annotate(black, [], four)[:, 384:])
    few = annotate(black, [], {"stand": 1.0, "walk": 0.0})
    assert few[:, 384:].any(axis=(1, 2))[24:32].any(), "of two, one without weight has an empty bar"


def test_text_has_the_whole_width_where_no_weights_are_shown() -> None:
    black = np.zeros((360, 480, 3), dtype=np.uint8)
    assert annotate(black, [LONG])[:, 400:].any()
