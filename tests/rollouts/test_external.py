"""Environments of other packages: bounds, limits, seeds, and coming back to the middle of an episode."""

from pathlib import Path

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase
from torchrl.envs.utils import check_env_specs

from mwl.app.cli import main
from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.evaluation.config import EvaluationConfig
from mwl.evaluation.record import Record
from mwl.evaluation.run import evaluate
from mwl.evaluation.table import record_table
from mwl.rollouts.episodes import run_episodes
from mwl.rollouts.external import ExternalEnv, is_external

PENDULUM = "gym:Pendulum-v1"


class Line(EnvBase):
    """A point on a line: moved by the action, in [0, 4], less 1; paid by minus its place; ends beyond 5."""

    max_episode_steps = 7

    def __init__(self) -> None:
        super().__init__(device="cpu")
        self.observation_spec = Composite(b=Unbounded((1,)), a=Unbounded((2,)))
        self.action_spec = Bounded(0.0, 4.0, (1,))
        self.reward_spec = Unbounded((1,))
        self.done_spec = Composite(done=Binary(1, (1,), dtype=torch.bool), terminated=Binary(1, (1,), dtype=torch.bool))
        self.generator = torch.Generator()

    def _set_seed(self, seed: int | None) -> None:
        self.generator.manual_seed(seed or 0)

    def _seen(self, place: torch.Tensor) -> TensorDict:
        return TensorDict({"a": torch.cat([place, -place]), "b": place**2})

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDict:
        over = {"done": torch.zeros(1, dtype=torch.bool), "terminated": torch.zeros(1, dtype=torch.bool)}
        return self._seen(torch.rand(1, generator=self.generator)).update(over)

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        place = tensordict["a"][:1] + tensordict["action"] - 1
        over = place > 5
        return self._seen(place).update({"reward": -place, "done": over, "terminated": over})


class Unlimited(Line):
    """Says no limit of steps."""

    max_episode_steps = None  # type: ignore[assignment]


class Pictures(Line):
    """Shows pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_spec = Composite(a=Unbounded((2, 2)))


class Buttons(Line):
    """Is acted in by one of three buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.action_spec = Categorical(3)


def named(kind: type) -> str:
    return f"class:{__name__}.{kind.__name__}"


@pytest.mark.parametrize("name", [PENDULUM, named(Line)])
def test_it_keeps_what_its_specs_say(name: str) -> None:
    check_env_specs(ExternalEnv(name, 3))


def test_actions_are_scaled_and_observations_put_in_a_row() -> None:
    """An action of 0.5 is 3 in [0, 4], and so moves by 2; parts follow one another by name, a before b."""
    env = ExternalEnv(named(Line), 2, seed=4)
    state = env.reset()
    before = state[keys.OBSERVATION][:, :1]
    after = env.step(state.set(keys.ACTION, torch.full((2, 1), 0.5)))[keys.NEXT]
    place = before + 2
    assert torch.allclose(after[keys.OBSERVATION], torch.cat([place, -place, place**2], dim=1))
    assert torch.allclose(after[keys.REWARD], -place)


def test_an_episode_ends_truly_or_at_its_limit() -> None:
    """At rest (action -0.5, 1 of [0, 4]) only the seventh step ends it; with +2 a step a place in [0, 1] is over 5 in
    the third."""
    env = ExternalEnv(named(Line), 2, seed=4)
    state, ends = env.reset(), []
    for _ in range(7):
        after = env.step(state.set(keys.ACTION, torch.tensor([[-0.5], [0.5]])))[keys.NEXT]
        ends.append([after[key].flatten().tolist() for key in (keys.TERMINATED, keys.TRUNCATED)])
        state = env.maybe_reset(after.exclude(keys.REWARD))
    assert [end[0][1] for end in ends] == [False, False, True] * 2 + [False]
    assert [end[1][0] for end in ends] == [False] * 6 + [True]
    assert state[keys.STEP_COUNT].flatten().tolist() == [0, 1]


def test_episodes_depend_on_the_seed_and_their_place_alone() -> None:
    few, many, other = (ExternalEnv(PENDULUM, n, seed=s).reset()[keys.OBSERVATION] for n, s in ((2, 3), (4, 3), (4, 9)))
    assert torch.equal(few, many[:2])
    assert len({tuple(row) for row in torch.cat([many, other]).tolist()}) == 8


def test_a_snapshot_brings_episodes_back() -> None:
    env, again = ExternalEnv(PENDULUM, 3, seed=3), ExternalEnv(PENDULUM, 3, seed=3)
    torch.manual_seed(1)
    env.rollout(230, break_when_any_done=False)  # into the second episode
    again.restore(env.snapshot())
    assert torch.equal(again.reset()[keys.OBSERVATION], env.snapshot()["observation"])
    action = torch.full((3, 1), 0.3)
    ahead = [each.step(TensorDict({keys.ACTION: action}, [3]))[keys.NEXT, keys.OBSERVATION] for each in (env, again)]
    assert torch.equal(*ahead)


