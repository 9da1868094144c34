"""A changed world: what changes, by how much, in which environment alone; what is refused."""

import copy
import math
import shutil
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from mwl.app.cli import main
from mwl.core import keys
from mwl.core.artifact import read_manifest
from mwl.core.errors import BadInput
from mwl.evaluation.run import EvaluationConfig, evaluate
from mwl.experts import measure
from mwl.robot.h1 import QPOS0, ctrl_to_action
from mwl.simulation import HumanoidEnv, Shift, make_env
from mwl.simulation.shift import MET, draw_shifts

HOLD = torch.from_numpy(ctrl_to_action(QPOS0[7:]))


def held(env: HumanoidEnv, steps: int) -> torch.Tensor:
    """Observations `[steps + 1, N, O]` while the reset pose is held."""
    seen = [env.reset()[keys.OBSERVATION]]
    for _ in range(steps):
        action = TensorDict({keys.ACTION: HOLD.expand(env.num_envs, -1)}, env.batch_size)
        seen.append(env.step(action)[keys.NEXT, keys.OBSERVATION])
    return torch.stack(seen)


def test_a_shift_of_nothing_is_the_world_as_it_is() -> None:
    plain, shifted = make_env("h1-walk", 2), make_env("h1-walk", 2, shift=Shift())
    assert torch.equal(held(plain, 5), held(shifted, 5))
    assert all(model is plain.model for model in shifted.simulation._models)


def test_each_environment_has_its_own() -> None:
    """The first, unshifted, moves as alone, to the last bit; the load of the second reaches its feet."""
    both = make_env("h1-walk", 2, shift=[Shift(), Shift(payload=20.0)])
    alone = make_env("h1-walk", 1)
    seen = held(both, 10)
    assert torch.equal(seen[:, :1], held(alone, 10))
    difference = seen[:, 1] - held(make_env("h1-walk", 2), 10)[:, 1]
    knee = both.task.layout.slices["robot_qpos"].start + 7 + 3
    assert difference[-1, knee] > 1e-3, "the knees bend more under a load"


def test_a_load_is_the_trunks() -> None:
    model = make_env("h1-walk", shift=Shift(payload=12.5)).simulation._models[0]
    plain = make_env("h1-walk").model
    gained = model.body_mass - plain.body_mass
    assert gained[model.body("torso_link").id] == pytest.approx(12.5)
    assert np.count_nonzero(gained) == 1
    assert model.body_subtreemass[0] == pytest.approx(plain.body_subtreemass[0] + 12.5), "what MuJoCo derives follows"


def test_weak_motors_pull_by_their_share() -> None:
    """Far from its target a servo gives its largest force; near it, the force follows gain and damping."""
    for aim, tolerance in ((2.0, 1e-9), (0.05, 1e-9)):
        forces = []
        for motors in (1.0, 0.5):
            model = make_env("h1-walk", shift=Shift(motors=motors)).simulation._models[0]
            data = mujoco.MjData(model)
            data.qpos[:26], data.qvel[6:25] = QPOS0, 0.1
            data.ctrl[:] = np.clip(QPOS0[7:] + aim, *model.actuator_ctrlrange.T)
            mujoco.mj_forward(model, data)
            forces.append(data.actuator_force.copy())
        np.testing.assert_allclose(forces[1], 0.5 * forces[0], rtol=tolerance)


def test_ground_that_rises_is_gravity_that_leans() -> None:
    """In free flight the centre of mass gains 9.81 (-sin, 0, -cos) times the 18 ms after which it is measured."""
    env = make_env("h1-walk", 1, shift=Shift(slope=10.0))
    env.reset()
    qpos, qvel = (part.numpy() for part in env.state)
    qpos[0, 2] = 5.0
    env.set_state(qpos, 0 * qvel)
    env.step(TensorDict({keys.ACTION: HOLD[None]}, [1]))
    angle = math.radians(10.0)
    expected = -9.81 * 0.018 * np.array([math.sin(angle), 0.0, math.cos(angle)])
    # 2 % for the dampers and the last of the 2 ms steps
    np.testing.assert_allclose(env.measurement["com_velocity"][0], expected, atol=0.02 * 9.81 * 0.018)


def test_slippery_ground_lets_the_feet_slide_down_a_slope() -> None:
    """Without friction they would slide by 0.5 x 9.81 sin 15 degrees x 0.2^2 = 0.05 m in 0.2 s."""
    env = make_env("h1-stand", 2, shift=[Shift(slope=15.0, friction=0.02), Shift(slope=15.0, friction=1.0)])
    held(env, 10)
    data, feet = mujoco.MjData(env.model), []
    for qpos in env.state[0].numpy():
        data.qpos[:] = qpos
        mujoco.mj_kinematics(env.model, data)
        feet.append(data.body("left_ankle_link").xpos[0])
    assert feet[0] < feet[1] - 0.02


def test_late_observations_are_those_of_before() -> None:
    late = make_env("h1-walk", 3, shift=[Shift(delay=0.04), Shift(), Shift(delay=0.02)])
    seen, told = held(make_env("h1-walk", 3), 6), held(late, 6)
    for index, delay in enumerate((2, 0, 1)):
        assert torch.equal(told[delay:, index], seen[: 7 - delay, index])
        assert torch.equal(told[:delay, index], seen[:1, index].expand(delay, -1)), "an episode begins with what it saw"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: _restored(env)], ids=["copy", "snapshot"])
