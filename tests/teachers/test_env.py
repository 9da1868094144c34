"""The tracking teachers: mirror symmetry, what the environment promises, and a training that can be resumed."""

import dataclasses
import shutil

import mujoco
import pytest
import torch
import yaml

from mwl.core.errors import BadInput, ConfigError
from mwl.mocap.gait_cycle import GaitCycle
from mwl.robot import frames
from mwl.robot.h1 import H1
from mwl.robot.joint_mirror import AXIAL_SIGN, POLAR_SIGN, mirror_joints
from mwl.simulation import Shift, Simulation, build_model, get_task, make_env
from mwl.simulation.task import Task
from mwl.teachers.env import CommandConfig, SpeedCurriculum, TrackingConfig, TrackingEnv, draw_commands
from mwl.teachers.gait_observation import OBSERVATION_SIZE, GaitController, ResidualScale
from mwl.teachers.ground_heights import Ground, GroundConfig
from mwl.teachers.ppo import PPOConfig
from mwl.teachers.rewards import low_force_share, stature
from mwl.teachers.teacher import TeacherConfig, TrackingPolicy, _trainer, train_teacher
from mwl.teachers.train import read_teacher_config, train


@pytest.fixture
def cycle(data_folder) -> GaitCycle:
    return GaitCycle.load(data_folder / "motion/walk.json")


def controller_at(cycle: GaitCycle, phase: torch.Tensor, command: torch.Tensor) -> GaitController:
    controller = GaitController(cycle, ResidualScale(), len(phase))
    everywhere = torch.ones(len(phase), dtype=torch.bool)
    controller.restart(everywhere, phase, command, command[:, 0], torch.zeros(len(phase)))
    return controller


def test_a_mirrored_robot_half_a_stride_later_sees_and_does_the_same(cycle):
    phase, command = torch.rand(8) / 2, torch.tensor([1.0, 0.2, 0.3]).expand(8, 3)
    qpos, qvel = torch.randn(8, 26), torch.randn(8, 25)
    qpos[:, 3:7] = torch.tensor([0.98, 0.1, 0.15, 0.05])
    mirrored_qpos = torch.cat(
        [qpos[:, :3] * POLAR_SIGN, qpos[:, 3:7] * torch.tensor([1, -1, 1, -1]), mirror_joints(qpos[:, 7:])], dim=-1
    )
    mirrored_qvel = torch.cat([qvel[:, :3] * POLAR_SIGN, qvel[:, 3:6] * AXIAL_SIGN, mirror_joints(qvel[:, 6:])], dim=-1)
    here = controller_at(cycle, phase, command)
    there = controller_at(cycle, phase + 0.5, command * torch.tensor([1, -1, -1]))
    seen_here, seen_there = here.observe(qpos, qvel), there.observe(mirrored_qpos, mirrored_qvel)
    assert seen_here.shape == (8, OBSERVATION_SIZE)
    torch.testing.assert_close(seen_there, seen_here, atol=1e-5, rtol=1e-5)
    action = torch.randn(8, 13)
    targets = mirror_joints(there.joint_targets(action))
    torch.testing.assert_close(targets, here.joint_targets(action), atol=5e-4, rtol=0)


def test_told_its_own_targets_the_controller_remembers_its_own_action(cycle):
    controller = controller_at(cycle, torch.full((4,), 0.2), torch.tensor([1.0, 0.0, 0.0]).expand(4, 3))
    action = torch.full((4, 13), 3.0)  # up to 1.5 rad: beyond what hips, knees and ankles can do
    targets = controller.joint_targets(action)
    beyond = controller.reference().joints[:, :11] + ResidualScale().per_joint()[:11] * action[:, :11]
    assert (targets[:, :11] < beyond - 0.1).any()
    controller.recall_targets(targets)
    torch.testing.assert_close(controller.previous_action, action, atol=1e-4, rtol=0)
    targets = targets.clone()
    targets[:, 3] -= 0.1
    controller.recall_targets(targets)
    action[:, 3] -= 0.1 / ResidualScale().knee
    torch.testing.assert_close(controller.previous_action, action, atol=1e-4, rtol=0)


