"""Fine-tuning: an expert goes on learning from its task's reward, resumes where it stopped, and says what it cost."""

from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from fine_tuning import SaveAfter, run
from torch import Tensor

from mwl.app.cli import main
from mwl.core.artifact import write_artifact
from mwl.core.errors import BadInput
from mwl.experts import hand_over
from mwl.experts.finetuning.env import FineTuningConfig, FineTuningEnv
from mwl.experts.finetuning.module import FineTuning, FineTuningData, FineTuningPolicy
from mwl.experts.hand_over import hand_over_states
from mwl.experts.library import Expert
from mwl.simulation import Shift
from mwl.teachers.door.rewards import DoorRewardConfig
from mwl.teachers.ppo import PPO, PPOConfig

TINY = PPOConfig(rollout_steps=4, epochs=1, start_std=0.05, std_range=(0.01, 0.1), hidden=(16, 16))


class Aiming:
    """Pays for standardised actions near 1, whatever the state: what is to be learned is one number per joint."""

    num_envs, action_size, preferred_speed = 64, 19, 0.0

    def __init__(self, size: int) -> None:
        self.features = torch.zeros(self.num_envs, size)

    def reset(self) -> Tensor:
        return self.features

    def observe(self) -> Tensor:
        return self.features

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        never = torch.zeros(self.num_envs, dtype=torch.bool)
        return self.features, -(action - 1).square().mean(dim=-1), never, never

    def end_iteration(self, iteration: int, mean_length: float) -> dict[str, float]:
        return {}


def fine_tune_aiming(data_folder, config: PPOConfig, iterations: int) -> tuple[float, float]:
    """Distance of the actions from what pays, before and after."""
    torch.manual_seed(0)
    expert = Expert.load(data_folder / "experts/walk")
    env = Aiming(expert.spec.input_size)
    policy = FineTuningPolicy(expert.network.train(), config)
    learner = PPO(env, policy, config)

    def distance() -> float:
        return float((policy.policy(env.features).mean.detach() - 1).norm(dim=-1).mean())

    before = distance()
    for _ in range(iterations):
        learner.learn(learner.collect())
    return before, distance()


def test_fine_tuning_moves_actions_to_what_pays(data_folder):
    config = replace(TINY, discount=0.5, epochs=4, learning_rate=1e-3, kl_high=1.0, start_std=0.1)
    before, after = fine_tune_aiming(data_folder, config, 30)
    assert after < 0.7 * before


def test_while_values_are_learned_the_policy_stays(data_folder):
    before, after = fine_tune_aiming(data_folder, replace(TINY, value_iterations=5), 5)
    assert after == before


def test_values_have_a_learning_rate_of_their_own(data_folder):
    expert = Expert.load(data_folder / "experts/stand")
    policy = FineTuningPolicy(expert.network, TINY)
    learner = PPO(Aiming(expert.spec.input_size), policy, replace(TINY, learning_rate=1e-5, value_learning_rate=1e-3))
    rates = {id(p): group["lr"] for group in learner.optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(policy.parameters()))
    assert {rates[id(p)] for p in policy.critic.parameters()} == {1e-3}
    assert {rates[id(p)] for p in policy.network.parameters()} == {1e-5}


def test_spread_is_the_same_angle_for_every_joint(data_folder):
    expert = Expert.load(data_folder / "experts/walk")
    policy = FineTuningPolicy(expert.network, TINY)
    spread = policy.policy(torch.zeros(1, expert.spec.input_size)).stddev * policy.radians
    torch.testing.assert_close(spread, torch.full((1, 19), 0.05))


def environment(
    data_folder,
    name: str,
    config: FineTuningConfig,
    num_envs: int = 4,
    hand_over_states: Tensor | None = None,
    shift: Shift | None = None,
) -> tuple[FineTuningEnv, Expert]:
    expert = Expert.load(data_folder / "experts" / name)
    network = expert.network
    mean, std = network.action_mean, network.action_std
    env = FineTuningEnv(expert.spec, mean, std, config, num_envs, 0, 1, hand_over_states, shift)
    env.reset()
    return env, expert


