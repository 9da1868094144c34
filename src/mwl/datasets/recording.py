"""How a demonstrator's behaviour is recorded.

Noise is added to the executed action while the label stays the demonstrator's clean answer, so that the data show how
to come back from states the demonstrator alone would never visit. Without that a cloned policy drifts off and falls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.datasets.demonstrations import Demonstrations, Demonstrator, SkilledDemonstrator
from mwl.robot import frames
from mwl.rollouts.falls import RECORDED_ROOT
from mwl.rollouts.pushes import at_random, push
from mwl.simulation import HumanoidEnv, make_env
from mwl.simulation.shift import draw_shifts

BehaviourPolicy = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"""Actions `[N, A]` to execute at observations `[N, O]` under commands `[N, C]`, given the demonstrator's answers."""


@dataclass(frozen=True)
class RecordingConfig:
    """How much to record, and with how much noise."""

    episodes: int = 64
    steps: int = 300
    noise_levels: Sequence[float] = (0.0, 0.1, 0.2, 0.4)
    """Standard deviations in units of the demonstrator's `noise_scale`; episodes take turns."""
    push_std: float = 0.0
    """Velocity pushes to the root in x and y, m/s, every `push_interval` seconds."""
    turn_push_std: float = 0.0
    """With each of them a push to the root's turning about its long axis, rad/s, so that headings differ."""
    push_interval: float = 1.0
    pushed_share: float = 0.5
    """Share of the episodes that are pushed."""
    drop_before_fall: int = 25
    """Steps left out before a fall: what led there is no example to follow."""
    lowest_root: float = RECORDED_ROOT
    """Height in m below which a robot is falling, whatever the task's own limit."""
    least_upright: float = -1.0
    """Cosine of the trunk's lean beyond which a robot is falling, where its height does not tell."""
    keep_executed: bool = False
    shifts: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Ranges of the changes of the world (`payload`, `motors`, ...) that robots meet, as in a teacher's training."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.steps < 1 or not self.noise_levels:
            raise BadInput("a recording needs at least one episode, one step and one noise level")


def recording_env(task: str, config: RecordingConfig) -> HumanoidEnv:
    """The robots of a recording, one for each of its episodes, with the shifts that they meet."""
    shifts = draw_shifts(config.shifts, config.episodes, config.seed)
    return make_env(task, num_envs=config.episodes, seed=config.seed, shift=shifts)


def record_demonstrations(
    demonstrator: Demonstrator, env: HumanoidEnv, config: RecordingConfig, behaviour: BehaviourPolicy | None = None
) -> Demonstrations:
    """Record `config.episodes` short episodes at once from the benchmark's own resets.

    Args:
        demonstrator: its clean answers become the labels.
        env: batched task environment of `config.episodes` robots.
        config: amount and noise.
        behaviour: what acts instead of the demonstrator, which then only says what it would do.

    Returns:
        the steps of all episodes that stayed on their feet, and of the others up to shortly before the fall.
    """
    generator = torch.Generator().manual_seed(config.seed)
    count = config.episodes
    levels = torch.tensor([config.noise_levels[i % len(config.noise_levels)] for i in range(count)]).unsqueeze(-1)
    exposed = torch.arange(count) // len(config.noise_levels) % 100 < 100 * config.pushed_share
    pushes = config.push_std > 0 or config.turn_push_std > 0
    exposed = exposed[torch.randperm(count, generator=generator)] if pushes else torch.zeros_like(exposed)
    frames = _play(demonstrator, env, config, levels, exposed, generator, behaviour)
    alive = frames.pop("alive")
    length = alive.sum(dim=0)
    length = torch.where(length < config.steps, length - config.drop_before_fall, length).clamp(min=0)
    keep = torch.arange(config.steps).unsqueeze(-1) < length
    flat = {name: value.transpose(0, 1)[keep.T] for name, value in frames.items()}
    manifest = {
        "task": env.task.name,
        "demonstrator": demonstrator.name,
        "noise_levels": list(config.noise_levels),
        "push_std": config.push_std,
        "turn_push_std": config.turn_push_std,
        **({"shifts": {name: list(ends) for name, ends in config.shifts.items()}} if config.shifts else {}),
        "episodes": count,
        "episode_steps": config.steps,
        "falls": int((alive.sum(dim=0) < config.steps).sum()),
        "seed": config.seed,
        "recording_env_steps": count * config.steps,
        **demonstrator.describe(),
    }
    if isinstance(demonstrator, SkilledDemonstrator):
        manifest["skills"] = list(demonstrator.skills)
    return Demonstrations(
        observation=flat["observation"],
        action=flat["action"],
        episode=torch.arange(count).unsqueeze(-1).expand(count, config.steps)[keep.T],
        command=flat.get("command"),
        executed_action=flat["executed"] if config.keep_executed else None,
        reward=flat["reward"],
        skill=flat.get("skill"),
        manifest=manifest,
    )


def _play(
    demonstrator: Demonstrator,
    env: HumanoidEnv,
    config: RecordingConfig,
    levels: Tensor,
    exposed: Tensor,
    generator: torch.Generator,
    behaviour: BehaviourPolicy | None,
) -> dict[str, Tensor]:
    """Time-major frames `[T, N, ...]` of one batch of episodes."""
    state = env.reset()
    observation = state[keys.OBSERVATION]
    demonstrator.reset(observation)
    alive = torch.ones(config.episodes, dtype=torch.bool)
    gathered: dict[str, list[Tensor]] = {"observation": [], "action": [], "executed": [], "alive": []}
    for _ in range(config.steps):
        answer = demonstrator.act(observation)
        skill = demonstrator.skill if isinstance(demonstrator, SkilledDemonstrator) else None
        noise = levels * demonstrator.noise_scale * torch.randn(answer.shape, generator=generator)
        acted = answer if behaviour is None else behaviour(observation, demonstrator.command, answer)
        executed = (acted + noise).clamp(-1, 1)
        demonstrator.executed(executed)
        now = {"observation": observation, "action": answer, "executed": executed, "alive": alive}
        if demonstrator.command is not None:
            now["command"] = demonstrator.command
        if skill is not None:
            now["skill"] = skill
        for name, value in now.items():
            gathered.setdefault(name, []).append(value.clone())
        state = env.step(state.set(keys.ACTION, executed))[keys.NEXT]
        gathered.setdefault("reward", []).append(state[keys.REWARD].squeeze(-1).clone())
        high = state[keys.OBSERVATION][:, 2] > config.lowest_root
        upright = frames.rotation_matrix(state[keys.OBSERVATION][:, 3:7])[:, 2, 2] >= config.least_upright
        alive = alive & ~state[keys.TERMINATED].squeeze(-1) & high & upright
        pushed = exposed & at_random(config.episodes, config.push_interval, generator)
        if pushed.any():
            push(env.simulation, pushed, config.push_std, generator, config.turn_push_std)
            state[keys.OBSERVATION] = torch.from_numpy(env.world.observation())
        observation = state[keys.OBSERVATION]
    return {name: torch.stack(values) for name, values in gathered.items()}