def test_speed_ramps_to_its_command(cycle):
    controller = controller_at(cycle, torch.zeros(1), torch.tensor([[1.2, 0.0, 0.0]]))
    controller.command = torch.tensor([[0.3, 0.0, 0.0]])
    for _ in range(20):
        controller.advance()
    # 1.5 m/s^2 for 0.4 s from 0.3 m/s
    torch.testing.assert_close(controller.command[0, 0], torch.tensor(0.9), atol=1e-5, rtol=0)
    for _ in range(20):
        controller.advance()
    assert controller.command[0, 0] == pytest.approx(1.2)


def test_a_robot_in_the_midst_of_a_stride_is_found_there(cycle):
    phase, command = torch.tensor([0.0, 0.3, 0.725]), torch.tensor([1.1, 0.0, 0.0]).expand(3, 3)
    controller = controller_at(cycle, phase, command)
    joints = controller.reference().joints + 0.01 * torch.randn(3, 19, generator=torch.Generator().manual_seed(0))
    controller.phase = torch.zeros(3)
    torch.testing.assert_close(controller.closest_phase(joints, command), phase, atol=0.026, rtol=0)  # one of 40 beside


def test_a_teacher_under_way_is_told_another_speed_until_it_begins_anew(data_folder):
    teacher = TrackingPolicy.load(data_folder / "teachers/run", torch.tensor([5.2, 0.0, 0.0]))
    observation = torch.zeros(2, 51)
    observation[:, 3], observation[:, 26] = 1.0, 4.0  # upright, 4 m/s forward
    teacher.reset(observation)
    teacher.start_at(observation, torch.tensor([True, True]))
    assert teacher.speed.tolist() == pytest.approx([4.0, 4.0])
    teacher.change_speed(torch.tensor([True, False]), 0.8, 2.0)
    for _ in range(50):
        teacher.act(observation)
    # after a second the first is at 4 - 2 m/s; the other ramps to 5.2 m/s at its own 5 m/s^2
    assert teacher.speed.tolist() == pytest.approx([2.0, 5.2], abs=1e-4)
    teacher.reset(observation, torch.tensor([True, False]))
    assert teacher.speed[0] == pytest.approx(0.3)  # its start from standing
    for _ in range(25):
        teacher.act(observation)
    assert teacher.speed.tolist() == pytest.approx([0.3 + 2.5, 5.2], abs=1e-4)  # at 5 m/s^2 again


def test_benchmark_factors_at_their_corners():
    # head at 0.95 + 0.7 = 1.65 m and upright: 1; at 1.2375 m, one margin below: 0.1
    expected = torch.tensor([1.0, 0.1])
    torch.testing.assert_close(stature(torch.tensor([0.95, 0.5375]), torch.ones(2)), expected, atol=1e-4, rtol=0)
    # 0, 5 and 10 N m: 1, 0.75 and 0
    force = torch.tensor([[0.0, 5.0, -10.0, 30.0]])
    torch.testing.assert_close(low_force_share(force), torch.tensor([(1 + 0.75) / 4]))


def environment(cycle: GaitCycle, **changes) -> TrackingEnv:
    simulation = Simulation(build_model(get_task("h1-walk"), "fast", 0.004), 8, 5, 1)
    return TrackingEnv(simulation, cycle, TrackingConfig(**changes), seed=0)


def test_episodes_end_by_time_or_by_a_fall_and_begin_anew(cycle):
    env = environment(cycle, episode_steps=5, push_std=0.0)
    env.reset()
    ended = torch.zeros(8)
    for _ in range(6):
        _, reward, terminated, truncated = env.step(torch.zeros(8, 13))
        assert reward.isfinite().all()
        assert not (terminated & truncated).any()
        ended += terminated | truncated
    assert (ended >= 1).all()
    assert (env._simulation.qpos[:, 2] > 0.72).all()


