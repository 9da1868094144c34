"""Rounds of acting and learning in the toy world: what is learned, what is refused, and what guidance may not do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch import Callback
from point_mass import EPISODE_STEPS, PointMass, ToyData, ToyGuidance, ToyModule
from tensordict import TensorDict
from toy_training import ENVS, final_weights, fit, make_module, uninterrupted

from mwl.core import keys
from mwl.core.errors import BadInput, NonFiniteLoss, PhysicsError
from mwl.selection import Guidance
from mwl.simulation import TASKS, get_task
from mwl.world_model import GuidanceConfig, WorldModelAgent
from mwl.world_model.data import WorldModelData
from mwl.world_model.module import WorldModelModule
from mwl.world_model.observation import Observer

EXPERTS = [str(Path(__file__).parents[2] / "data/experts" / name) for name in ("stand", "walk")]


@torch.no_grad()
def mean_return(agent: WorldModelAgent | None) -> float:
    """Of 16 episodes; None acts at random."""
    env = PointMass(16, seed=99)
    state, generator = env.reset(), torch.Generator().manual_seed(0)
    total, alive = torch.zeros(16), torch.ones(16)
    for _ in range(EPISODE_STEPS):
        action = torch.rand(16, 2, generator=generator) * 2 - 1 if agent is None else agent.act(state[keys.OBSERVATION])
        reached = env.step(state.set(keys.ACTION, action))[keys.NEXT]
        total += alive * reached[keys.REWARD].squeeze(-1)
        alive = alive * ~reached[keys.TERMINATED].squeeze(-1)
        state = reached.exclude(keys.REWARD)
    return float(total.mean())


def ready_to_act(module: ToyModule, data: ToyData) -> WorldModelAgent:
    assert data.behaviour is not None
    agent = data.behaviour.agent
    agent.explore, agent.pick, agent.trust_radius = False, "mean", float(module.trust.radius)
    agent.reset()
    return agent


def test_unguided_learning_is_far_above_chance() -> None:
    pl.seed_everything(0)
    module = make_module(guided=False, seed_steps=480, rate=0.5)
    learned = mean_return(ready_to_act(module, fit(module, steps=1200)))
    assert mean_return(None) < 5  # random thrust soon falls off the edge
    assert learned > 30  # of 50; six seeds gave 40 to 47


class Costs(PointMass):
    """Every step costs instead of paying."""

    def _step(self, tensordict: Any) -> Any:
        out = super()._step(tensordict)
        out[keys.REWARD] = out[keys.REWARD] - 1
        return out


@pytest.mark.parametrize("guided", [False, True], ids=["no experts", "experts as candidates alone"])
def test_without_experts_to_trust_the_search_stays_as_wide_as_that_of_tdmpc2(
    guided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where rewards are negative, and so never reach what experts who are not there would have earned."""
    monkeypatch.setattr("point_mass.PointMass", Costs)
    pl.seed_everything(0)
    monkeypatch.setattr(GuidanceConfig, "trust_window", 5)
    module = make_module(guided=guided, seed_steps=160, planner_base=False)
    agent = ready_to_act(module, fit(module, steps=480))
    assert float(agent.planner._widest(agent.trust_radius).min()) == agent.planner.config.max_std


@pytest.mark.parametrize("name", TASKS)
def test_the_model_sees_where_it_is_wherever_the_scene_has_places(name: str) -> None:
    """Of a fixed scene the observation shows nothing; on the plain ground a place means nothing."""
    task = get_task(name)
    observer = Observer(task.layout.sizes, task.fixed_scene)
    here = torch.rand(1, task.layout.size, generator=torch.Generator().manual_seed(0))
    there = here.clone()
    there[:, :2] += torch.tensor([3.0, -2.0])
    assert torch.equal(observer(here), observer(there)) == (name in ("h1-stand", "h1-walk", "h1-run"))


