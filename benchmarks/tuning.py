"""What correcting an expert gives by itself: search and race of the tuned preset, without a world model.

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
from mwl.selection import ActionCorrection, ExpertAgent, Guidance
from mwl.simulation import HumanoidEnv, make_env
from mwl.world_model.adaptation.search import CorrectionSearch
from mwl.world_model.config import GuidanceConfig

ENVS, TUNE_STEPS, RACE_STEPS = 16, 28_800, 12_800  # conf/world_model_tuned.yaml
EVALUATION_SEED = 1000


def guide(expert: str, mirrored: bool, start_phase: int = 0) -> Guidance:
    """One expert whose actions can be corrected."""
    unit = torch.as_tensor(1 / RADIANS_PER_ACTION)
    correction = ActionCorrection(torch.tensor([True]), unit, joint_mirror() if mirrored else None, start_phase)
    return Guidance(
        ExpertLibrary.load(Path("data/experts") / expert), semantic_weights={expert: 1.0}, correction=correction
    )


def correct(env: HumanoidEnv, guidance: Guidance, config: GuidanceConfig) -> CorrectionSearch:
    """Search, race and keep what earned most."""
    assert guidance.correction is not None
    steps, race_steps = TUNE_STEPS // ENVS, RACE_STEPS // ENVS
    search = CorrectionSearch(
        guidance.correction,
        ENVS,
        env.task.max_episode_steps,
        steps=steps,
        window=config.search_window,
        step_size=config.search_step_size,
        race_steps=race_steps,
        jerk_weight=config.jerk_weight,
        joints=ACTION_SIZE,
        start_search_steps=config.start_search_steps // ENVS,
        start_search_step_size=config.start_search_step_size,
    )
    state = env.reset()
    for t in range(steps + race_steps):
        if t == steps or (t < steps and search.waits):
            env.draw_like(search.begin_race() if t == steps else search.begin_start_phase())
            guidance.reset()
            state = env.reset()
        guidance.candidates = search.candidates
        at = state[keys.STEP_COUNT].squeeze(-1).clone()
        guidance.reset(at == 0)
        guide = guidance.reference(state[keys.OBSERVATION])
        now, state = env.step_and_maybe_reset(state.set(keys.ACTION, guide[keys.REFERENCE_ACTION].clamp(-1, 1)))
        after = now[keys.NEXT]
        velocity = robot_state(after[keys.OBSERVATION], env.task.layout)[1][:, JOINT_VELOCITIES]
        reward, fell = after[keys.REWARD].squeeze(-1), after[keys.TERMINATED].squeeze(-1)
        if t < steps:
            search.observe(reward, at, fell, guide[keys.EXPERT_ACTION], velocity)
        else:
            search.compete(reward, at, fell, velocity)
    search.decide()
    guidance.candidates = None
    return search


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
    parser.add_argument("--jerk-weight", "--smoothness", type=float, default=0.0, help="guidance.jerk_weight")
    parser.add_argument("--window", type=int, default=GuidanceConfig.search_window, help="guidance.search_window")
    parser.add_argument(
        "--step-size", type=float, default=GuidanceConfig.search_step_size, help="guidance.search_step_size"
    )
    parser.add_argument("--not-mirrored", action="store_true", help="guidance.search_mirrored: false")
    parser.add_argument("--start-phase", "--setting-off", type=int, default=0, help="guidance.start_phase")
    parser.add_argument(
        "--start-search-steps",
        "--setting-off-steps",
        type=int,
        default=GuidanceConfig.start_search_steps,
        help="of search_steps",
    )
    parser.add_argument(
        "--start-search-step-size",
        "--setting-off-step-size",
        type=float,
        default=GuidanceConfig.start_search_step_size,
        help="of that search",
    )
    options = parser.parse_args()
    config = GuidanceConfig(
        search_window=options.window,
        search_step_size=options.step_size,
        jerk_weight=options.jerk_weight,
        search_mirrored=not options.not_mirrored,
        start_phase=options.start_phase,
        start_search_steps=options.start_search_steps,
        start_search_step_size=options.start_search_step_size,
    )
    torch.set_num_threads(1)
    print(
        json.dumps({"expert": options.expert, **measure(options.task, guide(options.expert, True), options.episodes)})
    )
    for seed in options.seeds:
        torch.manual_seed(seed)
        guidance = guide(options.expert, config.search_mirrored, config.start_phase)
        env = make_env(options.task, ENVS, seed=seed, num_threads=1)
        search = correct(env, guidance, config)
        env.close()
        print(
            json.dumps({"seed": seed, **measure(options.task, guidance, options.episodes), **search.report()}),
            flush=True,
        )


if __name__ == "__main__":
    main()