def test_standing_on_pays_what_the_task_pays_and_a_fall_costs(data_folder):
    env, expert = environment(data_folder, "stand", FineTuningConfig(push_std=0.0, action_rate=0.0, episode_steps=60))
    env._age.zero_()
    with torch.no_grad():
        rewards = [env.step(expert.network.standardised(env.observe()))[1] for _ in range(20)]
    assert 0.9 < float(torch.stack(rewards).mean()) < 1  # whole episodes earn 0.96 per step
    limp = torch.full((4, 19), 4.0)
    outcomes = [env.step(limp) for _ in range(60)]
    fallen = torch.stack([outcome[2] for outcome in outcomes])
    assert fallen.any(dim=0).all()
    assert (torch.stack([outcome[1] for outcome in outcomes])[fallen] < -1).all()  # 2 for the fall, less the step's pay


def test_a_changed_world_is_felt_and_late_observations_are_those_of_before(data_folder):
    still = FineTuningConfig(push_std=0.0)
    usual, _ = environment(data_folder, "stand", still)
    late, _ = environment(data_folder, "stand", still, shift=Shift(delay=0.04))
    weak, _ = environment(data_folder, "stand", still, shift=Shift(motors=0.5))
    seen = [usual.observe()]
    for step in range(4):
        action = torch.full((4, 19), 0.1 * step)
        seen.append(usual.step(action)[0])
        shown = late.step(action)[0]
        assert torch.equal(shown, seen[max(0, step - 1)])  # two control steps late; the first one was known
        assert torch.equal(shown, late.observe())
        assert not torch.equal(weak.step(action)[0], seen[-1])
    begun = late.starts(4)
    assert torch.equal(late.begin_in(begun), usual.begin_in(begun))


def test_episodes_begin_before_falls_as_often_as_is_said(data_folder):
    env, _ = environment(data_folder, "stand", FineTuningConfig(start_share=0.7, fall_share=0.3), num_envs=400)
    assert env._from_start.all()  # nobody has fallen yet
    env.states_before_falls.states[:12, 2], env.states_before_falls.count = 7.0, 12
    env.reached_states.add(env.starts(12), torch.full((12,), 0.5))
    env.reset()
    begun = torch.from_numpy(env._simulation.qpos[:, 2]) == 7.0
    assert 90 < int(begun.sum()) < 150  # 120 of 400, standard deviation 9
    assert torch.equal(env._from_start, ~begun)
    resumed, _ = environment(data_folder, "stand", env.config, num_envs=400)
    resumed.load_state_dict(env.state_dict())
    env.reset(), resumed.reset()
    assert (resumed._simulation.qpos == env._simulation.qpos).all()


@pytest.fixture
def few(monkeypatch):
    """Of 64 robots that experts leave behind, 12 show as much."""
    monkeypatch.setattr(hand_over, "_ROBOTS", 12)


@pytest.mark.usefixtures("few")
def test_what_others_leave_behind_is_in_motion_and_on_its_feet(data_folder):
    left = hand_over_states([str(data_folder / "experts/walk")], "h1-stand", num_threads=1)
    assert left.env_steps == 12 * 250
    assert left.states.shape == (12 * 40, 26 + 25)  # every fifth step of the last four seconds; nobody falls
    assert (left.states[:, 2] > 0.75).all()
    assert 0.9 < float(left.states[:, 26].mean()) < 1.2  # m/s, an expert that walks at 1.1
    again = hand_over_states([str(data_folder / "experts/walk")], "h1-stand", num_threads=1)
    assert torch.equal(left.states, again.states)  # a resumed fine-tuning takes over from the same


@pytest.mark.usefixtures("few")
def test_who_falls_at_once_hands_nothing_over(data_folder, monkeypatch):
    monkeypatch.setattr(hand_over.Alone, "act", lambda self, observation, step: torch.ones(len(observation), 19))
    with pytest.raises(BadInput, match="walk fell on h1-stand"):
        hand_over_states([str(data_folder / "experts/walk")], "h1-stand", num_threads=1)


def test_episodes_begin_in_hand_over_states_as_often_as_is_said(data_folder):
    config = FineTuningConfig(start_share=0.7, hand_over_share=0.3, hand_over_from=["a walker"])
    flying = torch.zeros(5, 26 + 25, dtype=torch.float64)
    flying[:, 2], flying[:, 3] = 7.0, 1.0
    env, _ = environment(data_folder, "stand", config, 400, flying)
    env.reached_states.add(env.starts(12), torch.full((12,), 0.5))
    env.reset()
    begun = torch.from_numpy(env._simulation.qpos[:, 2]) == 7.0
    assert 90 < int(begun.sum()) < 150  # 120 of 400, standard deviation 9
    assert torch.equal(env._from_hand_over, begun)
    assert torch.equal(env._from_start, ~begun)
    env.begin_in(env.starts(400))
    assert not (env._from_hand_over | env._from_start).any()