def test_who_steers_a_walker_sees_its_place_and_not_its_joints() -> None:
    task = get_task("h1-pole")
    observer = Observer(task.layout.sizes, task.fixed_scene, joints=False)
    here = torch.rand(1, task.layout.size, generator=torch.Generator().manual_seed(0))
    joints, place = here.clone(), here.clone()
    joints[:, 7:26] += 0.1
    place[:, 0] += 16.0  # the longest wave
    assert torch.equal(observer(here), observer(joints))
    # height, gravity, heading, velocities; x and y; sine and cosine of five waves of both
    assert observer(here).shape == (1, 1 + 3 + 2 + 3 + 3 + 2 + 2 * 2 * 5)
    assert torch.isclose(observer(here), observer(place), atol=1e-4).sum() == 33  # all but x itself


def test_a_training_on_a_fixed_scene_sees_it() -> None:
    data = WorldModelData("h1-maze", num_envs=1)
    data.setup("fit")
    assert data.spec.position


@pytest.mark.parametrize(("horizon", "steps"), [(4, 256), (20, 256)])
def test_the_first_update_waits_until_there_is_a_slice(horizon: int, steps: int) -> None:
    pl.seed_everything(0)
    module = make_module(guided=False)
    module.learning = replace(module.learning, learning_starts=0, horizon=horizon)
    fit(module, steps)
    rounds = steps // 16  # of two steps; the first slices are there after horizon / 2
    assert 0 < module.global_step <= rounds - (horizon // 2 - 1)


def test_a_horizon_that_nothing_kept_is_as_long_as_is_refused() -> None:
    module = make_module(guided=False)
    module.learning = replace(module.learning, learning_starts=0, horizon=30)
    with pytest.raises(BadInput, match=r"learning\.horizon is 30.*20 steps are kept.*data\.capacity"):
        fit(module, steps=160)


@pytest.mark.parametrize("broken", [keys.REWARD, keys.OBSERVATION])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_is_refused_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, value: float
) -> None:
    """The checkpoint before it is good: the training that goes on from there ends as one that never broke."""
    whole = uninterrupted(320, guided=False)
    step, count = PointMass._step, []

    def breaks(self: PointMass, tensordict: Any) -> Any:
        out = step(self, tensordict)
        count.append(1)
        if len(count) == 14:  # in the seventh round of two; before the first update
            out[broken][5] = value
        return out

    class SaveAlways(Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / "last.ckpt")

    pl.seed_everything(1)
    with monkeypatch.context() as patch:
        patch.setattr(PointMass, "_step", breaks)
        with pytest.raises(PhysicsError, match="environment 5 is not finite at step"):
            fit(make_module(guided=False), 320, [SaveAlways()])
    resumed = make_module(guided=False)
    fit(resumed, 320, checkpoint=str(tmp_path / "last.ckpt"))
    assert torch.equal(final_weights(resumed), final_weights(whole))


def test_every_round_counts_as_one_step_for_lightning() -> None:
    pl.seed_everything(0)
    module = make_module(guided=False)
    fit(module, steps=320)
    assert module.global_step == (320 - 160) // 16  # rounds that learned


def test_without_guidance_no_expert_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an expert was asked")

    monkeypatch.setattr(ToyGuidance, "__init__", refuse)
    monkeypatch.setattr(ToyGuidance, "reference", refuse)
    module = make_module(guided=False)
    data = fit(module, steps=288)
    assert module.model is not None
    assert module.model.expert_head is None
    assert keys.EXPERT_ACTION not in data.replay.sample()  # type: ignore[union-attr]


def test_warm_start_is_acted_by_the_experts() -> None:
    pl.seed_everything(0)
    rewards = {}
    for warm in (True, False):
        data = fit(make_module(guided=True, seed_steps=480, warm_start=warm), steps=480)
        assert data.replay is not None
        rewards[warm] = data.replay.buffer[:][keys.NEXT, keys.REWARD].mean()
    assert rewards[True] > 1.5 * rewards[False]


@pytest.fixture
def soon_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuidanceConfig, "trust_window", 5)
    monkeypatch.setattr(GuidanceConfig, "trust_growth", 2.0)


