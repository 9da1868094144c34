"""Films: whole under their name, or not there at all."""

import multiprocessing
import os
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest

from mwl.core.errors import WriteFailed
from mwl.core.files import FILM_ENDINGS
from mwl.simulation.rendering.films import Film


def shoot(path: Path, frames: int = 8) -> None:
    """A film of noise, which does not compress: at least 20 kB a frame."""
    random = np.random.default_rng(0)
    with Film(path, 10.0) as film:
        for _ in range(frames):
            film.add(random.integers(0, 255, (96, 128, 3)).astype(np.uint8))


@pytest.mark.parametrize("ending", FILM_ENDINGS)
def test_a_film_holds_its_frames_and_its_rate(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a film ü %d{ending}"
    shoot(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with imageio.get_reader(path) as film:
        assert film.get_meta_data()["fps"] == 10.0
        assert sum(1 for _ in film) == 8


def test_a_film_broken_off_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"before")
    film = Film(path, 10.0)
    film.add(np.zeros((96, 128, 3), dtype=np.uint8))
    film.abandon()
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def _shoot_within(limit: int, path: Path, said: "multiprocessing.Queue[str]") -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        shoot(path, 40)
        said.put("written")
    except WriteFailed as error:
        said.put(str(error))


@pytest.mark.skipif(os.name != "posix", reason="file sizes can't be limited here")
def test_a_film_for_which_there_is_no_room_is_an_error_and_no_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    said: multiprocessing.Queue[str] = context.Queue()
    process = context.Process(target=_shoot_within, args=(100_000, tmp_path / "film.mp4", said))
    process.start()
    assert "could not be written" in said.get(timeout=60)
    process.join()
    assert not list(tmp_path.iterdir())
