"""Figures as printed in Table 1 of the MetaWorld paper (arXiv 2601.17507), for reading beside our own.

The paper does not state the robot variant, the number of seeds or episodes. Its return of 1689.9 on run cannot occur
under the benchmark's standard reward, whose maximum is 1000 per episode.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Printed:
    """One cell of the paper's table."""

    episode_return: float
    convergence_steps: int


PRINTED: dict[tuple[str, str], Printed] = {
    ("h1-stand", "dreamer_v3"): Printed(699.3, 5_500_000),
    ("h1-walk", "dreamer_v3"): Printed(428.2, 6_000_000),
    ("h1-run", "dreamer_v3"): Printed(298.5, 6_000_000),
    ("h1-door", "dreamer_v3"): Printed(165.8, 9_000_000),
    ("h1-stand", "tdmpc2"): Printed(749.8, 1_900_000),
    ("h1-walk", "tdmpc2"): Printed(644.2, 1_800_000),
    ("h1-run", "tdmpc2"): Printed(66.1, 2_000_000),
    ("h1-door", "tdmpc2"): Printed(179.8, 2_000_000),
    ("h1-stand", "guided"): Printed(793.4, 800_000),
    ("h1-walk", "guided"): Printed(701.2, 1_400_000),
    ("h1-run", "guided"): Printed(1689.9, 1_900_000),
    ("h1-door", "guided"): Printed(680.0, 1_700_000),
}
