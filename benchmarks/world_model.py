"""Speed of the world model's update and plan, as multiples of what the machine's matmul rate allows.

The floor is (floating point operations of all matrix products) / (peak rate of a large matrix product, measured in the
same run on the same device): no implementation of the same computation in the same precision can be faster.

    python benchmarks/world_model.py [--sizes 0.2M 1M 5M] [--threads 2] [--compile off default]
    python benchmarks/world_model.py --device cuda --compile off default reduce-overhead  # N = 1, 16, 128

The first lines are the CPU preset end to end on h1-walk: physics, experts, a plan and an update at every step.
Compiled variants follow the eager one, with the ratio of their times and how long the first one took, which compiles;
with TORCHINDUCTOR_FORCE_DISABLE_CACHES=1 nothing of an earlier run is used again. Updates have no `reduce-overhead`.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mwl.evaluation.table import report
from mwl.world_model.config import GuidanceConfig, LearningConfig, NetworkConfig, PlannerConfig
from mwl.world_model.data import WorldModelData
from mwl.world_model.learning.compiling import compiled
from mwl.world_model.learning.losses import Batch, model_losses, policy_losses
from mwl.world_model.module import WorldModelModule
from mwl.world_model.network import WorldModel
from mwl.world_model.planner import MPPIPlanner

FEATURES, ACTIONS, HORIZON = 51, 19, 3
MODES = ["off", "default", "reduce-overhead"]  # of torch.compile
ON_GPU = (1, 16, 128)  # environments N
_WARM_UP = 3  # runs in which is compiled and, with CUDA graphs, recorded
PRESET = PlannerConfig(samples=64, iterations=3, elites=16, policy_samples=8)


def best_time(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Shortest of some runs, in seconds; the shortest is the one least disturbed."""
    wait = torch.accelerator.synchronize if device.type != "cpu" else lambda: None
    times = []
    for _ in range(_WARM_UP + repeats):
        wait()
        begin = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - begin)
    return min(times[_WARM_UP:])


def peak_flops(device: torch.device) -> float:
    """Floating point operations per second of a square matrix product, large enough to fill the device."""
    size = 1024 if device.type == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=device)
    return 2 * size**3 / best_time(lambda: a @ b, 20, device)


