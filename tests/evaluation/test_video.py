"""Films: readable, of the promised length, and only there when complete."""

from pathlib import Path

import imageio.v2 as imageio
import numpy as np
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
    recorder = Recorder(tmp_path / "film.mp4", ["a caption"], every=5, size=(160, 120), max_steps=20)
    for step in range(30):
        recorder(step, env, Still())
        assert not (tmp_path / "film.mp4").exists(), "no half a film"
    path = recorder.close()
    with imageio.get_reader(path) as film:
        assert film.get_meta_data()["fps"] == 10.0
        assert len([frame for frame in film]) == 4  # noqa: C416  # a reader of film has no length
    assert not list(tmp_path.glob(".*")), "no scratch file is left"


def test_annotation_changes_only_the_top() -> None:
    picture = np.full((240, 320, 3), 90, dtype=np.uint8)
    result = annotate(picture, ["one line"], {"walk": 0.7, "stand": 0.3})
    assert result.shape == picture.shape
    assert not np.array_equal(result[:60], picture[:60])
    assert np.array_equal(result[120:], picture[120:])