@pytest.mark.usefixtures("soon_trusted")
def test_bad_experts_are_overtaken_by_widening_the_search() -> None:
    pl.seed_everything(0)
    module = make_module(guided=True, rate=0.05, lambda_mode="off")
    module.follow = "bad"
    fit(module, steps=960)
    assert module.trust.radius > 0.1  # from 0.03


def test_controls_go_on_following_the_experts_while_the_others_plan() -> None:
    pl.seed_everything(0)
    data = fit(make_module(guided=True, trust_controls=True), steps=480)
    assert data.replay is not None
    planned = data.replay.buffer[: 480 // ENVS][-5:]
    follows = (planned[keys.ACTION] - planned[keys.REFERENCE_ACTION].clamp(-1, 1)).abs().amax(dim=(0, 2)) == 0
    assert follows.tolist() == [True] * 2 + [False] * 6  # of `warm_start_noise` the first pair begins without


def around_the_prior(**guidance: Any) -> ToyModule:
    """A module whose plans have to earn leaving its policy prior."""
    module = make_module(guided=False, rate=0.05, trust_controls=True, **guidance)
    module.planning = replace(module.planning, around_policy=True)
    return module


def test_without_experts_every_other_environment_acts_by_the_policy_prior() -> None:
    pl.seed_everything(0)
    data = fit(around_the_prior(trust_initial=2.0), steps=480)
    assert data.behaviour is not None
    agent, observation = data.behaviour.agent, torch.rand(ENVS, 4) - 0.5
    agent.explore, steps = False, torch.ones(ENVS, 1, dtype=torch.int64)
    state = TensorDict({keys.OBSERVATION: observation, keys.STEP_COUNT: steps}, batch_size=[ENVS])
    prior = agent.by_policy(observation, None)
    assert (data.behaviour(state)[keys.ACTION] == prior).all(dim=1).tolist() == [True, False] * (ENVS // 2)


@pytest.mark.usefixtures("soon_trusted")
@pytest.mark.parametrize("better", ["plan", "prior"])
def test_plans_leave_the_policy_prior_as_far_as_they_earn_it(better: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The better of both holds the mass at the origin, the other one thrusts it off the edge."""

    def good(agent: WorldModelAgent, observation: torch.Tensor, *_: Any) -> torch.Tensor:
        return (-3 * observation[:, :2] - 9 * observation[:, 2:]).clamp(-1, 1)

    def bad(agent: WorldModelAgent, observation: torch.Tensor, *_: Any) -> torch.Tensor:
        return observation[:, :2].sign()

    monkeypatch.setattr(WorldModelAgent, "act", good if better == "plan" else bad)
    monkeypatch.setattr(WorldModelAgent, "by_policy", bad if better == "plan" else good)
    pl.seed_everything(0)
    module = around_the_prior()
    fit(module, steps=960)
    assert float(module.trust.last_accepted) > 0.1 if better == "plan" else float(module.trust.last_accepted) < 0.01


def test_controls_that_leave_nobody_to_plan_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuidanceConfig, "warm_start_noise", (0.0,))
    with pytest.raises(BadInput, match="leaves none of 8 environments to plan"):
        fit(make_module(guided=True, trust_controls=True), steps=480)


def test_non_finite_loss_stops_and_keeps_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = make_module(guided=False)

    class Break(Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.datamodule.rounds == 12:  # type: ignore[attr-defined]
                with torch.no_grad():
                    module.model.dynamics[0][0].weight[0, 0] = float("nan")  # type: ignore[union-attr, index]

    with pytest.raises(NonFiniteLoss, match="the batch is in") as error:
        fit(module, steps=320, callbacks=[Break()])
    path = str(error.value).split("the batch is in ")[1].split(". ")[0]
    assert set(torch.load(path, weights_only=True)) == {"features", "action", "reward", "terminated"}


def test_reward_that_is_not_finite_is_reported_with_its_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_module(guided=False)
    monkeypatch.setattr(WorldModelModule, "diagnostics", str(tmp_path))

    class Break(Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.datamodule.rounds == 12:  # type: ignore[attr-defined]
                trainer.datamodule.replay.buffer[:20][keys.NEXT, keys.REWARD].fill_(float("nan"))  # type: ignore[attr-defined]

    with pytest.raises(NonFiniteLoss, match="loss nan"):
        fit(module, steps=320, callbacks=[Break()])
    (path,) = tmp_path.iterdir()
    assert torch.load(path, weights_only=True)["reward"].isnan().any()


@pytest.mark.usefixtures("soon_trusted")
def test_wrong_expert_ends_no_worse_than_none() -> None:
    """The bad expert thrusts off the edge; trust leaves it behind. Without experts 20 is reached in these steps."""
    pl.seed_everything(0)
    module = make_module(guided=True, seed_steps=480, warm_start=False)
    module.follow = "bad"
    assert mean_return(ready_to_act(module, fit(module, steps=1200))) > 20


def test_new_weights_are_followed_from_the_next_step_on() -> None:
    pl.seed_everything(0)
    module = make_module(guided=True)
    agent = ready_to_act(module, fit(module, steps=256))
    agent.trust_radius = 1e-6
    observation = torch.tensor([[0.4, -0.2, 0.0, 0.0], [0.4, -0.2, 0.0, 0.0]])
    good = (-3 * observation[:, :2] - 9 * observation[:, 2:]).clamp(-1, 1)
    assert torch.allclose(agent.act(observation), good, atol=1e-3)
    agent.set_weights(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))  # only the second environment is told otherwise
    told = agent.act(observation)
    assert torch.allclose(told[0], good[0], atol=1e-3)
    assert torch.allclose(told[1], observation[1, :2].sign(), atol=1e-3)


@pytest.mark.parametrize(("margin", "followed"), [(0.1, "walk"), (0.3, "stand")])
def test_margin_of_the_configuration_decides_who_is_followed_and_so_after_the_hand_over(
    margin: float, followed: str
) -> None:
    task = get_task("h1-walk")
    config = GuidanceConfig(experts=EXPERTS, semantic_weights={"stand": 0.4, "walk": 0.6}, mode="top1", margin=margin)
    module = WorldModelModule(guidance=config)
    module.observer = Observer(task.layout.sizes)
    made = module.make_guidance()
    assert made is not None
    for guidance in (made, Guidance.from_plain(made.to_plain(), task.layout)):
        assert isinstance(guidance, Guidance)
        current = torch.tensor([guidance.library.index("stand")])  # "walk" weighs 0.2 more
        state = guidance.begin(1)._replace(current=current)
        fused = guidance.step(torch.zeros(1, task.layout.size), state)[0][keys.FUSED_WEIGHTS]
        assert float(fused[0, guidance.library.index(followed)]) == 1


def test_without_experts_there_is_nothing_to_weigh() -> None:
    module = make_module(guided=False)
    agent = ready_to_act(module, fit(module, steps=160))
    with pytest.raises(BadInput, match="trained without experts"):
        agent.set_weights({"good": 1.0})


@pytest.mark.parametrize("mode", ["decay", "constant", "off"])
def test_every_switch_runs(mode: str) -> None:
    module = make_module(guided=True)
    module.guiding = GuidanceConfig(
        lambda_mode=mode,  # type: ignore[arg-type]
        bootstrap="best" if mode == "off" else "policy",
        planner_candidates=mode != "off",
        policy_base=mode != "constant",
        planner_base=mode != "decay",
    )
    fit(module, steps=288)
    assert torch.isfinite(final_weights(module)).all()


def test_half_precision_learns_as_single_does() -> None:
    """The weights move the same way, as long as rounding has not yet led to other actions and so to other data."""

    def trained(steps: int, precision: str) -> torch.Tensor:
        pl.seed_everything(0)
        module = make_module(guided=False)
        module.network = replace(module.network, precision=precision)
        fit(module, steps)
        return final_weights(module)

    begin = trained(64, "float32")  # before the first update
    single, half = (trained(272, precision) - begin for precision in ("float32", "bfloat16"))
    assert not torch.equal(single, half)
    assert (single - half).norm() < 0.1 * single.norm()
