"""The policy network of one expert: features in, joint position targets out, normalisation inside."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from mwl.errors import SpecMismatch

IGNORED = 1e9  # standard deviation that makes a feature vanish
INPUT_LIMIT = 5.0  # standard deviations; a feature never seen in training cannot push the network further


class PolicyNetwork(nn.Module):
    """Multilayer perceptron with SiLU between the layers; inputs and outputs are standardised by the training data.

    Args:
        input_size: number F of features.
        action_size: number A of actions.
        hidden: widths of the hidden layers.
    """

    input_mean: Tensor
    input_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(self, input_size: int, action_size: int, hidden: tuple[int, ...] = (256, 256)) -> None:
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
        self.input_mean.copy_(features.mean(0))
        self.input_std.copy_(features.std(0).clamp(min=1e-3))
        self.input_std[list(ignored)] = IGNORED
        self.action_mean.copy_(actions.mean(0))
        self.action_std.copy_(actions.std(0).clamp(min=1e-3))

    def standardised(self, features: Tensor) -> Tensor:
        """Action `[N, A]` in standard deviations of the training data, for features `[N, F]`."""
        x = ((features - self.input_mean) / self.input_std).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        for layer in self.layers[:-1]:
            x = nn.functional.silu(layer(x))
        standardised: Tensor = self.layers[-1](x)
        return standardised

    def forward(self, features: Tensor) -> Tensor:
        """Action `[N, A]` in [-1, 1] for features `[N, F]`."""
        return (self.action_mean + self.action_std * self.standardised(features)).clamp(-1, 1)


class StackedPolicies(nn.Module):
    """K policy networks evaluated in one batched call.

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
