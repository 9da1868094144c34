"""What `import mwl` offers: names, agents by address, policies of TorchRL, an instruction played."""

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tensordict import TensorDict
from torchrl.collectors import Collector

import mwl
from mwl.core.errors import BadInput, NoSkillFits, UnknownAgent
from mwl.rollouts.policy import AgentPolicy


def test_every_name_is_offered_and_loads() -> None:
    assert set(mwl.__all__) <= set(dir(mwl))
    for name in mwl.__all__:
        assert getattr(mwl, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = mwl.nothing  # type: ignore[attr-defined]


def test_importing_it_loads_nothing_heavy() -> None:
    program = "import mwl, sys; dir(mwl); mwl.__version__; print([n for n in ('torch', 'numpy') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("address", ["expert:walk", "data/experts/walk", Path("data/experts/walk")])
def test_an_agent_is_loaded_by_its_address(address: str | Path) -> None:
    agent = mwl.load_agent(address)
    assert (
        repr(agent) == "ExpertAgent(Guidance(ExpertLibrary(walk), no gate, weights={'walk': 1.0}, alpha=0.5, mixture))"
    )


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownAgent, match="did you mean 'walk'"):
        mwl.load_agent("expert:wlak")
    with pytest.raises(BadInput, match=r"its skills are stand"):
        mwl.load_agent("expert:stand", instruction="run as fast as you can")


def test_things_say_what_they_are() -> None:
    assert repr(mwl.load_agent("agent:reach")).startswith(
        "WorldModelAgent(plans by mean, guidance=Guidance(ExpertLibrary(approach, reach), gate, weights="
    )
    env = mwl.make_env("h1-walk", 3)
    assert repr(env) == "HumanoidEnv('h1-walk', num_envs=3)"
    assert repr(env.task).startswith("Task(name='h1-walk', instruction='walk forward'")
    assert repr(mwl.ExpertLibrary.load("data/experts/run").experts[0]) == "Expert('run', task='h1-run')"


@pytest.mark.parametrize("address", ["expert:walk", "agent:walk"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_agent_is_the_policy_of_a_collector(address: str) -> None:
    policy = mwl.load_policy(address)
    collector = Collector(mwl.make_env("h1-walk", 2), policy, frames_per_batch=60, total_frames=120)
    batches = [batch.clone() for batch in collector]
    collector.shutdown()
    assert [tuple(batch.shape) for batch in batches] == [(2, 30), (2, 30)]
    # As the same agent acts in a loop of one's own, from the same states.
    agent = mwl.load_agent(address)
    for step, observation in enumerate(batches[0]["observation"].unbind(1)):
        torch.testing.assert_close(agent.act(observation, step), batches[0]["action"][:, step], atol=1e-5, rtol=0)
    assert float(batches[1]["next", "reward"].mean()) > 0.7  # walking earns up to 1 a step, a fall next to nothing


def test_a_policy_forgets_where_an_episode_begins() -> None:
    class Noting:
        last = None
        told: ClassVar[list[list[bool] | None]] = []

        def reset(self, done: torch.Tensor | None = None) -> None:
            self.told.append(None if done is None else done.tolist())

        def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
            return observation[:, :1]

    policy = AgentPolicy(Noting())
    for counts in ([0, 0], [1, 1], [2, 0], [0, 1]):
        state = {"observation": torch.ones(2, 3), "step_count": torch.tensor(counts).unsqueeze(-1)}
        assert policy(TensorDict(state, [2]))["action"].tolist() == [[1.0], [1.0]]
    assert Noting.told == [None, [False, True], [True, False]]


def test_an_instruction_is_played_and_shows_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    played = mwl.play("stand still", steps_per_clause=20)
    assert played.film == Path("runs/play.mp4")
    assert played.achieved == (played.summary["plan"][0]["state"] == "done")
    assert "stand still" in str(played)
    page = played._repr_html_()
    assert page.startswith('<video controls autoplay loop muted src="data:video/mp4;base64,')
    assert "stand still" in page
    with pytest.raises(NoSkillFits):
        mwl.play("cook a soup")
    with pytest.raises(BadInput, match="exists already"):
        mwl.play("stand still", film=played.film)
    assert [path.name for path in Path("runs").iterdir()] == ["play.mp4"]
