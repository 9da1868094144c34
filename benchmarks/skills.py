"""The level of skills: its speed end to end, and what fixed skills, constant commands and a route earn on a task.

    python benchmarks/skills.py                                  # control steps per second with 8 environments
    python benchmarks/skills.py --rivals 100000 --task h1-maze   # what an agent has to beat, with as many steps
    python benchmarks/skills.py --agents runs/maze runs/other    # agents of one task, each without its plan, too
    python benchmarks/skills.py --agents runs/maze --radius 0.1  # with plans so near its policy prior, too
    python benchmarks/skills.py --falls                          # how often the robot falls under random decisions
    python benchmarks/skills.py --stops                          # how often it falls after a stop, facing any way
    python benchmarks/skills.py --falls --skills data/experts/stand data/robust/walk_robust   # the same, another walker
    python benchmarks/skills.py --hold 10 --route-speed 1.6 --route "walk 3" "turn 90" "walk 6" "turn -90" "walk 3"

The rivals are every skill as it is told by default, and the best constant command that CMA-ES finds. One line each:
mean return over the episodes with its 95% interval and how many fell, and the control steps that it cost.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mwl.core import keys
from mwl.evaluation.agents import resolve
from mwl.experts.finetuning.cmaes import Evolution
from mwl.experts.guidance_state import GuidanceState, restarted
from mwl.experts.library import ExpertLibrary
from mwl.rollouts.episodes import run_episodes
from mwl.rollouts.statistics import ci95
from mwl.simulation import get_task, make_env
from mwl.skills import Route, SkillAgent, SkillEnv, SkillSpace
from mwl.training.stage_cli import resolved_config
from mwl.world_model import GuidanceConfig, LearningConfig, NetworkConfig, PlannerConfig
from mwl.world_model.data import WorldModelData
from mwl.world_model.module import WorldModelModule

CONFIG = "conf/world_model_skills.yaml"
ENVS, SEED = 8, 1000


class Constant:
    """Decides the same everywhere, or each environment its own: actions `[D]` or `[N, D]`."""

    def __init__(self, action: Tensor) -> None:
        self.action = action

    def reset(self, done: Tensor | None = None) -> None:
        """Nothing is remembered."""

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """The action."""
        return self.action.expand(len(observation), -1)


class Follow:
    """Decides as a route says."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.state: GuidanceState | None = None

    def reset(self, done: Tensor | None = None) -> None:
        """Begin at the start."""
        self.state = restarted(self.state, done, self.route.begin)

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """The way on."""
        guide, self.state = self.route.step(observation, self.state)
        action: Tensor = guide[keys.REFERENCE_ACTION]
        return action


def earned(task: str, agent: Any, episodes: int) -> str:
    """Mean return of whole episodes, at the seed that all share, in words."""
    done = run_episodes(make_env(task, episodes, seed=SEED), agent, SEED)
    returns = done.returns
    interval = ci95(returns.tolist())
    within = "" if interval is None else f" [{interval[0]:.0f}, {interval[1]:.0f}]"
    return f"{returns.mean():.0f}{within}, {returns.min():.0f} to {returns.max():.0f}, {int(done.fell.sum())} fall"


def decided(task: str, decider: Any, space: SkillSpace, hold: int, episodes: int) -> str:
    """`earned` of an agent that decides so."""
    return earned(task, SkillAgent(decider, space, get_task(task).layout, hold), episodes)