def test_falls_after_a_hand_over_are_told_apart(data_folder):
    config = FineTuningConfig(start_share=0.5, hand_over_share=0.5, hand_over_from=["a sleeper"], push_std=0.0)
    lying = torch.zeros(1, 26 + 25, dtype=torch.float64)
    lying[:, 2], lying[:, 3] = 0.3, 1.0
    env, expert = environment(data_folder, "stand", config, 16, lying)
    env.reached_states.add(env.starts(12), torch.full((12,), 0.5))
    env.reset()
    with torch.no_grad():
        for _ in range(10):
            env.step(expert.network.standardised(env.observe()))
    metrics = env.end_iteration(0, 0.0)
    assert metrics["fallen_after_hand_over"] > 0.1  # some ten that fall at once, each moving the mean by 0.02
    assert metrics["fallen"] == 0.0


def test_inputs_reach_further_where_they_were_cut_off_and_answers_stay(data_folder):
    network = Expert.load(data_folder / "experts/stand").network
    near = network.input_mean + network.input_std * torch.randn(50, len(network.input_mean)).clamp(-4, 4)
    near = torch.where(network.input_std > 1e6, network.input_mean, near)
    far = network.input_mean.repeat(50, 1)
    far[:, 3] += 12 * network.input_std[3]
    before, cut_off = network(near), network(far)
    network.widen(far)
    torch.testing.assert_close(network(near), before, atol=1e-4, rtol=1e-4)
    assert (network(far) - cut_off).abs().max() > 0.01


@pytest.mark.usefixtures("few")
def test_an_expert_learns_from_hand_over_states_and_resumes(data_folder, tmp_path):
    folder = data_folder / "experts/stand"
    options = {"hand_over_from": [str(data_folder / "experts/walk")], "start_share": 0.5, "hand_over_share": 0.5}
    whole = fit(folder, 4, callbacks=[SaveAfter(2, tmp_path / "half.ckpt")], **options)
    resumed = fit(folder, 4, checkpoint=tmp_path / "half.ckpt", **options)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)
    cost = whole.artifact()["provenance"]["training_env_steps"]["fine_tuning_stand_well"]
    assert cost == 12 * 250 + 4 * 16  # what the other one left behind counts as well


def test_rough_actions_are_charged(data_folder):
    paid = []
    for charge in (0.0, 1.0):
        env, expert = environment(data_folder, "stand", FineTuningConfig(push_std=0.0, action_rate=charge))
        env._age.zero_()
        with torch.no_grad():
            mean = expert.network.standardised(env.observe())
            env.step(mean)
            paid.append(env.step(mean + 0.1)[1])
    change = 0.1 * env._action_std * env._radians
    torch.testing.assert_close(paid[0] - paid[1], change.square().mean().expand(4), atol=1e-5, rtol=0.05)


def test_at_the_door_leaning_on_the_shut_leaf_earns_nothing_more(data_folder, monkeypatch):
    monkeypatch.setattr(DoorRewardConfig, "posture", 0.0)
    config = FineTuningConfig(push_std=0.0, action_rate=0.0, door=DoorRewardConfig())
    env, _ = environment(data_folder, "handle_pull", config)
    measured = env._measured()
    measured.qpos[:, 0] = torch.tensor([0.0, 0.0, 0.5, 0.5]).numpy()
    measured.qpos[:, 26] = torch.tensor([0.0, 1.0, 0.0, 1.0]).numpy()
    before_shut, before_open, in_shut, in_open = env._door_reward(measured).tolist()
    assert in_open > before_open + 0.02
    assert before_open > before_shut + 0.2
    assert in_shut < before_open


def fit(
    folder, rounds: int, checkpoint=None, callbacks=(), ema_decay: float | None = None, shift=None, **episodes
) -> FineTuning:
    pl.seed_everything(0)
    module = FineTuning(str(folder), name="stand_well", ppo=TINY, ema_decay=ema_decay, evaluation_episodes=0)
    data = FineTuningData(
        rounds * 16, 4, num_threads=1, episodes=FineTuningConfig(episode_steps=6, **episodes), shift=shift
    )
    run(module, data, checkpoint, callbacks)
    return module


