"""Where what words name ends, and how high it is: by the scene, not by figures that were typed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mwl.semantics import Clause, Sequencer
from mwl.semantics.language.parameters import Parameters
from mwl.semantics.plan import passages
from mwl.simulation import get_task

ASSETS = Path(passages.__file__).parents[2] / "simulation" / "assets"
WALK = get_task("h1-walk").layout


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    yield
    passages.ends.cache_clear()
    passages.height.cache_clear()


def _ended_at(told: Parameters, speed: float = 0.1) -> tuple[float, str]:
    """Where a step was over for a robot that moves on along x (m), and what it said."""
    sequencer = Sequencer([Clause("go", {"hurdle": 1.0}, parameters=told)])
    observation = torch.zeros(WALK.size)
    observation[2], observation[3] = 0.98, 1.0
    for step in range(1000):
        observation[0] = speed * step
        sequencer.update(observation, WALK, step)
        if sequencer.finished:
            return float(observation[0]), sequencer.states()[0][1]
    return float("inf"), ""


def test_a_step_ends_where_the_scene_lies_behind() -> None:
    """A tunnel from 2.2 m on, 16 m long, and hurdles every 7 m, 6 cm deep: and the robot's own length past them."""
    assert _ended_at(Parameters(ground="tunnel", rise=1)) == (pytest.approx(18.5, abs=0.1), "the tunnel lies behind")
    assert _ended_at(Parameters(ground="hurdles", rise=2))[0] == pytest.approx(2 * 7 + 0.03 + 1, abs=0.1)
    assert _ended_at(Parameters(ground="poles", rise=10))[0] == pytest.approx(10 + 0.05 + 0.4, abs=0.1)
    around = torch.tensor([[6.0, 6.0], [6.3, 5.8], [5.5, 6.0], [3.0, 6.0]])  # 0.36 m off and 0.5 m off are between them
    assert passages.at_end(around).tolist() == [True, True, False, False]
    assert passages.height("stairs") == pytest.approx(passages.MOST * 5 * 0.18)
    assert passages.height("slope") == pytest.approx(passages.MOST * 1.75, abs=1e-3)


def test_another_scene_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = tmp_path / "near.xml"
    scene.write_text((ASSETS / "hurdle.xml").read_text().replace('offset="7 0 0"', 'offset="5 0 0"'))
    nearer = replace(get_task("h1-hurdle"), scene=str(scene))
    monkeypatch.setattr(passages, "get_task", lambda name: nearer)
    passages.ends.cache_clear()
    assert _ended_at(Parameters(ground="hurdles", rise=2))[0] == pytest.approx(7 + 5 + 0.03 + 1, abs=0.1)