def test_what_is_late_goes_on_from_a_copy(copied) -> None:
    env = make_env("h1-walk", 2, shift=[Shift(delay=0.06, payload=10.0), Shift()])
    held(env, 4)
    twin = copied(env)
    action = TensorDict({keys.ACTION: HOLD.expand(2, -1)}, [2])
    for _ in range(4):
        assert torch.equal(
            env.step(action.clone())[keys.NEXT, keys.OBSERVATION],
            twin.step(action.clone())[keys.NEXT, keys.OBSERVATION],
        )


def _restored(env: HumanoidEnv) -> HumanoidEnv:
    twin = make_env("h1-walk", 2, shift=[Shift(delay=0.06, payload=10.0), Shift()])
    twin.restore(env.snapshot())
    twin.reset()
    return twin


def test_a_snapshot_of_another_delay_is_refused() -> None:
    with pytest.raises(BadInput, match="snapshot"):
        make_env("h1-walk", 1, shift=Shift(delay=0.04)).restore(make_env("h1-walk", 1).snapshot())


def test_it_is_written_as_it_is_read() -> None:
    shift = Shift(payload=10.0, motors=0.7, friction=0.4, slope=-5.0, delay=0.02)
    assert Shift.parse(str(shift)) == shift
    assert str(Shift.parse("motors = 0.7 , delay=0.02")) == "motors=0.7,delay=0.02"
    assert str(Shift()) == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "payload"),
        ("weight=3", "weight"),
        ("payload", "payload"),
        ("payload=heavy", "heavy"),
        ("payload=nan", "payload"),
        ("payload=-1", "payload"),
        ("payload=1,payload=2", "twice"),
        ("motors=0", "motors"),
        ("delay=30", "delay"),
    ],
)
def test_what_is_no_shift_is_refused(text: str, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        Shift.parse(text)


def test_one_for_each_environment_or_one_for_all() -> None:
    with pytest.raises(BadInput, match="each of the 2 environments"):
        make_env("h1-walk", 2, shift=[Shift()])
    with pytest.raises(BadInput, match="official"):
        make_env("h1-walk", 1, suite="humanoid_bench", shift=Shift(payload=1.0))


RANGES = {"payload": (2.0, 12.0), "slope": (-6.0, -3.0), "delay": (0.02, 0.02)}


def test_drawn_shifts_are_met_by_some_and_lie_in_their_ranges() -> None:
    drawn = draw_shifts(RANGES, 400, seed=3)
    for name, (low, high) in RANGES.items():
        met = [getattr(shift, name) for shift in drawn if getattr(shift, name) != getattr(Shift(), name)]
        # 400 x 0.3 = 120 with a standard deviation of sqrt(400 x 0.3 x 0.7) = 9.2; five of them
        assert abs(len(met) - 400 * MET) < 46
        assert all(low <= value <= high for value in met)
        assert (len(set(met)) == len(met)) == (low < high)
    assert all(shift.motors == 1.0 and shift.friction is None for shift in drawn)


def test_a_seed_draws_the_same_shifts_and_nothing_changes_nothing() -> None:
    assert draw_shifts(RANGES, 20, seed=1) == draw_shifts(RANGES, 20, seed=1)
    assert draw_shifts(RANGES, 20, seed=1) != draw_shifts(RANGES, 20, seed=2)
    assert draw_shifts({}, 3, seed=0) == [Shift()] * 3


@pytest.mark.parametrize("wrong", [{"weight": (0.0, 1.0)}, {"payload": (2.0, 1.0)}, {"motors": (0.0, 1.0)}])
def test_ranges_that_make_no_sense_are_refused(wrong: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(BadInput, match=f"shift.*{next(iter(wrong))}"):
        draw_shifts(wrong, 2, seed=0)


def test_an_evaluation_says_under_what_it_was_made() -> None:
    record = evaluate(EvaluationConfig("h1-run", "expert:run", episodes=2, shift="delay=0.02,payload=0"))
    assert record.shift == "delay=0.02"
    assert record.row.label == "expert:run, under delay=0.02"
    # 26 in 4 episodes, 895 without: one control step of delay fells the runner
    assert record.return_mean < 300


@pytest.mark.parametrize("more", [["weight=3"], ["payload=1", "--suite", "humanoid_bench"], ["payload=1", "--keep"]])
def test_a_shift_that_does_not_fit_is_one_line(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--task", "h1-run", "--agent", "data/experts/run", "--shift", *more]) == 2
    assert "shift" in capsys.readouterr().err


def test_an_expert_is_measured_under_shifts_for_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    shutil.copytree("data/experts/run", folder)
    before = dict(read_manifest(folder))
    monkeypatch.setattr(measure, "SHIFTS", ("motors=0.5",))
    assert main(["experts", "measure", str(folder), "--shifts", "--episodes", "2", "--json"]) == 0
    after = dict(read_manifest(folder))
    figures = after.pop("shifts")
    assert after == {name: value for name, value in before.items() if name != "shifts"}
    assert set(figures) == {"episodes", "seed", "none", "motors=0.5"}
    assert figures["none"]["return_mean"] > 700 > 100 > figures["motors=0.5"]["return_mean"]
    assert figures["motors=0.5"]["fall_rate"] == 1.0
