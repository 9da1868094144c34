"""The policy network of one expert, with or without memory: features in, joint position targets out."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mwl.core.errors import SpecMismatch
from mwl.core.normaliser import INPUT_LIMIT, mean_and_std, normalise
from mwl.experts.spec import ExpertSpec

IGNORED = 1e9  # standard deviation that makes a feature vanish

_REACHED = 0.999  # quantile of what inputs are widened to


class PolicyNetwork(nn.Module):
    """Multilayer perceptron with SiLU between the layers; inputs and outputs are standardised by the training data.

    Args:
        input_size: number F of features.
        action_size: number A of actions.
        hidden: widths of the hidden layers.
    """

    memory_size = 0  # M
    input_mean: Tensor
    input_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(self, input_size: int, action_size: int, hidden: Sequence[int] = (256, 256)) -> None:
        super().__init__()
        self.register_buffer("input_mean", torch.zeros(input_size))
        self.register_buffer("input_std", torch.ones(input_size))
        self.register_buffer("action_mean", torch.zeros(action_size))
        self.register_buffer("action_std", torch.ones(action_size))
        sizes = (input_size, *hidden, action_size)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def linear(self, index: int) -> nn.Linear:
        """One of its layers, from input to output."""
        layer = self.layers[index]
        assert isinstance(layer, nn.Linear)
        return layer

    @torch.no_grad()
    def fit_normaliser(self, features: Tensor, actions: Tensor, ignored: tuple[int, ...] = ()) -> None:
        """Take mean and spread from training features `[T, F]` and actions `[T, A]`; `ignored` features become zero."""
        own = (self.input_mean, self.input_std, self.action_mean, self.action_std)
        for buffer, found in zip(own, (*mean_and_std(features), *mean_and_std(actions)), strict=True):
            buffer.copy_(found)
        self.input_std[list(ignored)] = IGNORED

    @torch.no_grad()
    def widen(self, features: Tensor) -> None:
        """Let inputs reach as far as these features `[T, F]`, where they were cut off; elsewhere the answers stay."""
        reach = ((features - self.input_mean) / self.input_std).abs().quantile(_REACHED, dim=0)
        factor = (reach / INPUT_LIMIT).clamp(min=1)
        self.input_std.mul_(factor)
        self.linear(0).weight.mul_(factor)

    def normalised(self, features: Tensor) -> Tensor:
        """What its first layer reads of features `[..., F]`."""
        return normalise(features, self.input_mean, self.input_std)

    def standardised(self, features: Tensor) -> Tensor:
        """Action `[N, A]` in standard deviations of the training data, for features `[N, F]`."""
        return self._output(self._first(features))

    def forward(self, features: Tensor) -> Tensor:
        """Action `[N, A]` in [-1, 1] for features `[N, F]`."""
        return self._action(self.standardised(features))

    def initial_memory(self, count: int) -> Tensor:
        """What is remembered where an episode begins, `[N, M]` with N = `count`: nothing, that is zeros."""
        return self.action_mean.new_zeros(count, self.memory_size)

    def step(self, features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Action `[N, A]` in [-1, 1] for features `[N, F]` and memory `[N, M]`, and the memory afterwards."""
        return self(features), memory

    def _first(self, features: Tensor) -> Tensor:
        return nn.functional.silu(self.layers[0](self.normalised(features)))

    def _output(self, x: Tensor) -> Tensor:
        for layer in self.layers[1:-1]:
            x = nn.functional.silu(layer(x))
        standardised: Tensor = self.layers[-1](x)
        return standardised

    def _action(self, standardised: Tensor) -> Tensor:
        return (self.action_mean + self.action_std * standardised).clamp(-1, 1)