@pytest.mark.parametrize("shift", [None, "motors=0.8,delay=0.04"])
def test_fine_tuning_resumes_as_if_never_stopped(data_folder, tmp_path, shift):
    folder = data_folder / "experts/stand"
    whole = fit(folder, 6, callbacks=[SaveAfter(3, tmp_path / "half.ckpt")], shift=shift)
    resumed = fit(folder, 6, checkpoint=tmp_path / "half.ckpt", shift=shift)
    with pytest.raises(BadInput, match=r"data.shift"):
        fit(folder, 6, checkpoint=tmp_path / "half.ckpt", shift="slope=3")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)
    untouched = Expert.load(folder).network.state_dict()
    assert not torch.equal(whole.policy.network.state_dict()["layers.0.weight"], untouched["layers.0.weight"])
    assert whole.learner.env_steps == resumed.learner.env_steps == 96


def test_what_fine_tuning_hands_over_is_an_expert_that_tells_its_cost(data_folder, tmp_path):
    folder = data_folder / "experts/stand"
    entries = fit(folder, 2).artifact()
    write_artifact(tmp_path / "stand_well", **entries)
    before, after = Expert.load(folder), Expert.load(tmp_path / "stand_well")
    assert after.spec.name == after.manifest["card"]["name"] == "stand_well"
    assert after.manifest["provenance"]["env_steps"] == before.manifest["provenance"]["env_steps"] + 32
    assert after.manifest["provenance"]["training_env_steps"]["fine_tuning_stand_well"] == 32
    assert after.manifest["provenance"]["fine_tuned_from"] == before.manifest["files"]["model.ckpt"]


class Networks(pl.Callback):
    """Keeps what the network was after every round."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: FineTuning, *_: object) -> None:
        self.seen.append({name: value.clone() for name, value in module.policy.network.state_dict().items()})


def test_the_average_over_rounds_is_handed_over_and_resumes(data_folder, tmp_path):
    folder, networks = data_folder / "experts/stand", Networks()
    averaged = fit(folder, 4, callbacks=[networks, SaveAfter(2, tmp_path / "half.ckpt")], ema_decay=0.75)
    handed = averaged.artifact()["checkpoint"]["state_dict"]
    name = "layers.0.weight"
    expected = networks.seen[0][name]
    for network in networks.seen[1:]:
        expected = 0.75 * expected + 0.25 * network[name]
    torch.testing.assert_close(handed[name], expected)
    assert not torch.allclose(handed[name], networks.seen[-1][name], rtol=0, atol=1e-6)
    last = fit(folder, 4).artifact()["checkpoint"]["state_dict"]  # an average behind it does not change what is learned
    torch.testing.assert_close(last[name], networks.seen[-1][name], rtol=0, atol=0)
    resumed = fit(folder, 4, checkpoint=tmp_path / "half.ckpt", ema_decay=0.75).artifact()["checkpoint"]["state_dict"]
    torch.testing.assert_close(resumed[name], handed[name], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "words"), [("approach", "memory"), ("reach", "goals")])
def test_what_cannot_be_fine_tuned_is_refused(data_folder, name, words):
    with pytest.raises(BadInput, match=words):
        fit(data_folder / "experts" / name, 1)


def test_only_a_door_pays_like_a_door(data_folder):
    with pytest.raises(BadInput, match="no door"):
        environment(data_folder, "stand", FineTuningConfig(door=DoorRewardConfig()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.init_args.expert", "nowhere"),
        ("model.init_args.expert", "data/experts/approach"),
        ("model.init_args.ema_decay", "1.5"),
        ("data.init_args.env_steps", "0"),
        ("data.init_args.shift", "weather=3"),
    ],
)
def test_bad_settings_of_fine_tuning_are_one_line_for_the_user(key, value, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    config, output = "conf/experts/handle_pull.yaml#fine_tuned", tmp_path / "out"
    assert main(["fit", "--config", config, f"--{key}", value, "--output", str(output)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert value in line
    assert "subtypes" not in line.lower()
    assert not output.exists()


def test_settings_that_make_no_fine_tuning_are_refused():
    with pytest.raises(BadInput, match="start_share"):
        FineTuningConfig(start_share=0.0)
    with pytest.raises(BadInput, match="fall_share"):
        FineTuningConfig(start_share=0.8, fall_share=0.3)
    with pytest.raises(BadInput, match="hand_over_share"):
        FineTuningConfig(start_share=0.8, fall_share=0.1, hand_over_share=0.2, hand_over_from=["somebody"])
    with pytest.raises(BadInput, match="needs both"):
        FineTuningConfig(hand_over_from=["somebody"])
    with pytest.raises(BadInput, match="needs both"):
        FineTuningConfig(hand_over_share=0.2)
    assert FineTuningConfig(start_share=0.8, fall_share=0.2).fall_share == 0.2  # which 1 - 0.8 is less than
