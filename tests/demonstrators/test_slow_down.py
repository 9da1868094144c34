"""Slowing down from a run to a walk: when, how fast, who acts, and which steps a student learns."""

from dataclasses import replace

import pytest
import torch

from mwl.core import keys
from mwl.core.errors import BadInput, ConfigError
from mwl.datasets.demonstrations import Demonstrations
from mwl.demonstrators.registry import build_demonstrator, load_demonstration_config, parse_demonstration_config, record
from mwl.demonstrators.slow_down import SKILLS, SlowDownConfig
from mwl.experts.cloning.module import provenance_of
from mwl.simulation import make_env

N = 8


@pytest.fixture
def config(data_folder, monkeypatch):
    monkeypatch.chdir(data_folder.parent)
    return load_demonstration_config("conf/demonstrators/run.yaml#slow_down")


def test_a_running_robot_comes_down_to_a_walk_and_stays_up(config):
    config = replace(config, slow_down=SlowDownConfig(after=(2.0, 3.0)))
    env = make_env(config.task, N, seed=0)
    demonstrator, state = build_demonstrator(config, env), env.reset()
    demonstrator.reset(state[keys.OBSERVATION])
    skills, speeds = [], []
    for _ in range(400):
        action = demonstrator.act(state[keys.OBSERVATION])
        demonstrator.executed(action)
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
        skills.append(demonstrator.skill.clone())
        speeds.append(state[keys.OBSERVATION][:, 26])
        assert not state[keys.TERMINATED].any()
    skill, speed = torch.stack(skills), torch.stack(speeds)
    assert (skill[99] == 0).all()  # two seconds
    assert (skill[150] == 1).all()  # three
    assert (skill.diff(dim=0) >= 0).all()  # once is enough
    assert (speed[99] > 4).all()
    # 5.2 to 1.6 m/s at 2 m/s^2 takes 1.8 s; from then on it walks at 1.1 m/s, which within a stride varies by 0.3
    assert ((speed[300:] - 1.1).abs() < 0.5).all()


def test_a_student_learns_the_braking_alone_and_both_teachers_are_counted(config):
    small = replace(config, recording=replace(config.recording, episodes=4, steps=140, noise_levels=[0.0]))
    recorded: Demonstrations = record(replace(small, slow_down=SlowDownConfig(after=(1.6, 2.0))))
    assert recorded.manifest["skills"] == list(SKILLS)
    braking = recorded.of("slow_down")
    assert 4 * 40 <= len(braking) <= 4 * 60  # from 1.6 to 2 s until 2.8 s
    assert (braking.observation[:, 26] > 2).all()
    cost = provenance_of([recorded.manifest])
    assert cost["training_env_steps"] == recorded.manifest["trainings"]
    assert cost["env_steps"] == sum(recorded.manifest["trainings"].values()) + 4 * 140


def test_what_makes_no_sense_is_refused(config):
    with pytest.raises(BadInput, match="seconds in order"):
        SlowDownConfig(after=(3.0, 2.0))
    told = {"kind": "slow_down", "slow_down": {"speed": 1.6}}
    with pytest.raises(ConfigError, match=r"x\.yaml: speed is 1\.6; it is no setting any more, but fixed"):
        parse_demonstration_config(told, "x.yaml")
    env = make_env(config.task, 1, seed=0)
    with pytest.raises(ConfigError, match="needs walker"):
        build_demonstrator(replace(config, walker=None), env)
