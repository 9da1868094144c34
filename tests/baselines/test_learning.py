"""Every baseline begins in any environment, and learns to swing up gymnasium's pendulum as public ones of it do."""

import runpy
from pathlib import Path

import pytest
import torch
from torchrl.envs.libs.dm_control import _has_dmc

from mwl.app.cli import main
from mwl.baselines import load_agent
from mwl.evaluation.config import EvaluationConfig
from mwl.evaluation.published import published
from mwl.evaluation.run import evaluate

PENDULUM = "gym:Pendulum-v1"
EPISODES = 50
_PPO = ["--model.init_args.learning.lr=1e-3", "--model.init_args.learning.discount=0.9"]  # of rl-baselines3-zoo, as is
_PPO += ["--data.init_args.num_envs=4", "--data.init_args.steps_per_round=1024"]  # the size of a round

# rl-baselines3-zoo (benchmark.md) measures SAC at -157, standard deviation of an episode 89, after 20k steps, and PPO
# at -172 and 104 after 100k; acting at random returns about -1200. A mean over 50 episodes scatters by
# 89 / sqrt(50) = 13 and 15. Three of those below them it is still the same figure: -157 - 38 = -195 and
# -172 - 44 = -216. It has no TQC there, no TD-MPC2 and no DreamerV3, which are held to SAC's.
OFF_POLICY, ON_POLICY = -195.0, -216.0

# Public code of TD-MPC2 returned -32 +- 10 on starts that were kind. From a start that needs no swing the best policy
# returns about 0, from one that needs one -120, from one that needs two -235; -32 is one swing in four starts. Of these
# 50 starts six need none, so that among the best eight a quarter swing once: 2 x -120 / 8 = -30.
KIND, OF_KIND_STARTS = 8, -32.0 - 10.0


def test_each_cell_stands_beside_what_is_published_of_its_method(tmp_path: Path) -> None:
    """After 85,920 steps 100k are closer than 200k, in ratio; who was not fitted says so and keeps the asked steps'."""
    told = runpy.run_path("benchmarks/baselines.py")
    case = next(case for case in told["CASES"] if (case.env, case.label) == ("h1-stand", "SAC"))
    assert list(case.published(85_920)) == ["24 ± 3", "100k"]
    type(case).folder.__globals__["FOLDER"] = tmp_path
    assert case.row(3)[3:] == ["not run", "0", "-", "-", "37 ± 6", "200k"]
    assert len(case.row(3)) == len(told["HEAD"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "steps", "settings", "threshold"),
    [
        ("sac.yaml", 10_000, [], OFF_POLICY),
        ("sac.yaml#tqc", 10_000, [], OFF_POLICY),
        ("ppo.yaml", 100_000, _PPO, ON_POLICY),
        ("tdmpc2.yaml#cpu", 20_000, [], OFF_POLICY),
        ("dreamer_v3.yaml#cpu", 10_000, [], OFF_POLICY),
    ],
)
def test_it_swings_up_the_pendulum(
    config: str, steps: int, settings: list[str], threshold: float, tmp_path: Path
) -> None:
    folder = tmp_path / "agent"
    asked = ["fit", "--config", f"conf/baselines/{config}", "--env", PENDULUM, "--steps", str(steps), *settings]
    assert main([*asked, "--output", str(folder), "--trainer.logger=false"]) == 0
    record = evaluate(EvaluationConfig(PENDULUM, str(folder), episodes=EPISODES, seed=1000))
    kind = sum(sorted(record.returns)[-KIND:]) / KIND
    print(f"{config}: {record.return_mean:.1f} after {steps} steps, {kind:.1f} of its best starts")
    assert record.return_mean > threshold
    if config.startswith("tdmpc2"):
        assert kind > OF_KIND_STARTS


@pytest.mark.slow
@pytest.mark.skipif(not _has_dmc, reason="needs dm_control")
def test_it_stands_a_walker_up_as_public_runs_of_it(tmp_path: Path) -> None:
    """TD-MPC2's authors measured SAC at 341, standard deviation of a seed 115, after 100k steps.

    They repeat each action, which makes 50k decisions; here 40k steps, an update for two, are enough.
    """
    folder, env = tmp_path / "agent", "dmc:walker-stand"
    asked = ["fit", "--config", "conf/baselines/sac.yaml", "--env", env, "--steps=40000"]
    asked += ["--model.init_args.learning.updates_per_step=0.5"]
    assert main([*asked, "--output", str(folder), "--trainer.logger=false"]) == 0
    record = evaluate(EvaluationConfig(env, str(folder), episodes=EPISODES, seed=1000))
    (public,) = [each for each in published("dmc.csv") if (each.method, each.steps) == ("SAC", 100_000)]
    print(f"{record.return_mean:.1f} after 40k steps")
    assert record.return_mean > public.mean - public.sd  # who stays as it fell returns some 130


_DMC = pytest.param("dmc:walker-stand", 24, 6, marks=pytest.mark.skipif(not _has_dmc, reason="needs dm_control"))
_DREAMER = ["--steps=1040", "--model.init_args.learning.train_ratio=1"]  # 16 environments times the 64 steps it draws


@pytest.mark.slow
@pytest.mark.parametrize(("env", "sees", "acts"), [(PENDULUM, 3, 1), ("h1-stand", 51, 19), _DMC])
@pytest.mark.parametrize(
    "config", ["sac", "sac.yaml#tqc", "ppo", "dreamer_v3", "dreamer_v3.yaml#cpu", "tdmpc2", "tdmpc2.yaml#cpu"]
)
def test_it_begins_in_any_environment(config: str, env: str, sees: int, acts: int, tmp_path: Path) -> None:
    """As its file says, for some rounds: what it hands over acts there."""
    name, _, variant = config.partition(".yaml")
    asked = ["fit", "--config", f"conf/baselines/{name}.yaml{variant}", "--env", env, "--steps=64"]
    asked += [
        *(_DREAMER if name == "dreamer_v3" else ()),
        "--output",
        str(tmp_path / "agent"),
        "--trainer.logger=false",
    ]
    assert main(asked) == 0
    action = load_agent(tmp_path / "agent").act(torch.zeros(2, sees), 0)
    assert action.shape == (2, acts)
    assert action.abs().max() <= 1
