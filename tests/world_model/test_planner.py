"""The planner on a model whose returns are known."""

import pytest
import torch
from point_mass import ToyGuidance

from mwl.world_model.agent import WorldModelAgent
from mwl.world_model.config import PlannerConfig
from mwl.world_model.network import WorldModel
from mwl.world_model.observation import Observer
from mwl.world_model.planner import GuidanceSwitches, MPPIPlanner, ReferenceActions, _elites, _moments, _scores, shifted

N, A, K, H = 3, 2, 2, 3
TARGET = torch.tensor([0.4, -0.3])


class Known(WorldModel):
    """Reward `1 - |a - target|^2`; nothing else happens, and nothing is worth anything after the horizon."""

    def __init__(self, num_experts: int = 0) -> None:
        torch.manual_seed(0)
        super().__init__(4, A, "0.2M", num_experts, dropout=0.0)
        with torch.no_grad():
            self.termination_head[-1].bias.fill_(-30.0)

    shown: torch.Tensor | None = None
    """Actions `[K, A]` that the experts show everywhere; None: what the untrained head says."""

    def expert_actions(self, latent: torch.Tensor) -> torch.Tensor:
        return super().expert_actions(latent) if self.shown is None else self.shown.expand(*latent.shape[:-1], -1, -1)

    def step(self, latent: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return latent, 1 - (action - TARGET).square().sum(-1)


@pytest.fixture(autouse=True)
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlannerConfig, "min_std", 0.01)


def planner(model: WorldModel, switches: GuidanceSwitches | None = None, **options) -> MPPIPlanner:
    settings = {"samples": 128, "iterations": 6, "elites": 16, "policy_samples": 4, **options}
    return MPPIPlanner(model, PlannerConfig(**settings), H, 0.9, switches=switches)


def latents(model: WorldModel) -> torch.Tensor:
    return model.encode(torch.randn(N, 4, generator=torch.Generator().manual_seed(1))).detach()


def guide(reference: torch.Tensor) -> ReferenceActions:
    experts = torch.stack([reference, -torch.ones(A)]).expand(N, -1, -1)
    return ReferenceActions(reference.expand(N, -1), experts, torch.tensor([1.0, 0.0]).expand(N, -1))


def test_unguided_planner_finds_the_best_action() -> None:
    model = Known()
    torch.manual_seed(0)
    plan = planner(model).plan(latents(model), torch.zeros(H, N, A), None, 2.0, "mean")
    assert (plan.action - TARGET).abs().max() < 0.1


def test_value_is_the_discounted_sum() -> None:
    model = Known()
    actions = TARGET.expand(H, N, 1, A)
    value = planner(model).value(latents(model), actions, torch.tensor([0, 1]), None)
    assert torch.allclose(value, torch.full((N, 1), 1 + 0.9 + 0.81), atol=1e-5)  # untrained Qs are worth 0


def test_an_imagined_fall_ends_the_return() -> None:
    model = Known()
    with torch.no_grad():
        model.termination_head[-1].bias.fill_(30.0)
    value = planner(model).value(latents(model), TARGET.expand(H, N, 1, A), torch.tensor([0, 1]), None)
    assert torch.allclose(value, torch.ones(N, 1), atol=1e-5)  # the first reward was still earned


@pytest.mark.parametrize("reference", [TARGET, torch.tensor([-1.0, 1.0])], ids=["good", "bad"])
def test_expert_candidates_never_worsen_the_plan(reference: torch.Tensor) -> None:
    model = Known(K)
    model.shown = guide(reference).expert_action[0]
    values = {}
    for name, found in (("none", None), ("expert", guide(reference))):
        torch.manual_seed(0)
        switches = GuidanceSwitches(candidates=True, base=False, policy_base=False)
        plan = planner(model, switches).plan(latents(model), torch.zeros(H, N, A), found, 2.0, "mean")
        values[name] = -(plan.action - TARGET).square().sum(-1)
    assert (values["expert"] >= values["none"] - 0.01).all()


def test_small_radius_keeps_to_the_reference_and_full_radius_leaves_a_bad_one() -> None:
    model, bad = Known(K), torch.tensor([0.9, 0.9])
    model.shown = guide(bad).expert_action[0]
    torch.manual_seed(0)
    near = planner(model).plan(latents(model), torch.zeros(H, N, A), guide(bad), 0.02, "mean")
    far = planner(model).plan(latents(model), torch.zeros(H, N, A), guide(bad), 2.0, "mean")
    assert (near.action - bad).abs().max() < 0.2
    assert (far.action - TARGET).abs().max() < 0.15


def test_environments_are_planned_independently() -> None:
    model = Known()
    plans = []
    for other in (0.0, 0.9):
        deviation = torch.zeros(H, N, A)
        deviation[:, 1] = other
        torch.manual_seed(0)
        plans.append(planner(model, iterations=1).plan(latents(model), deviation, None, 2.0, "mean").action)
    assert torch.equal(plans[0][[0, 2]], plans[1][[0, 2]])
    assert not torch.equal(plans[0][1], plans[1][1])


