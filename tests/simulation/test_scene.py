"""An episode as a page that opens without Python."""

import base64
import re
from pathlib import Path

import pytest

pytest.importorskip("viser", reason="scenes need the extra `viewer`")
pytest.importorskip("mjviser", reason="scenes need the extra `viewer`")

import msgspec
import torch
import zstandard

from mwl.app.cli import main
from mwl.core import keys
from mwl.core.errors import WriteFailed
from mwl.simulation import make_env
from mwl.simulation.rendering.scene import SceneRecorder


def recorded(page: str) -> dict:
    """What the page plays."""
    found = re.search(r'__VISER_EMBED_DATA__="([^"]+)"', page)
    assert found
    inner = zstandard.ZstdDecompressor().decompress(base64.b64decode(found[1])[8:])
    return msgspec.msgpack.decode(inner[8 : 8 + int.from_bytes(inner[:8], "little")])


def test_the_page_plays_the_episode_and_shows_its_caption_as_text(tmp_path: Path) -> None:
    env = make_env("h1-reach", 2, seed=0, num_threads=1)
    state = env.reset()
    with SceneRecorder(tmp_path / "a.html", "<b>walk & stop", every=2, max_steps=8, index=1) as recorder:
        for step in range(12):
            recorder(step, env)
            state = env.step(state.set(keys.ACTION, torch.zeros(2, 19)))[keys.NEXT].exclude(keys.REWARD)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;walk &amp; stop" in page
    assert "<b>walk" not in page
    played = recorded(page)
    assert played["durationSeconds"] == pytest.approx(0.16), "8 control steps of 20 ms"
    assert any("/bodies/left_ankle_link" in str(message) for _, message in played["messages"])


def test_an_episode_that_breaks_off_leaves_no_page_and_a_full_disk_costs_the_page_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make_env("h1-walk", 1, seed=0, num_threads=1)
    env.reset()

    def begin(recorder: SceneRecorder) -> None:
        with recorder:
            recorder(0, env)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin(SceneRecorder(tmp_path / "a.html"))

    def full(*_: object) -> None:
        raise WriteFailed("the disk is full")

    monkeypatch.setattr("mwl.simulation.rendering.scene.write_text", full)
    failures: list[WriteFailed] = []
    with SceneRecorder(tmp_path / "a.html", failed=failures.append) as recorder:
        recorder(0, env)
    assert len(failures) == 1
    assert not (tmp_path / "a.html").exists()


def test_a_scene_is_of_the_embedded_suite_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["evaluate", "--task", "h1-walk", "--agent", "expert:walk", "--scene"]
    assert main([*ask, str(tmp_path / "a.mp4")]) == 2
    assert "must end in .html" in capsys.readouterr().err