def flops_of(run: Callable[[], object]) -> float:
    """Floating point operations of the matrix products in one run."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def make_update(model: WorldModel, batch_size: int, mode: str) -> Callable[[], None]:
    """One whole update of model, policy and target networks on a random batch, the losses compiled or not."""
    batch = Batch(
        features=torch.randn(HORIZON + 1, batch_size, FEATURES),
        action=torch.rand(HORIZON, batch_size, ACTIONS) * 2 - 1,
        reward=torch.rand(HORIZON, batch_size),
        terminated=torch.zeros(HORIZON, batch_size, dtype=torch.bool),
    ).to(model.device)
    of_model, of_policy = compiled(model_losses, mode), compiled(policy_losses, mode)
    policy = list(model.policy_head.parameters())
    rest = [p for name, p in model.named_parameters() if p.requires_grad and not name.startswith("policy_head")]
    optimizers = [torch.optim.Adam(group, lr=3e-4, fused=True) for group in (rest, policy)]
    scale = torch.ones((), device=model.device)

    def update() -> None:
        with model.autocast():
            descend()

    def descend() -> None:
        parts = of_model(model, batch, 0.99, 0.5, policy_base=False, best=False)
        loss = 20 * parts.consistency + 0.1 * parts.reward + 0.1 * parts.value + parts.termination
        for group, optimizer, make in (
            (rest, optimizers[0], lambda: loss),
            (policy, optimizers[1], lambda: of_policy(model, parts.latents.detach(), scale, 0.5, 1e-4).improvement),
        ):
            optimizer.zero_grad(set_to_none=True)
            make().backward()
            torch.nn.utils.clip_grad_norm_(group, 20.0)
            optimizer.step()
        model.follow_targets(0.01)

    return update


def make_plan(model: WorldModel, config: PlannerConfig, envs: int, mode: str) -> Callable[[], object]:
    """One plan for some environments, compiled or not."""
    planner = MPPIPlanner(model, replace(config, compile=mode), HORIZON, 0.99)
    latent = model.encode(torch.randn(envs, FEATURES, device=model.device)).detach()
    deviation = torch.zeros(HORIZON, envs, ACTIONS, device=model.device)

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


def end_to_end(envs: int, steps: int, threads: int, device: torch.device, mode: str) -> list[str]:
    """Environment steps per second of the CPU preset on h1-walk, and the process's peak memory, as a row."""
    from lightning.pytorch import Trainer

    updates = "off" if mode == "off" else "default"

    seed_steps = 20 * envs
    module = Timed(
        NetworkConfig("0.2M", num_q=2, dropout=0.0, activation="silu"),
        LearningConfig(batch_size=128, seed_steps=seed_steps, learning_starts=seed_steps // 2, compile=updates),
        replace(PRESET, compile=mode),
        GuidanceConfig(semantic_weights={"walk": 1.0}, mode="top1"),
    )
    data = WorldModelData("h1-walk", env_steps=seed_steps + steps, num_envs=envs, num_threads=threads)
    options: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    Trainer(max_epochs=1, accelerator="cpu" if device.type == "cpu" else "gpu", devices=1, **options).fit(
        module, datamodule=data
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, processor = (module.timed * envs / seconds for seconds in module.seconds)
    rates = f"{wall:.1f} steps/s, {processor:.1f} per CPU-s, {peak:.0f} MB at most"
    return [_named(f"0.2M end to end, {envs} env, 1 update per step", mode), rates, "-", "-"]


def _named(what: str, mode: str) -> str:
    return what if mode == "off" else f"{what}, compiled ({mode})"


class Clock:
    """Times variants of one computation on a device against the floor, and against the eager one."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self.repeats, self.peak = device, repeats, peak_flops(device)

    def report(self, name: str, make: Callable[[str], Callable[[], object]], modes: list[str]) -> Iterator[list[str]]:
        """Rows with time, multiple of the floor and gain by compiling, the eager variant first."""
        flops = flops_of(make("off"))
        eager = None
        for mode in modes:
            run, begin = make(mode), time.perf_counter()
            run()
            first = time.perf_counter() - begin
            seconds = best_time(run, self.repeats, self.device)
            eager = seconds if mode == "off" else eager
            gain = f"{eager / seconds:.2f}; the first one {first:.0f} s" if eager and mode != "off" else "-"
            time_of = f"{1e3 * seconds:.1f} ms for {flops / 1e9:.2f} GFLOP"
            yield [_named(name, mode), time_of, f"{seconds * self.peak / flops:.2f}", gain]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["0.2M", "1M", "5M"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="such as cpu or cuda")
    parser.add_argument("--compile", nargs="+", choices=MODES, default=["off"], help="variants to time")
    parser.add_argument("--envs", nargs="+", type=int, help="N of plans and end to end; by default few on a CPU")
    parser.add_argument("--end-to-end", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    arguments = parser.parse_args()
    device, on_cpu = arguments.device, arguments.device.type == "cpu"
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        parser.error(f"no {device} here: {error}")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    clock = Clock(device, arguments.repeats)
    where = f"{arguments.threads} threads" if on_cpu else torch.get_device_module(device).get_device_name(device)
    rows = [[f"matrix products at best, {where}", f"{clock.peak / 1e9:.0f} GFLOP/s in float32", "1", "-"]]
    if arguments.end_to_end:
        for envs in arguments.envs or ((1, 8) if on_cpu else ON_GPU):
            for mode in arguments.compile:
                rows.append(end_to_end(envs, 240 * max(1, envs // 8), arguments.threads, device, mode))
    for size in arguments.sizes:
        preset = size == "0.2M"
        dropout = 0.0 if preset else 0.01
        model = WorldModel(FEATURES, ACTIONS, size, dropout=dropout, precision=arguments.precision).to(device)
        batch = 128 if preset else 256
        modes = [mode for mode in arguments.compile if mode != "reduce-overhead"]
        rows += clock.report(f"{size} update, batch {batch}", partial(make_update, model, batch), modes)
        model.eval()
        for envs in arguments.envs or ((8 if preset else 1,) if on_cpu else ON_GPU):
            config = PRESET if preset else PlannerConfig()
            name = f"{size} plan, {config.samples} x {config.iterations}, {envs} env"
            rows += clock.report(name, partial(make_plan, model, config, envs), arguments.compile)
        model.train()
    report(("what", "measured", "times the floor", "times as fast as eager"), rows, arguments.table)


if __name__ == "__main__":
    main()
