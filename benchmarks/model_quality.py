"""Whether a model ranks plans as the simulation does, at the level where its agent plans.

    python benchmarks/model_quality.py --agent FOLDER [--states 12] [--candidates 32]

In some states of the agent's own episodes, plans around the one it has in mind are valued by the model and carried out
in the simulation, each followed for a while by the agent's policy prior, whose return the model's values are of. A plan
that ran into the time limit would end there, which no value knows of: such states are passed over. Prints the rank
correlation (Spearman) of both over the candidates of a state, its mean over states, and the error of the predicted
reward over 1 to H steps.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.evaluation.agents import resolve
from mwl.simulation import make_env
from mwl.skills import SkillAgent, SkillEnv
from mwl.world_model import WorldModelAgent
from mwl.world_model.planner import ReferenceActions

SEED, DISTANCE = 1000, 0.5  # standard deviation of candidates, of the range
TAIL = 10  # steps for which the policy prior goes on


@dataclass
class Quality:
    """Rank correlations by state, and mean absolute errors of the reward by steps ahead."""

    correlations: list[float]
    errors: list[float]


def ranks(values: Tensor) -> Tensor:
    """Rank of each of `[M]` values."""
    return values.argsort().argsort().double()


def correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's, of `[M]` and `[M]`."""
    return float(torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1])


def carried_out(
    env: Any, snapshot: dict, plans: Tensor, agent: WorldModelAgent, discount: float
) -> tuple[Tensor, Tensor]:
    """Discounted return `[M]` of plans `[H, M, A]` and the policy prior's steps after them, and the plans' rewards."""
    env.restore(snapshot)
    state = env.reset()
    total, running, rewards = torch.zeros(plans.shape[1]), torch.ones(plans.shape[1], dtype=torch.bool), []
    for t in range(len(plans) + TAIL):
        if t < len(plans):
            agent.ask_experts(state[keys.OBSERVATION])  # they remember what they see, though the plan acts
            action = plans[t]
        else:
            action = agent.act(state[keys.OBSERVATION])
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT]
        reward = state[keys.REWARD].squeeze(-1) * running
        total += discount**t * reward
        running &= ~state[keys.DONE].squeeze(-1)
        rewards.append(reward)
        state = state.exclude(keys.REWARD)
    return total, torch.stack(rewards[: len(plans)])


def advised(agent: WorldModelAgent) -> ReferenceActions | None:
    """What its experts said to the first robot when it acted last; None without experts."""
    if agent.guidance is None or agent.last is None:
        return None
    said = (agent.last[key][:1] for key in (keys.REFERENCE_ACTION, keys.EXPERT_ACTION, keys.FUSED_WEIGHTS))
    return ReferenceActions(*said)


@torch.no_grad()
def measure(env: Any, agent: WorldModelAgent, states: int, every: int) -> Quality:
    """Compare in so many states, at least `every` steps apart; one whose plans all earn the same has no ranks.

    Raises:
        BadInput: an episode is shorter than a plan and what follows it.
    """
    count, planner, model, acting = env.num_envs, agent.planner, agent.model, agent.pick
    inner = env.env if isinstance(env, SkillEnv) else env
    limit = -(-inner.task.max_episode_steps // (env.hold if isinstance(env, SkillEnv) else 1))
    if planner.horizon + TAIL > limit:
        raise BadInput(f"an episode of {limit} steps is too short for {planner.horizon} of a plan and {TAIL} after it")
    inner.draw_like([0] * count)  # all environments are then in one and the same state
    torch.manual_seed(SEED)
    agent.reset()
    state, found, looked, waited = env.reset(), Quality([], [0.0] * planner.horizon), 0, 0
    while looked < states:
        if waited < every or int(state[keys.STEP_COUNT][0]) + planner.horizon + TAIL > limit:
            action = agent.act(state[keys.OBSERVATION])[:1].expand(count, -1)
            after, state = env.step_and_maybe_reset(state.set(keys.ACTION, action))
            agent.reset(after[keys.NEXT, keys.DONE].squeeze(-1))
            waited += 1
            continue
        kept, remembered = env.snapshot(), agent.state_dict()
        looked, waited = looked + 1, 0
        start = agent.act(state[keys.OBSERVATION])[:1]
        step = DISTANCE * torch.randn(1, count, start.shape[-1])  # held for the whole plan
        plans = (start + step).clamp(-1, 1).expand(planner.horizon, -1, -1)
        latent = model.encode(agent.observer(state[keys.OBSERVATION][:1]))
        valued = planner.value(latent, plans.unsqueeze(1), torch.arange(2), advised(agent))[0]
        agent.load_state_dict(remembered)
        agent.act_by("policy")
        earned, rewards = carried_out(env, kept, plans, agent, planner.discount)
        agent.act_by(acting)
        if earned.std() > 0:
            found.correlations.append(correlation(valued, earned))
        z = latent.expand(count, -1)
        for t, action in enumerate(plans):
            z, reward = model.step(z, action)
            found.errors[t] += float((reward - rewards[t]).abs().mean()) / states
        env.restore(kept)
        state = env.reset()
        agent.load_state_dict(remembered)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="agent:walk", help="artifact or agent:<task> of a world model")
    parser.add_argument("--task", help="default: the one it was made for")
    parser.add_argument("--states", type=int, default=6)
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--every", type=int, default=3, help="steps of the agent between two states")
    options = parser.parse_args()
    named = resolve(options.agent)
    env: Any = make_env(options.task or named.manifest["task"], options.candidates, seed=SEED)
    agent: Any = named.agent
    if isinstance(agent, SkillAgent):
        env, agent = SkillEnv(env, agent.space, agent.hold), agent.decider
    found = measure(env, agent, options.states, options.every)
    mean = sum(found.correlations) / max(len(found.correlations), 1)
    each = ", ".join(f"{value:.2f}" for value in found.correlations)
    print(f"{named.name}: rank correlation {mean:.2f} over {len(found.correlations)} states ({each})")
    print("reward error by steps ahead: " + ", ".join(f"{error:.3f}" for error in found.errors))


if __name__ == "__main__":
    main()