def test_the_height_of_a_lane_is_that_of_its_slope_and_its_steps():
    """Slopes of 1.8 m over 5 m from x = 0.5 m at y = 12; steps of 0.19 m every 0.6 m from 0.5 m at y = -12."""
    ground = Ground(build_model(rough_task()), GroundConfig(strips=[0.0, 12.0, -12.0]))
    x = torch.tensor([[0.2, 3.0, 5.5], [0.2, 3.0, 5.5], [0.2, 0.8, 1.4]])
    expected = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.9, 1.8], [0.0, 0.19, 0.38]])
    torch.testing.assert_close(ground.height(torch.arange(3), x), expected, atol=0.02, rtol=0)


def test_strips_are_named_and_lie_on_ground():
    with pytest.raises(ConfigError, match="strips is empty"):
        GroundConfig(strips=[])
    body = '<body><freejoint/><geom size="0.1"/></body>'
    floorless = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
    with pytest.raises(BadInput, match=r"none between z = 0 and 10 m at x = -2\.00"):
        Ground(floorless, GroundConfig(strips=[0.0]))


def rough_task() -> Task:
    return dataclasses.replace(get_task("h1-walk"), scene="rough.xml")


def test_episodes_begin_with_the_soles_on_the_ground_wherever_that_is(cycle):
    config = TrackingConfig(ground=GroundConfig(), standing_start_share=0.0, push_std=0.0)
    simulation = Simulation(build_model(rough_task(), "fast", 0.004), 32, 5, 1)
    env = TrackingEnv(simulation, cycle, config, seed=0)
    seen = env.reset()
    qpos = torch.from_numpy(simulation.qpos).float()
    assert len(set(qpos[:, 1].tolist())) > 3
    strip = (qpos[:, 1:2] - env._ground.strips).abs().argmin(dim=-1)
    rotation = frames.rotation_matrix(qpos[:, 3:7])
    soles = env._feet.positions(qpos[:, 7:26]) @ rotation.transpose(-1, -2) + qpos[:, None, :3]
    clearance = soles[..., 2] - env._ground.height(strip, soles[..., 0])
    torch.testing.assert_close(clearance.min(dim=-1).values, torch.zeros(32), atol=1e-4, rtol=0)
    assert qpos[:, 2].max() > 1.5
    assert (seen[:, 0] > 0.8).all()
    assert (seen[:, 0] < 1.1).all(), "the height is told from the soles, not from z = 0"


def test_robots_under_shifts_move_otherwise_and_see_late(cycle):
    """The first as without any; the second sinks under its load; the third sees what was there a step before."""
    shifts = [Shift(), Shift(payload=60.0), Shift(delay=0.02)]
    model = build_model(get_task("h1-walk"), "fast", 0.004)
    seen, heights = {}, {}
    for name, met in (("none", [Shift()] * 3), ("shifted", shifts)):
        simulation = Simulation(model, 3, 5, 1, [shift.applied(model, H1) for shift in met])
        env = TrackingEnv(simulation, cycle, TrackingConfig(push_std=0.0), 0, met)
        first = env.reset()
        seen[name] = torch.stack([first, *(env.step(torch.zeros(3, 13))[0] for _ in range(4))])
        heights[name] = simulation.qpos[:, 2].copy()
    assert torch.equal(seen["shifted"][:, 0], seen["none"][:, 0])
    assert heights["shifted"][1] < heights["none"][1] - 1e-3
    assert heights["shifted"][2] == heights["none"][2], "late senses alone change nothing while it acts the same"
    root = slice(0, 4)  # height and gravity in the body, which neither clock nor heading changes
    assert torch.equal(seen["shifted"][1:, 2, root], seen["none"][:-1, 2, root])
    assert not torch.equal(seen["shifted"][1:, 2, root], seen["none"][1:, 2, root])