def test_no_candidate_leaves_the_trust_region() -> None:
    model, far = Known(K), torch.tensor([0.9, 0.9])
    with torch.no_grad():
        model.policy_head[-1].bias[:A] = -5.0  # a policy that has gone astray
    model.shown = guide(far).expert_action[0]
    unit = torch.tensor([1.0, 0.1])
    plan = MPPIPlanner(model, PlannerConfig(samples=32, elites=8), H, 0.9, unit, GuidanceSwitches()).plan(
        latents(model), torch.zeros(H, N, A), guide(far), 0.1, "best"
    )
    assert ((plan.action - far).abs() <= 0.2 * unit + 1e-6).all()  # two standard deviations of 0.1 rad


def acting_by_policy(guided: bool, switches: GuidanceSwitches | None = None) -> WorldModelAgent:
    """Its policy is drawn to -1 in the first action, and leaves the second where the reference has it."""
    model = Known(K)
    with torch.no_grad():
        model.policy_head[-1].weight.zero_()
        model.policy_head[-1].bias.copy_(torch.tensor([-5.0, 0.0, 0.0, 0.0]))  # means, then standard deviations
    unit = torch.tensor([0.5, 0.1])
    planned = MPPIPlanner(model, PlannerConfig(), H, 0.9, unit, switches)
    return WorldModelAgent(model, planned, Observer(None), ToyGuidance() if guided else None, 0.2, "policy")  # type: ignore[arg-type]


POSITIONS = torch.tensor([[0.0, 0.1, 0.0, 0.0], [-0.1, -0.2, 0.0, 0.0]])  # the good expert: -3 times the position
REFERENCE = torch.tensor([[0.0, -0.3], [0.3, 0.6]])


def test_acting_by_the_policy_goes_to_the_edge_of_the_trust_region_and_no_further() -> None:
    action = acting_by_policy(guided=True).act(POSITIONS)
    assert torch.allclose(action[:, 0], REFERENCE[:, 0] - 2 * 0.2 * 0.5)  # two standard deviations of 0.2, in units
    assert torch.allclose(action[:, 1], REFERENCE[:, 1])


def test_within_the_trust_region_the_policy_acts_as_it_is() -> None:
    agent = acting_by_policy(guided=True)
    with torch.no_grad():
        agent.model.policy_head[-1].bias.copy_(torch.tensor([0.1, -0.02, 0.0, 0.0]))  # less than 0.2 and 0.04 away
    expected = (REFERENCE.atanh() + torch.tensor([0.1, -0.02])).tanh()
    assert torch.allclose(agent.act(POSITIONS), expected)


@pytest.mark.parametrize(
    ("guided", "switches"), [(False, None), (True, GuidanceSwitches(policy_base=False))], ids=["no experts", "no base"]
)
def test_without_a_base_the_policy_is_confined_to_nothing(guided: bool, switches: GuidanceSwitches | None) -> None:
    action = acting_by_policy(guided, switches).act(POSITIONS)
    assert torch.allclose(action, torch.tensor([-5.0, 0.0]).tanh().expand(2, -1))


def test_update_of_the_distribution_by_hand() -> None:
    # Values 3, 1, 2 and two elites: 3 and 2. At temperature ln 2 their scores are 2/3 and 1/3.
    actions = torch.tensor([0.9, -1.0, 0.3], dtype=torch.float64).view(1, 1, 3, 1)
    elite, value = _elites(actions, torch.tensor([[3.0, 1.0, 2.0]], dtype=torch.float64), 2)
    assert value.tolist() == [[3.0, 2.0]]
    score = _scores(value, float(torch.log(torch.tensor(2.0, dtype=torch.float64))))
    mean, std = _moments(elite, score)
    assert mean.item() == pytest.approx(0.7)  # (2 * 0.9 + 0.3) / 3
    assert std.item() == pytest.approx((2 / 3 * 0.04 + 1 / 3 * 0.16) ** 0.5)


def test_large_values_do_not_overflow_the_scores() -> None:
    score = _scores(torch.tensor([[1e30, 1e30, -1e30]]), 0.5)
    assert score.tolist() == [[0.5, 0.5, 0.0]]


def test_values_that_are_not_finite_are_not_chosen() -> None:
    class Broken(Known):
        def step(self, latent, action):
            z, reward = super().step(latent, action)
            return z, torch.where(action[:, 0] > 0, float("nan"), reward + 5)

    model = Broken()
    torch.manual_seed(0)
    plan = planner(model, policy_samples=0).plan(latents(model), torch.zeros(H, N, A), None, 2.0, "best")
    assert (plan.action[:, 0] <= 0).all()


def test_shifted_plan_ends_in_zero() -> None:
    plan = torch.arange(6.0).view(3, 1, 2)
    assert shifted(plan).tolist() == [[[2.0, 3.0]], [[4.0, 5.0]], [[0.0, 0.0]]]


def test_same_seed_same_plan_bit_for_bit() -> None:
    model = Known(K)
    plans = []
    for _ in range(2):
        torch.manual_seed(7)
        plans.append(planner(model).plan(latents(model), torch.zeros(H, N, A), guide(TARGET), 0.5, "sample", True))
    assert torch.equal(plans[0].action, plans[1].action)
