"""Time of one batched call of the expert library: `python benchmarks/experts.py` prints one JSON object."""

import json
import time

import torch

from mwl.experts.library import Expert, ExpertLibrary
from mwl.experts.network import PolicyNetwork
from mwl.experts.spec import ExpertSpec
from mwl.simulation import get_task

NUM_EXPERTS, NUM_ENVS, CALLS = 8, 16, 300


def library_of(count: int) -> ExpertLibrary:
    """`count` untrained experts of the shipped size, one of them commanded."""
    experts = []
    for k in range(count):
        commanded = k == 0
        spec = ExpertSpec(
            f"expert{k}",
            "h1-walk",
            command="hand_target" if commanded else None,
            default_command=(0.37, 0.21, 0.1) if commanded else (),
        )
        network = PolicyNetwork(spec.input_size, spec.action_size, spec.hidden)
        experts.append(Expert(spec, network, {}))
    return ExpertLibrary(experts)


def main() -> None:
    """Measure the median over many calls."""
    library = library_of(NUM_EXPERTS)
    observation = torch.randn(NUM_ENVS, get_task("h1-walk").layout.size)
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        library.actions(observation)
        times.append(time.perf_counter() - start)
    median_ms = 1e3 * sorted(times)[CALLS // 2]
    print(json.dumps({"experts": NUM_EXPERTS, "envs": NUM_ENVS, "threads": torch.get_num_threads(), "ms": median_ms}))


if __name__ == "__main__":
    main()
