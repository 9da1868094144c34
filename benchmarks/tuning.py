"""What tuning an expert to a task gives by itself: search and race of the tuned preset, without a world model.

    python benchmarks/tuning.py --task h1-walk --expert walk --seeds 0 1 2

Prints one JSON object per seed: the race's gains, and returns of whole new episodes, of the expert as it is and tuned.
"""

import argparse
import json
from pathlib import Path

import torch

from mwl.core import keys
from mwl.evaluation.episodes import run_episodes
from mwl.experts.features import robot_state
from mwl.experts.library import ExpertLibrary
from mwl.robot.h1 import ACTION_SIZE, RADIANS_PER_ACTION
from mwl.robot.symmetry import joint_mirror
from mwl.rollouts.metrics import JOINT_VELOCITIES
from mwl.selection import ExpertAgent, Guidance, Tuning
from mwl.simulation import HumanoidEnv, make_env
from mwl.world_model.adaptation.tuner import Tuner
from mwl.world_model.config import GuidanceConfig

ENVS, TUNE_STEPS, RACE_STEPS = 16, 28_800, 12_800  # conf/world_model_tuned.yaml
EVALUATION_SEED = 1000


def guide(expert: str, mirrored: bool, setting_off: int = 0) -> Guidance:
    """One expert that can be tuned."""
    unit = torch.as_tensor(1 / RADIANS_PER_ACTION)
    tuning = Tuning(torch.tensor([True]), unit, joint_mirror() if mirrored else None, setting_off)
    return Guidance(ExpertLibrary.load(Path("data/experts") / expert), semantic_weights={expert: 1.0}, tuning=tuning)


def tune(env: HumanoidEnv, guidance: Guidance, config: GuidanceConfig) -> Tuner:
    """Search, race and keep what earned most."""
    assert guidance.tuning is not None
    steps, race_steps = TUNE_STEPS // ENVS, RACE_STEPS // ENVS
    tuner = Tuner(
        guidance.tuning,
        ENVS,
        env.task.max_episode_steps,
        steps=steps,
        window=config.tune_window,
        step_size=config.tune_step_size,
        race_steps=race_steps,
        smoothness=config.tune_smoothness,
        joints=ACTION_SIZE,
        setting_off_steps=config.tune_setting_off_steps // ENVS,
        setting_off_step_size=config.tune_setting_off_step_size,
    )
    state = env.reset()
    for t in range(steps + race_steps):
        if t == steps or (t < steps and tuner.waits):
            env.draw_like(tuner.begin_race() if t == steps else tuner.set_off())
            guidance.reset()
            state = env.reset()
        guidance.variants = tuner.variants
        at = state[keys.STEP_COUNT].squeeze(-1).clone()
        guidance.reset(at == 0)
        advice = guidance.reference(state[keys.OBSERVATION])
        now, state = env.step_and_maybe_reset(state.set(keys.ACTION, advice[keys.REFERENCE_ACTION].clamp(-1, 1)))
        after = now[keys.NEXT]
        velocity = robot_state(after[keys.OBSERVATION], env.task.layout)[1][:, JOINT_VELOCITIES]
        reward, fell = after[keys.REWARD].squeeze(-1), after[keys.TERMINATED].squeeze(-1)
        if t < steps:
            tuner.observe(reward, at, fell, advice[keys.EXPERT_ACTION], velocity)
        else:
            tuner.compete(reward, at, fell, velocity)
    tuner.decide()
    guidance.variants = None
    return tuner


def measure(task: str, guidance: Guidance, episodes: int) -> dict[str, float]:
    """Return and motion of whole episodes."""
    env = make_env(task, episodes, seed=EVALUATION_SEED, num_threads=1)
    measured = run_episodes(env, ExpertAgent(guidance), EVALUATION_SEED)
    env.close()
    names = ("returns", "fell", "action_rate", "jerk", "energy")
    return {name: round(float(getattr(measured, name).mean()), 4) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="h1-walk")
    parser.add_argument("--expert", default="walk")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--smoothness", type=float, default=0.0, help="guidance.tune_smoothness")
    parser.add_argument("--window", type=int, default=GuidanceConfig.tune_window, help="guidance.tune_window")
    parser.add_argument(
        "--step-size", type=float, default=GuidanceConfig.tune_step_size, help="guidance.tune_step_size"
    )
    parser.add_argument("--not-mirrored", action="store_true", help="guidance.tune_mirrored: false")
    parser.add_argument("--setting-off", type=int, default=0, help="guidance.tune_setting_off")
    parser.add_argument(
        "--setting-off-steps", type=int, default=GuidanceConfig.tune_setting_off_steps, help="of tune_steps"
    )
    parser.add_argument(
        "--setting-off-step-size", type=float, default=GuidanceConfig.tune_setting_off_step_size, help="of that search"
    )
    options = parser.parse_args()
    config = GuidanceConfig(
        tune_window=options.window,
        tune_step_size=options.step_size,
        tune_smoothness=options.smoothness,
        tune_mirrored=not options.not_mirrored,
        tune_setting_off=options.setting_off,
        tune_setting_off_steps=options.setting_off_steps,
        tune_setting_off_step_size=options.setting_off_step_size,
    )
    torch.set_num_threads(1)
    print(
        json.dumps({"expert": options.expert, **measure(options.task, guide(options.expert, True), options.episodes)})
    )
    for seed in options.seeds:
        torch.manual_seed(seed)
        guidance = guide(options.expert, config.tune_mirrored, config.tune_setting_off)
        env = make_env(options.task, ENVS, seed=seed, num_threads=1)
        tuner = tune(env, guidance, config)
        env.close()
        print(
            json.dumps({"seed": seed, **measure(options.task, guidance, options.episodes), **tuner.report()}),
            flush=True,
        )


if __name__ == "__main__":
    main()