def test_speed_rises_only_while_it_is_held(cycle):
    env = environment(cycle, curriculum=SpeedCurriculum(stop=1.25))
    env.raise_speed(mean_length=100, mean_speed_error=0.1)
    env.raise_speed(mean_length=200, mean_speed_error=0.6)
    assert env.preferred_speed == 1.2
    env.raise_speed(mean_length=200, mean_speed_error=0.1)
    assert env.preferred_speed == 1.25  # 1.2 + 0.1, cut to the stop


@pytest.fixture
def tiny(data_folder) -> TeacherConfig:
    ppo = PPOConfig(num_envs=4, rollout_steps=4, hidden=(16, 16))
    return TeacherConfig(cycle=str(data_folder / "motion/walk.json"), iterations=2, ppo=ppo)


def test_a_teacher_trains_resumes_and_loads(tiny, tmp_path):
    seen: list[float] = []
    folder = train_teacher(tiny, tmp_path / "t", lambda metrics: seen.append(metrics["env_steps"]))
    train_teacher(dataclasses.replace(tiny, iterations=3), folder, lambda metrics: seen.append(metrics["env_steps"]))
    assert seen == [16, 32, 48]  # the second call went on from the first one's checkpoint
    teacher = TrackingPolicy.load(folder)
    observation = torch.randn(3, 51)
    teacher.reset(observation)
    assert teacher.act(observation).shape == (3, 19)
    assert teacher.describe()["training_env_steps"] == 48


def test_a_training_under_shifts_goes_on_under_the_same_ones(tiny, tmp_path):
    ranges = {"payload": (5.0, 10.0), "motors": (0.7, 0.9), "delay": (0.02, 0.04)}
    tracking = dataclasses.replace(tiny.tracking, shifts=ranges)
    config = dataclasses.replace(tiny, tracking=tracking, ppo=dataclasses.replace(tiny.ppo, num_envs=12))
    folder = train_teacher(config, tmp_path / "t")
    begun, on = (_trainer(config, at, exact=False) for at in (tmp_path / "new", folder))
    assert (begun.iteration, on.iteration) == (0, 2)
    masses = [[model.body_mass.sum() for model in trainer.env._simulation._models] for trainer in (begun, on)]
    assert masses[0] == masses[1]
    assert len(set(masses[0])) > 1
    assert torch.equal(begun.env._motors, on.env._motors)
    assert TrackingPolicy.load(folder).config.tracking.shifts == ranges


def test_a_teacher_begins_with_the_networks_of_another_and_counts_its_steps(tiny, tmp_path):
    first = train_teacher(tiny, tmp_path / "first")
    follow_up = dataclasses.replace(tiny, iterations=0, start_from=str(first))
    untouched = train_teacher(follow_up, tmp_path / "untouched")
    torch.testing.assert_close(
        TrackingPolicy.load(untouched).agent.state_dict(), TrackingPolicy.load(first).agent.state_dict()
    )
    seen: list[float] = []
    train_teacher(dataclasses.replace(follow_up, iterations=1), tmp_path / "on", lambda m: seen.append(m["env_steps"]))
    assert seen == [48]  # 2 iterations of 16 steps before, one now


def test_a_starter_acts_first_and_adds_its_own_steps(tiny, tmp_path):
    steady = train_teacher(tiny, tmp_path / "steady")
    starter = train_teacher(dataclasses.replace(tiny, iterations=1, start_from=str(steady)), tmp_path / "starter")
    both = TrackingPolicy.load_with_starter(steady, starter, 0.04)
    alone = [TrackingPolicy.load(folder) for folder in (starter, steady)]
    observation = torch.randn(2, 51)
    for policy in (both, *alone):
        policy.reset(observation)
    for step in range(4):
        first, later = (policy.act(observation) for policy in alone)
        acted = both.act(observation)
        torch.testing.assert_close(acted, first if step < 2 else later)  # 0.04 s are two control steps
        for policy in (both, *alone):
            policy.executed(acted)  # what they did before is part of what they see
        assert not torch.equal(first, later)
    # 2 iterations of 16 steps made the one, one more the other
    assert both.describe()["training_env_steps"] == 48