def test_what_does_not_repeat_itself_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    env, again = ExternalEnv(PENDULUM, 1), ExternalEnv(PENDULUM, 1)
    env.rollout(5)
    spoilt = env.snapshot()
    spoilt["observation"] = spoilt["observation"] + 1
    again.restore(spoilt)
    assert "new episodes begin" in caplog.text
    assert again.reset()[keys.STEP_COUNT].tolist() == [[0]]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gym:NoSuch-v0", "can't be made"),
        ("gym:CartPole-v1", "no numbers within bounds"),
        (named(Buttons), "no numbers within bounds"),
        (named(Unlimited), "no limit of steps"),
        (named(Pictures), "pictures"),
        ("class:pathlib.Path", "no torchrl.envs.EnvBase"),
        ("class:nowhere.Env", "no class"),
    ],
)
def test_what_can_not_be_learned_in_is_refused(name: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        ExternalEnv(name)


def test_walker_stands_where_the_suite_is_installed() -> None:
    pytest.importorskip("dm_control")
    env = ExternalEnv("dmc:walker-stand", 2, seed=1)
    assert (env.task.layout.size, env.action_spec.shape[-1], env.task.max_episode_steps) == (24, 6, 1000)
    after = env.rollout(3)
    assert ((after[keys.NEXT, keys.REWARD] >= 0) & (after[keys.NEXT, keys.REWARD] <= 1)).all()


def test_names() -> None:
    assert is_external(PENDULUM)
    assert not is_external("h1-walk")
    assert not is_external("expert:walk")
    assert not is_external(None)


class Still:
    """An agent that does nothing."""

    last = None

    def reset(self, done: torch.Tensor | None = None) -> None:
        pass

    def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
        return torch.full((len(observation), 1), -0.5)


def test_whole_episodes_are_measured_without_a_robot() -> None:
    """Seven steps at rest return minus seven times the place where they began."""
    env = ExternalEnv(named(Line), 3, seed=4)
    begun = env.reset()[keys.OBSERVATION][:, 0]
    episodes = run_episodes(ExternalEnv(named(Line), 3, seed=4), Still())
    assert episodes.returns == pytest.approx((-7 * begun).tolist(), abs=1e-4)
    assert episodes.lengths.tolist() == [7, 7, 7]
    figures = episodes.figures(float("inf"))
    assert all(figures[name] is None for name in ("success_rate", "fall_rate", "down_rate", "jerk", "energy"))


def evaluated(folder: Path, *arguments: str) -> int:
    return main(["evaluate", "--episodes", "2", *arguments, "--agent", str(folder)])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world model of the pendulum, after a few rounds."""
    folder = tmp_path_factory.mktemp("fitted") / "tdmpc2"
    learning = ["--model.init_args.learning.learning_starts=40", "--model.init_args.learning.seed_steps=40"]
    asked = ["--config", "conf/baselines/tdmpc2.yaml#cpu", "--env", PENDULUM, "--steps", "56", "--output", str(folder)]
    assert main(["fit", *asked, *learning, "--trainer.logger=false"]) == 0
    return folder


def test_a_world_model_is_fitted_and_evaluated_anywhere(fitted: Path, tmp_path: Path) -> None:
    record = evaluate(EvaluationConfig(PENDULUM, str(fitted), episodes=2))
    assert (record.row.task, record.row.agent) == (PENDULUM, "tdmpc2")
    assert (record.env_steps, record.lengths, record.fall_rate) == (56, [200, 200], None)
    assert all(-17 * 200 < value < 0 for value in record.returns)  # the worst step costs 16.3
    (tmp_path / "evaluation.json").write_text(record.to_json())
    assert Record.read(tmp_path) == record
    assert "jerk" not in str(list(record_table(record).columns[0].cells))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--env", "gym:MountainCarContinuous-v0"], f"made for {PENDULUM}"),
        (["--task", "h1-walk"], f"made for {PENDULUM}"),
        (["--env", PENDULUM, "--shift", "payload=5"], "robot's tasks alone"),
        (["--env", PENDULUM, "--video", "film.mp4"], "films are of the robot"),
    ],
)
def test_what_does_not_fit_is_refused(
    fitted: Path, arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(fitted, *arguments) == 2
    assert why in capsys.readouterr().err


def test_the_robots_experts_are_refused_elsewhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert evaluated(Path("data/experts/walk"), "--env", PENDULUM) == 2
    assert "made for h1-walk" in capsys.readouterr().err
    asked = ["fit", "--config", "conf/world_model.yaml", "--env", PENDULUM, "--output", str(tmp_path / "x")]
    assert main([*asked, "--trainer.logger=false"]) == 2
    assert "experts are the robot's" in capsys.readouterr().err
    assert main(["evaluate", "--env", PENDULUM]) == 2
    assert "needs --agent" in capsys.readouterr().err


def test_a_configuration_with_a_logger_is_tried_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "conf/baselines/sac.yaml", "--env", PENDULUM, "--trainer.fast_dev_run=true"]) == 0
    assert "nothing was kept" in capsys.readouterr().err


def test_stages_without_an_environment_take_no_env(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "conf/semantic.yaml", "--env", PENDULUM]) == 2
    assert "--env is of stages whose data have 'task'" in capsys.readouterr().err
