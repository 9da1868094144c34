"""All settings of the world model, grouped by what they steer; each is one configuration value."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from mwl.core.errors import BadInput
from mwl.core.ranges import Between0And1, Count, NonNegative, Positive, Share, ShareBelowOne, Whole
from mwl.selection.config import SelectionConfig


@dataclass(frozen=True)
class NetworkConfig:
    """Size of the networks."""

    size: str = "1M"
    """One of `mwl.world_model.network.SIZES`."""
    num_q: Count | None = 5
    """Q networks, of which two are drawn each time; None takes the size's own number."""
    dropout: ShareBelowOne = 0.01
    """In the first block of every Q network."""
    activation: Literal["mish", "silu"] = "mish"
    """`mish` as in TD-MPC2, or `silu`, a third of the cost on a CPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products; weights, norms and losses stay float32. `bfloat16` pays from 5M up."""
    mean_reward: bool = False
    """Predicted rewards are means over what may happen, see `TwoHot`: else a plan that earns 300 a step sooner or later
    counts 16 twice."""


@dataclass(frozen=True)
class LearningConfig:
    """Losses, optimisers and how often they run."""

    horizon: Count = 3
    """Steps over which the model is unrolled, in learning and in planning."""
    batch_size: Count = 256
    """Sequences per update."""
    updates_per_step: Positive = 1.0
    """Updates per step, at level `skills` per decision, counted over all environments."""
    seed_steps: Whole = 5000
    """Environment steps acted by the experts with noise, or at random without guidance, before planning begins."""
    learning_starts: Whole = 1000
    """Environment steps before the first update."""
    discount: Between0And1 | None = None
    """None derives it from the episode length, see `losses.discount_for`."""
    lr: Positive = 3e-4
    encoder_lr_scale: ClassVar[float] = 0.3  # as TD-MPC2's
    held_share: ShareBelowOne = 0.0
    """Share of the steps that explore by one random action held for `held_steps`; in the seed phase, where no expert
    acts, all of them."""
    held_steps: tuple[Count, Count] = (20, 40)
    """Fewest and most steps for which it is held."""
    entropy_weight: ClassVar[float] = 1e-4  # as TD-MPC2's
    center_values: bool = False
    """Let Q count from the value of earning the seed phase's mean reward forever (reward centring, arXiv 2405.09999).

    Values are then learned from the first update on instead of growing over some thousand, and small differences
    between actions fall where the bins are finest.
    """
    demonstrations: list[str] | None = None
    """Recorded demonstrations with rewards, of which a share of every batch is drawn early on."""
    demonstration_share: ClassVar[float] = 0.5  # half shown, half its own
    demonstration_steps: Whole = 20_000
    """Environment steps after which batches hold own experience alone."""
    trace: Share = 0.0
    """Lambda of the value targets, the weight of what the rest of a slice earned against the next state's value: 0
    as in TD-MPC2, more learns faster and is off-policy."""
    target_rate: Share = 0.01
    """Share by which the target Q networks follow per update."""
    compile: Literal["off", "default"] = "off"
    """Compile the losses by `torch.compile`, up to a minute at the start; needs a C++ compiler."""
    grad_clip: ClassVar[float] = 20.0  # as TD-MPC2's


@dataclass(frozen=True)
class PlannerConfig:
    """Model predictive path integral control in latent space."""

    samples: Count = 512
    """Action sequences per iteration, those of policy and experts included."""
    held: Share = 0.0
    """Share of the sequences drawn that deviate from the mean alike at all steps."""
    iterations: Count = 6
    elites: Count = 64
    policy_samples: Whole = 24
    around_policy: bool = False
    """Without guidance, search within two `max_std` of what the policy prior would do, instead of around the last plan
    alone (cf. PO-MPC, arXiv 2510.04280)."""
    temperature: ClassVar[float] = 0.5  # as TD-MPC2's
    min_std: ClassVar[float] = 0.05  # as TD-MPC2's
    """Smallest standard deviation of unguided search; under guidance the same share of the trust radius."""
    max_std: Positive = 2.0
    interval: Count = 1
    """Plan every so many steps; between, the last plan is followed."""
    acting: Literal["sample", "mean", "best", "policy"] = "sample"
    """What is executed in training: an elite drawn by score (as in TD-MPC2), their mean, the best, or no plan."""
    evaluation: Literal["sample", "mean", "best", "policy"] = "mean"
    """The same in evaluation."""
    compile: Literal["off", "default", "reduce-overhead"] = "off"
    """Compile planning by `torch.compile` in this mode, up to a minute for every N; needs a C++ compiler.
    `reduce-overhead` takes CUDA graphs on a GPU. An agent that is handed over plans without."""

    def __post_init__(self) -> None:
        if self.elites > self.samples:
            raise BadInput(f"planner.elites {self.elites} exceed planner.samples {self.samples}")
        if self.policy_samples >= self.samples:
            raise BadInput("planner.policy_samples must be fewer than planner.samples")


@dataclass(frozen=True)
class GuidanceConfig(SelectionConfig):
    """Where and how much the experts guide; with `enabled: false` what remains is TD-MPC2."""

    enabled: bool = True
    route: list[str] | None = None
    """At level `skills` the reference: legs such as `walk 3` (metres) and `turn 90` (degrees to the left)."""
    route_speed: Positive = 1.4
    """At which it is walked, m/s."""
    planner_candidates: bool = True
    """Expert sequences are candidates of the planner, scored by the model like any other."""
    planner_base: bool = True
    """The planner's distribution is centred on the reference sequence and starts narrow, see `TrustRegion`."""
    policy_base: bool = True
    """The policy prior is centred on the reference action."""
    bootstrap: Literal["policy", "best"] = "policy"
    """Action behind a value target: the policy's, or the better of the policy's and the reference."""
    warm_start: bool = True
    """The seed steps are acted by the experts with noise instead of at random."""
    warm_start_noise: ClassVar[tuple[float, ...]] = (0.0, 0.02, 0.05, 0.1)  # the first stays clean: what experts earn
    """Standard deviations of that noise, rad; environments take turns."""
    lambda_mode: Literal["off", "constant", "decay", "trust"] = "trust"
    """Schedule of lambda * ||a - a_ref||^2 (rad^2) in the policy's loss; `constant` is the paper's."""
    lambda_weight: ClassVar[float] = 3.0  # of values that are scaled to about 1
    lambda_steps: Count = 50_000
    """Environment steps over which `decay` falls to zero."""
    trust_initial: Positive = 0.03
    """The planner's first standard deviation around the reference, rad."""
    trust_growth: ClassVar[float] = 1.15
    """Factor per window in which the plans earned what the experts would have; where not, the radius is halved."""
    trust_window: ClassVar[int] = 25  # half a second
    """Steps per environment after which trust is adjusted."""
    trust_tolerance: NonNegative = 0.02
    """Share of the experts' reward that exploration may cost without losing trust."""
    trust_controls: bool = False
    """The environments that begin without noise go on following the experts, and plans are compared with them; needed
    where reward grows along an episode and the seed phase covers only its beginning. Without experts, and with
    `planner.around_policy`, every other environment acts by the policy prior, and plans have to earn leaving it."""