def falls(space: SkillSpace, hold: int, count: int = 16, control_steps: int = 500) -> float:
    """Share of `count` robots that fall on flat ground within so many control steps of random decisions."""
    torch.manual_seed(SEED)
    env = SkillEnv(make_env("h1-walk", count, seed=SEED), space, hold)
    state, stands = env.reset(), torch.ones(count, dtype=torch.bool)
    for _ in range(control_steps // hold):
        state = env.step(state.set(keys.ACTION, space.draw(count)))[keys.NEXT].exclude(keys.REWARD)
        stands &= ~state[keys.TERMINATED].squeeze(-1)
    return float((~stands).float().mean())


def stops(space: SkillSpace, hold: int, count: int = 32, walked: int = 350, rested: int = 250) -> str:
    """How many of `count` robots on flat ground fall in so many control steps of walking, and of rest after a stop."""
    env = SkillEnv(make_env("h1-walk", count, seed=0), space, hold)
    ways = torch.arange(count) * torch.pi / 2
    going = torch.stack([space.encode(space.walker, [float(way.cos()), float(way.sin())]) for way in ways])
    state, fell = env.reset(), [torch.zeros(count, dtype=torch.bool) for _ in range(2)]
    for at_rest, control_steps in enumerate((walked, rested)):
        for _ in range(control_steps // hold):
            state = env.step(state.set(keys.ACTION, going * (1 - at_rest)))[keys.NEXT].exclude(keys.REWARD)
            fell[at_rest] |= state[keys.TERMINATED].squeeze(-1)
    return (
        f"{int(fell[0].sum())} of {count} fall walking, {int((fell[1] & ~fell[0]).sum())} of the others after the stop"
    )


def best_constant(task: str, space: SkillSpace, hold: int, env_steps: int) -> Tensor:
    """The constant action `[D]` that CMA-ES ends at with so many control steps; one whole episode each candidate."""
    env = SkillEnv(make_env(task, ENVS, seed=0), space, hold)
    search = Evolution(space.size, ENVS, step_size=0.5)
    while env.control_steps < env_steps:
        candidates, earned, running = search.ask(), torch.zeros(ENVS), torch.ones(ENVS, dtype=torch.bool)
        state = env.reset()
        while running.any():
            state = env.step(state.set(keys.ACTION, candidates.clamp(-1, 1)))[keys.NEXT]
            earned += state[keys.REWARD].squeeze(-1) * running
            running &= ~state[keys.DONE].squeeze(-1)
            state = state.exclude(keys.REWARD)
        search.tell(earned)
    return search.mean.clamp(-1, 1)


class Timed(WorldModelModule):
    """Times the rounds in which it plans and learns."""

    begin = (0, 0.0, 0.0)  # steps, seconds of the wall and of the processor

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Read the clock once it plans."""
        super().training_step(batch, batch_idx)
        if not self._data().behaviour.seeding and not self.begin[0]:
            self.begin = self._data().env_steps, time.perf_counter(), time.process_time()


def speed(config: dict[str, Any], env_steps: int) -> tuple[float, float]:
    """Control steps per second, physics, experts, plans and updates together, and per second of processor time."""
    from lightning.pytorch import Trainer

    model = config["model"]["init_args"]
    learning = {**model["learning"], "seed_steps": 2000, "learning_starts": 1500}
    module = Timed(
        NetworkConfig(**model["network"]),
        LearningConfig(**{**learning, "held_steps": tuple(learning["held_steps"])}),
        PlannerConfig(**model["planner"]),
        GuidanceConfig(**model["guidance"]),
    )
    data = WorldModelData(**{**config["data"]["init_args"], "env_steps": env_steps, "num_envs": ENVS})
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options: dict[str, Any] = dict.fromkeys(names, False)
    Trainer(max_epochs=1, accelerator="cpu", devices=1, **options).fit(module, datamodule=data)
    steps, wall, processor = module.begin
    done = data.env_steps - steps
    return done / (time.perf_counter() - wall), done / (time.process_time() - processor)


def rivals(task: str, space: SkillSpace, hold: int, env_steps: int, episodes: int) -> None:
    """Print what an agent has to beat."""
    plain = SkillSpace(space.library, space.skills)
    for name in plain.skills:
        told = (space.library.experts[space.library.index(name)].manifest["observation"].get("command") or {}).get(
            "default"
        )
        action = plain.encode(name, told if name in plain.commands else None)
        print(f"{name} alone: {decided(task, Constant(action), plain, hold, episodes)}", flush=True)
    action = best_constant(task, space, hold, env_steps)
    said = ", ".join(f"{name} {value:.2f}" for name, value in zip(space.names, action.tolist(), strict=True))
    found = decided(task, Constant(action), space, hold, episodes)
    print(f"best constant command after {env_steps} steps: {found} with {said}", flush=True)


def agents(folders: Sequence[str], episodes: int, radii: Sequence[float]) -> None:
    """Print what agents earn on the task they were made for, without their plan, and with plans within each radius."""
    for folder in folders:
        ways: dict[str, float | None] = {"": None, " without plan": None} | {f" within {r:g}": r for r in radii}
        for way, radius in ways.items():
            named = resolve(folder, without="plan" if way == " without plan" else None)
            if radius is not None:
                named.agent.decider.trust_radius = radius  # type: ignore[attr-defined]
            torch.manual_seed(SEED)
            print(f"{folder}{way}: {earned(named.manifest['task'], named.agent, episodes)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="h1-maze")
    parser.add_argument("--rivals", type=int, metavar="STEPS", help="control steps of the search for a command")
    parser.add_argument("--agents", nargs="+", metavar="FOLDER", help="measure agents, with their plan and without")
    parser.add_argument("--radius", nargs="+", type=float, default=[], help="standard deviations of agents' plans, too")
    parser.add_argument("--falls", action="store_true", help="measure random decisions, steered and not")
    parser.add_argument("--stops", action="store_true", help="measure stops from 1 m/s, along and against x and y")
    parser.add_argument("--route", nargs="+", metavar="LEG", help="measure a route, such as 'walk 3' 'turn 90'")
    parser.add_argument("--skills", nargs="+", metavar="FOLDER", help="experts; default: the configuration's")
    parser.add_argument("--hold", type=int, help="control steps of a decision; default: the configuration's")
    parser.add_argument("--route-speed", type=float, metavar="M/S", help="default: the configuration's")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--steps", type=int, default=8000, help="control steps of the measurement of speed")
    options = parser.parse_args(arguments)
    config = resolved_config(["--config", CONFIG])
    settings, guidance = config["data"]["init_args"], config["model"]["init_args"]["guidance"]
    hold = options.hold or settings["hold"]
    space = SkillSpace(ExpertLibrary.load(options.skills or settings["skills"]), steered=settings["steered"])
    if options.route:
        layout = make_env(options.task).task.layout
        decider = Follow(Route(space, options.route, layout, options.route_speed or guidance["route_speed"]))
        print(f"route alone: {decided(options.task, decider, space, hold, options.episodes)}")
    if options.rivals:
        rivals(options.task, space, hold, options.rivals, options.episodes)
    if options.agents:
        agents(options.agents, options.episodes, options.radius)
    if options.stops:
        print(stops(space, hold))
    if options.falls:
        for name, each in {"told rates": SkillSpace(space.library), "steered": space}.items():
            print(f"random decisions of {hold} control steps, {name}: {falls(each, hold):.0%} fall within 10 s")
    if not (options.route or options.rivals or options.agents or options.falls or options.stops):
        wall, processor = speed(config, options.steps)
        rates = f"{wall:.0f} control steps per second, {processor:.0f} per second of processor time"
        print(f"{CONFIG}, {ENVS} environments, a plan at every decision: {rates}")


if __name__ == "__main__":
    main()
