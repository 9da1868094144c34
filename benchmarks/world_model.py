"""Speed of the world model's update and plan, as multiples of what the machine's matmul rate allows.

The floor is (floating point operations of all matrix products) / (peak rate of a large matrix product, measured in the
same run): no implementation of the same computation in the same precision can be faster.

    python benchmarks/world_model.py [--sizes 0.2M 1M 5M] [--threads 2]

The first lines are the CPU preset end to end on h1-walk: physics, experts, a plan and an update at every step.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mwl.world_model.config import GuidanceConfig, LearningConfig, NetworkConfig, PlannerConfig
from mwl.world_model.data import WorldModelData
from mwl.world_model.losses import Batch, model_losses, policy_losses
from mwl.world_model.module import WorldModelModule
from mwl.world_model.network import WorldModel
from mwl.world_model.planner import Planner

FEATURES, ACTIONS, HORIZON = 51, 19, 3
PRESET = PlannerConfig(samples=64, iterations=3, elites=16, policy_samples=8)


def best_time(run: Callable[[], object], repeats: int) -> float:
    """Shortest of some runs, in seconds; the shortest is the one least disturbed."""
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def peak_flops(size: int = 1024) -> float:
    """Floating point operations per second of a square matrix product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / best_time(lambda: a @ b, 20)


def flops_of(run: Callable[[], object]) -> float:
    """Floating point operations of the matrix products in one run."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def make_update(model: WorldModel, batch_size: int) -> Callable[[], None]:
    """One whole update of model, policy and target networks on a random batch."""
    batch = Batch(
        features=torch.randn(HORIZON + 1, batch_size, FEATURES),
        action=torch.rand(HORIZON, batch_size, ACTIONS) * 2 - 1,
        reward=torch.rand(HORIZON, batch_size),
        terminated=torch.zeros(HORIZON, batch_size, dtype=torch.bool),
    )
    policy = list(model.policy_head.parameters())
    rest = [p for name, p in model.named_parameters() if p.requires_grad and not name.startswith("policy_head")]
    optimizers = [torch.optim.Adam(group, lr=3e-4, fused=True) for group in (rest, policy)]
    scale = torch.ones(())

    def update() -> None:
        with model.autocast():
            descend()

    def descend() -> None:
        parts = model_losses(model, batch, 0.99, 0.5, policy_base=False, best=False)
        loss = 20 * parts.consistency + 0.1 * parts.reward + 0.1 * parts.value + parts.termination
        for group, optimizer, make in (
            (rest, optimizers[0], lambda: loss),
            (policy, optimizers[1], lambda: policy_losses(model, parts.latents.detach(), scale, 0.5, 1e-4).improvement),
        ):
            optimizer.zero_grad(set_to_none=True)
            make().backward()
            torch.nn.utils.clip_grad_norm_(group, 20.0)
            optimizer.step()
        model.follow_targets(0.01)

    return update


def make_plan(model: WorldModel, config: PlannerConfig, envs: int) -> Callable[[], object]:
    """One plan for some environments."""
    planner = Planner(model, config, HORIZON, 0.99)
    latent = model.encode(torch.randn(envs, FEATURES)).detach()
    deviation = torch.zeros(HORIZON, envs, ACTIONS)

    def plan() -> object:
        with model.autocast():
            return planner.plan(latent, deviation, None, 2.0, "mean")

    return plan


class Timed(WorldModelModule):
    """Times the rounds in which the agent plans and learns, the first ones left out."""

    first, timed = 22, 0
    begin = seconds = (0.0, 0.0)  # of the wall and of the processor

    def on_train_batch_end(self, *_: Any) -> None:
        """Read the clock."""
        self.timed = self._data().rounds - self.first
        now = time.perf_counter(), time.process_time()
        if self.timed == 0:
            self.begin = now
        self.seconds = now[0] - self.begin[0], now[1] - self.begin[1]


def end_to_end(envs: int, steps: int, threads: int) -> None:
    """Print environment steps per second of the CPU preset on h1-walk, and the process's peak memory."""
    from lightning.pytorch import Trainer

    seed_steps = 20 * envs
    module = Timed(
        NetworkConfig("0.2M", num_q=2, dropout=0.0, activation="silu"),
        LearningConfig(batch_size=128, seed_steps=seed_steps, learning_starts=seed_steps // 2),
        PRESET,
        GuidanceConfig(semantic_weights={"walk": 1.0}, mode="top1"),
    )
    data = WorldModelData("h1-walk", env_steps=seed_steps + steps, num_envs=envs, num_threads=threads)
    options: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    Trainer(max_epochs=1, accelerator="cpu", **options).fit(module, datamodule=data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, processor = (module.timed * envs / seconds for seconds in module.seconds)
    rates = f"{wall:.1f} env steps per second, {processor:.1f} per second of processor time"
    print(f"0.2M end to end, {envs} env, 1 update per step: {rates}; peak memory {peak:.0f} MB")


def report(name: str, run: Callable[[], object], peak: float, repeats: int) -> None:
    """Print time, work and multiple of the floor."""
    seconds, flops = best_time(run, repeats), flops_of(run)
    floor = flops / peak
    print(f"{name:34s} {1e3 * seconds:8.1f} ms {flops / 1e9:8.2f} GFLOP {seconds / floor:6.2f} x floor")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["0.2M", "1M", "5M"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--end-to-end", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    peak = peak_flops()
    print(f"matmul peak {peak / 1e9:.0f} GFLOP/s in float32 on {arguments.threads} threads")
    if arguments.end_to_end:
        for envs in (1, 8):
            end_to_end(envs, 240, arguments.threads)
    for size in arguments.sizes:
        preset = size == "0.2M"
        dropout = 0.0 if preset else 0.01
        model = WorldModel(FEATURES, ACTIONS, size, dropout=dropout, precision=arguments.precision)
        batch = 128 if preset else 256
        report(f"{size} update, batch {batch}", make_update(model, batch), peak, arguments.repeats)
        model.eval()
        config, envs = (PRESET, 8) if preset else (PlannerConfig(), 1)
        name = f"{size} plan, {config.samples} x {config.iterations}, {envs} env"
        report(name, make_plan(model, config, envs), peak, arguments.repeats)


if __name__ == "__main__":
    main()