def test_a_starter_of_another_gait_is_refused(tiny, tmp_path):
    other = dataclasses.replace(
        tiny, iterations=1, tracking=dataclasses.replace(tiny.tracking, scale=ResidualScale(knee=0.1))
    )
    folders = [train_teacher(config, tmp_path / name) for name, config in (("one", tiny), ("other", other))]
    with pytest.raises(ConfigError, match="another gait or action scale"):
        TrackingPolicy.load_with_starter(*folders, 1.0)


def test_the_parts_of_a_schedule_are_trained_in_turn_and_those_that_are_there_passed_over(tiny, tmp_path):
    settings = {"cycle": tiny.cycle, "iterations": 2, "ppo": {"num_envs": 4, "rollout_steps": 4, "hidden": [16, 16]}}
    on = {"teacher": {"iterations": 1, "start_from": "${before}"}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({"teacher": settings, "schedule": {"first": {}, "on": on}}))
    seen: list[float] = []
    for _ in range(2):
        train(f"{tmp_path}/x.yaml", f"{tmp_path}/t", lambda metrics: seen.append(metrics["env_steps"]), force=True)
        shutil.rmtree(tmp_path / "t")
        (tmp_path / "t.training.ckpt").unlink()
    assert seen == [16, 32, 48, 48]  # the second time the first part lay there


def test_training_repeats_for_a_seed(tiny, tmp_path):
    weights = []
    for run in ("a", "b"):
        train_teacher(tiny, tmp_path / run)
        weights.append(TrackingPolicy.load(tmp_path / run).agent.actor[0].weight)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def test_a_misspelt_teacher_entry_is_one_clear_error(tmp_path):
    (tmp_path / "bad.yaml").write_text("teacher: {tracking: {kick_stdd: 0.1}}\n")
    with pytest.raises(ConfigError, match="kick_stdd"):
        read_teacher_config(str(tmp_path / "bad.yaml"))


def test_random_commands_lie_in_their_ranges_and_repeat():
    config = CommandConfig(
        preferred_speed=1.1, preferred_share=0.25, forward=(-0.5, 1.6), sideways=(-0.3, 0.3), turning=(-0.6, 0.6)
    )
    commands = draw_commands(config, 4000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(commands, draw_commands(config, 4000, torch.Generator().manual_seed(1)))
    low, high = torch.tensor([config.forward, config.sideways, config.turning]).T
    assert ((commands >= low) & (commands <= high)).all()
    preferred = (commands == torch.tensor([1.1, 0.0, 0.0])).all(dim=-1)
    # a share of 0.25 of 4000 has a standard deviation of 0.007
    assert abs(preferred.float().mean() - 0.25) < 0.035


def test_a_teacher_under_random_commands_says_what_it_was_asked_not_what_it_was_told(data_folder):
    commands = CommandConfig(preferred_share=0.0, sideways=(0.2, 0.3), resample_interval=0.1)
    robots = 16
    teacher = TrackingPolicy.load(data_folder / "teachers/walk", commands=commands, gain=(1.0, 1.5, 1.0))
    env = make_env("h1-walk", num_envs=robots, num_threads=1)
    observation = env.reset()["observation"]
    teacher.reset(observation)
    first = teacher.command.clone()
    assert ((first[:, 1] >= 0.2) & (first[:, 1] <= 0.3)).all()
    for _ in range(20):  # four mean intervals: a robot keeps its command with probability 0.8^20 = 1 %
        teacher.act(observation)
    assert ((teacher.command - first).abs().amax(dim=-1) > 0).sum() >= robots - 3
