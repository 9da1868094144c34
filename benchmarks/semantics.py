"""Latency of the semantic head: the first weights of an instruction, and the same instruction again.

python benchmarks/semantics.py
"""

import statistics
import time

import mwl


def milliseconds(head: "mwl.SemanticHead", text: str) -> float:
    """Time of one call of `weights`."""
    began = time.perf_counter()
    head.weights(text)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    """Print medians over instructions that were never asked before, and over the same ones again."""
    began = time.perf_counter()
    head = mwl.SemanticHead.load("embedded")
    head.weights("walk forward")
    loading = time.perf_counter() - began
    texts = [f"walk {number} steps forward" for number in range(2, 32)]
    first = [milliseconds(head, text) for text in texts]
    again = [milliseconds(head, text) for text in texts]
    print(f"load, and embed cards and phrase bank: {loading:.1f} s")
    for name, values in (("first weights", first), ("again", again)):
        print(f"{name}: median {statistics.median(values):.1f} ms, worst {max(values):.1f} ms")


if __name__ == "__main__":
    main()