class MemoryPolicyNetwork(PolicyNetwork):
    """The same with a GRU beside its first layer; the layers after it read both.

    What the present features tell needs no way through the memory, which is left for what they do not tell: the phase
    of a gait, for example. Without a given memory it acts from the initial one.

    Args:
        input_size: number F of features.
        action_size: number A of actions.
        hidden: widths of the hidden layers.
        memory: width M of the memory.
    """

    def __init__(self, input_size: int, action_size: int, hidden: Sequence[int] = (256, 256), memory: int = 64) -> None:
        super().__init__(input_size, action_size, hidden)
        self.memory_size = memory
        self.cell = nn.GRUCell(hidden[0], memory)
        self.layers[1] = nn.Linear(hidden[0] + memory, self.linear(1).out_features)

    def standardised(self, features: Tensor) -> Tensor:
        """Action `[N, A]` in standard deviations of the training data, for features `[N, F]` of an episode's start."""
        return self._remembering(self._first(features), self.initial_memory(len(features)))[0]

    def step(self, features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Action `[N, A]` in [-1, 1] for features `[N, F]` and memory `[N, M]`, and the memory afterwards."""
        standardised, memory = self._remembering(self._first(features), memory)
        return self._action(standardised), memory

    def unroll(self, features: Tensor, begins: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised actions along sequences, differentiable through time.

        Args:
            features: `[L, B, F]`, time first.
            begins: `[L, B]` bool, where an episode begins and nothing of what was before is remembered.
            memory: `[B, M]` before the first step.

        Returns:
            actions `[L, B, A]` in standard deviations of the training data, and the memory `[B, M]` after them.
        """
        first = self._first(features)
        memories = []
        for x, begin in zip(first, begins, strict=True):
            memory = self.cell(x, memory.masked_fill(begin.unsqueeze(-1), 0.0))
            memories.append(memory)
        return self._output(torch.cat([first, torch.stack(memories)], dim=-1)), memory

    def _remembering(self, first: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.cell(first, memory)
        return self._output(torch.cat([first, memory], dim=-1)), memory


def network_of(spec: ExpertSpec) -> PolicyNetwork:
    """The network that a specification asks for, untrained."""
    if spec.memory:
        return MemoryPolicyNetwork(spec.input_size, spec.action_size, spec.hidden, spec.memory)
    return PolicyNetwork(spec.input_size, spec.action_size, spec.hidden)


class Actor:
    """A policy at work in N environments, from the beginning of an episode: it keeps its memory from call to call.

    Args:
        network: the policy.
    """

    def __init__(self, network: PolicyNetwork) -> None:
        self.network = network
        self._memory: Tensor | None = None

    def __call__(self, features: Tensor) -> Tensor:
        """Action `[N, A]` in [-1, 1] for features `[N, F]` of the next step."""
        memory = self.network.initial_memory(len(features)) if self._memory is None else self._memory
        action, self._memory = self.network.step(features, memory)
        return action


class StackedPolicies(nn.Module):
    """K policy networks without memory evaluated in one batched call.

    The networks may differ in width and in which features they read: narrower ones are padded with zero weights, which
    leaves their outputs unchanged because SiLU maps 0 to 0. They must agree in depth and in the number of actions.

    Args:
        networks: the K networks.
        inputs: for each, the columns `[F_k]` of the shared features that it reads.
        feature_size: number F of shared features.

    Raises:
        SpecMismatch: depths or action sizes differ.
    """

    mean: Tensor
    scale: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(self, networks: list[PolicyNetwork], inputs: list[Tensor], feature_size: int) -> None:
        super().__init__()
        depths = {len(network.layers) for network in networks}
        outputs = {len(network.action_mean) for network in networks}
        if len(depths) != 1 or len(outputs) != 1:
            raise SpecMismatch(f"experts of a library must agree in depth ({depths}) and number of actions ({outputs})")
        count, depth = len(networks), depths.pop()
        widths = [feature_size] + [max(len(n.linear(i).bias) for n in networks) for i in range(depth)]
        mean, scale = torch.zeros(count, feature_size), torch.zeros(count, feature_size)
        weights = [torch.zeros(count, a, b) for a, b in pairwise(widths)]
        biases = [torch.zeros(count, 1, width) for width in widths[1:]]
        for k, (network, columns) in enumerate(zip(networks, inputs, strict=True)):
            mean[k, columns], scale[k, columns] = network.input_mean, 1 / network.input_std
            for i in range(depth):
                layer = network.linear(i)
                rows = columns if i == 0 else torch.arange(layer.in_features)
                weights[i][k, rows, : layer.out_features] = layer.weight.detach().T
                biases[i][k, 0, : layer.out_features] = layer.bias.detach()
        self.register_buffer("mean", mean.unsqueeze(1))
        self.register_buffer("scale", scale.unsqueeze(1))
        self.register_buffer("action_mean", torch.stack([n.action_mean for n in networks]).unsqueeze(1))
        self.register_buffer("action_std", torch.stack([n.action_std for n in networks]).unsqueeze(1))
        self.depth = depth
        for i in range(depth):
            self.register_buffer(f"weight_{i}", weights[i])
            self.register_buffer(f"bias_{i}", biases[i])

    def forward(self, features: Tensor) -> Tensor:
        """Actions `[N, K, A]` in [-1, 1] of every network for shared features `[N, F]`."""
        x = ((features.unsqueeze(0) - self.mean) * self.scale).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        for i in range(self.depth):
            x = torch.baddbmm(getattr(self, f"bias_{i}"), x, getattr(self, f"weight_{i}"))
            if i < self.depth - 1:
                x = nn.functional.silu(x)
        return (self.action_mean + self.action_std * x).clamp(-1, 1).transpose(0, 1)
