"""The library: K experts behind one batched call, each checked against its manifest before it may act."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mwl._places import find
from mwl.core.artifact import MANIFEST, is_scratch, read_checkpoint, read_manifest
from mwl.core.checkpoints import load_module
from mwl.core.errors import BadInput, CorruptFile, MissingFile, SpecMismatch
from mwl.core.files import shown
from mwl.core.manifest import Card, Manifest
from mwl.experts import features
from mwl.experts.features import Layout
from mwl.experts.network import PolicyNetwork, StackedPolicies, network_of
from mwl.experts.spec import COMMANDS, ExpertSpec
from mwl.robot.h1 import ROBOT
from mwl.simulation import TASKS, get_task

if TYPE_CHECKING:
    from mwl.semantics.cards import Card

STAGE = "expert"
_LARGEST = 1e6  # of a weight, far above those of any that was fitted and far below where float32 overflows


class Expert:
    """One expert: a policy from benchmark observation (and command) to action; where it has a memory, also from that.

    Args:
        spec: its inputs and outputs.
        network: its policy.
        manifest: entries of its artifact, with `card`, `metrics` and `provenance`.
    """

    def __init__(self, spec: ExpertSpec, network: PolicyNetwork, manifest: Mapping[str, Any]) -> None:
        self.spec, self.network = spec, network.eval()
        self.manifest = Manifest.of(manifest, f"expert {spec.name}")

    def __repr__(self) -> str:
        return f"Expert({self.spec.name!r}, task={self.manifest.task!r})"

    @classmethod
    def load(cls, folder: Path | str) -> "Expert":
        """Load an expert's artifact.

        Raises:
            MissingFile, CorruptFile: the folder is incomplete or differs from its manifest.
            SpecMismatch: made for another robot, feature set or action space than this version's.
        """
        manifest = {"memory": 0, **read_manifest(folder, stage=STAGE, robot=ROBOT)}  # the first ones did not say
        checkpoint = read_checkpoint(folder)
        expert = cls.from_plain({**checkpoint, "manifest": manifest}, shown(Path(folder)))
        for entry, value in expert.spec.to_manifest().items():
            if manifest.get(entry) != value:
                told = shown(manifest.get(entry))
                raise SpecMismatch(f"{shown(Path(folder))}: manifest says {entry} {told}, its network {shown(value)}")
        return expert

    @classmethod
    def from_plain(cls, entries: Mapping[str, Any], where: str) -> "Expert":
        """The expert of which `to_plain` told.

        Raises:
            CorruptFile, SpecMismatch: entries are missing or of a wrong type, or are not of this version.
        """
        missing = [name for name in ("hyper_parameters", "state_dict", "manifest") if name not in entries]
        if missing:
            raise CorruptFile(f"{where}: lacks {', '.join(missing)}; fit the expert again")
        manifest = Manifest.of({"memory": 0, **entries["manifest"]}, where)
        spec = ExpertSpec.from_plain(entries["hyper_parameters"], where)
        network = load_module(lambda: network_of(spec), entries["state_dict"], where)
        if not ((network.input_std > 0).all() and (network.action_std > 0).all()):
            raise SpecMismatch(f"{where}: its normaliser has a spread that is not above 0; fit the expert again")
        if max(float(weight.detach().abs().max()) for weight in network.parameters()) > _LARGEST:
            raise SpecMismatch(
                f"{where}: holds weights beyond {_LARGEST:g}, whose action may not be finite; fit it again"
            )
        return cls(spec, network, manifest)

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain values and tensors, to be read back by `from_plain`."""
        return {
            "hyper_parameters": self.spec.to_plain(),
            "state_dict": self.network.state_dict(),
            "manifest": dict(self.manifest),
        }

    @torch.no_grad()
    def act(self, observation: Tensor, layout: Layout, command: Tensor | None = None) -> Tensor:
        """Actions `[N, A]` in [-1, 1] at observations `[N, O]`, under commands `[N, C]` where it takes one.

        An expert with memory acts as where an episode begins; `step` carries it on.
        """
        result: Tensor = self.network(self.spec.featurise(observation, layout, command))
        return result

    @torch.no_grad()
    def step(
        self, observation: Tensor, memory: Tensor, layout: Layout, command: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Actions `[N, A]` at observations `[N, O]` with memory `[N, M]`, and the memory afterwards.

        Raises:
            SpecMismatch: the memory is not of this expert or not of N environments.
        """
        check_memory(memory, observation.shape[0], self.spec.memory)
        return self.network.step(self.spec.featurise(observation, layout, command), memory)


class ExpertLibrary:
    """K experts evaluated together: those without memory in one batched call, the others one by one beside it.

    Args:
        experts: the experts, of one robot; names must differ.

    Attributes:
        memory_sizes: width of each expert's memory, in the order of K; their memories lie in this order in `[N, M]`.
        stack: the experts without memory in one; None where there are none.
    """

    def __init__(self, experts: Sequence[Expert]) -> None:
        if not experts:
            raise BadInput("an expert library needs at least one expert")
        self.experts = list(experts)
        if len(set(self.names)) != len(self.names):
            raise BadInput(f"expert names must differ: {', '.join(self.names)}")
        self._commanded = [k for k, expert in enumerate(self.experts) if expert.spec.command is not None]
        self.memory_sizes = [expert.spec.memory for expert in self.experts]
        self._columns, size = [], features.EGOCENTRIC_SIZE
        for expert in self.experts:
            own = expert.spec.input_size - features.EGOCENTRIC_SIZE
            self._columns.append(torch.cat([torch.arange(features.EGOCENTRIC_SIZE), torch.arange(size, size + own)]))
            size += own
        self._stateful = [k for k, width in enumerate(self.memory_sizes) if width]
        self._stateless = [k for k, width in enumerate(self.memory_sizes) if not width]
        networks = [self.experts[k].network for k in self._stateless]
        columns = [self._columns[k] for k in self._stateless]
        self.stack = StackedPolicies(networks, columns, size) if networks else None

    def __repr__(self) -> str:
        return f"ExpertLibrary({', '.join(self.names)})"

    @classmethod
    def load(cls, path: Path | str | Sequence[Path | str]) -> "ExpertLibrary":
        """Load a folder of expert folders, a single expert's folder, or a list of them.

        Raises:
            MissingFile: nothing there.
            CorruptFile, SpecMismatch: an expert that does not agree with its manifest or with this version.
        """
        folders = [Path(path)] if isinstance(path, str | Path) else [Path(entry) for entry in path]
        found = [folder for entry in folders for folder in _expert_folders(entry)]
        return cls([Expert.load(folder) for folder in found])

    @property
    def names(self) -> list[str]:
        """Names of the experts, in the order of K."""
        return [expert.spec.name for expert in self.experts]

    @property
    def num_experts(self) -> int:
        """K."""
        return len(self.experts)

    @property
    def memory_size(self) -> int:
        """M, the width of all memories together; 0 if every expert is stateless."""
        return sum(self.memory_sizes)

    @property
    def env_steps(self) -> int:
        """What the experts cost together; a teacher from which several learned counts once."""
        provenances = [expert.manifest.provenance for expert in self.experts]
        trainings: dict[str, int] = {}
        for provenance in provenances:
            told = provenance.training_env_steps or {}
            trainings |= told if isinstance(told, dict) else {"": told}
        return sum(trainings.values()) + sum(p.recording_env_steps or 0 for p in provenances)

    @property
    def cards(self) -> list[Card]:
        """The experts' cards.

        Raises:
            CorruptFile: an expert has none.
        """
        cards = []
        for expert in self.experts:
            if expert.manifest.card is None:
                raise CorruptFile(f"expert {expert.spec.name}: its manifest holds no card; fit the expert again")
            cards.append(expert.manifest.card)
        return cards

    def index(self, name: str) -> int:
        """Position of an expert in K.

        Raises:
            BadInput: no such expert.
        """
        if name not in self.names:
            raise BadInput(f"no expert {name!r} in the library; it has {', '.join(self.names)}")
        return self.names.index(name)

    def initial_memory(self, count: int) -> Tensor:
        """What the experts remember where an episode begins, `[N, M]` with N = `count`."""
        return torch.cat([expert.network.initial_memory(count) for expert in self.experts], dim=-1)

    def actions(
        self,
        observation: Tensor,
        layout: Layout | None = None,
        commands: Mapping[str, Tensor] | None = None,
        memory: Tensor | None = None,
    ) -> Tensor:
        """Actions `[N, K, A]` in [-1, 1] of all experts; see `step`."""
        return self.step(observation, layout, commands, memory)[0]

    @torch.no_grad()
    def step(
        self,
        observation: Tensor,
        layout: Layout | None = None,
        commands: Mapping[str, Tensor] | None = None,
        memory: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Actions `[N, K, A]` in [-1, 1] of all experts, and what they remember `[N, M]` afterwards.

        Args:
            observation: `[N, O]` of a benchmark task.
            layout: where its parts lie; None infers it from O.
            commands: commands `[N, C]` or `[C]` by expert name; an expert without one takes the task's own (a reaching
                expert reads the goal) or else the default declared in its manifest.
            memory: `[N, M]` from the step before; None acts as where an episode begins.

        Raises:
            SpecMismatch: the memory has another shape.
        """
        memory = self.initial_memory(observation.shape[0]) if memory is None else memory
        check_memory(memory, observation.shape[0], self.memory_size)
        layout = layout or infer_layout(observation.shape[-1])
        state = features.egocentric(observation, layout)
        parts = [state]
        for k in self._commanded:
            spec = self.experts[k].spec
            told = None if commands is None else commands.get(spec.name)
            command = spec.resolve_command(observation, layout, told)
            parts.append(COMMANDS[spec.command].featurise(observation, layout, command))  # type: ignore[index]
        shared = torch.cat(parts, dim=-1)
        if not self._stateful:
            return self.stack(shared), memory  # type: ignore[misc]
        return self._mixed(shared, list(memory.split(self.memory_sizes, dim=-1)))

    def memories(self, observation: Tensor, episode: Tensor, layout: Layout | None = None) -> Tensor:
        """What the experts remember before each step of recorded episodes, `[T, M]`.

        Args:
            observation: `[T, O]`, the steps of an episode one after the other.
            episode: `[T]` number of the episode each step belongs to.
            layout: see `step`.
        """
        memory = self.initial_memory(len(observation))
        if not self.memory_size:
            return memory
        index = torch.arange(len(episode))
        begins = torch.cat([torch.ones(1, dtype=torch.bool), episode[1:] != episode[:-1]])
        age = index - torch.where(begins, index, 0).cummax(dim=0).values
        for step in range(1, int(age.max()) + 1):
            now = index[age == step]
            memory[now] = self.step(observation[now - 1], layout, memory=memory[now - 1])[1]
        return memory

    def _mixed(self, shared: Tensor, memories: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Actions and memories where some experts have a memory, from features `[N, F]` and the memories by expert."""
        actions: list[Tensor] = [shared] * self.num_experts
        if self.stack is not None:
            for k, action in zip(self._stateless, self.stack(shared).unbind(dim=1), strict=True):
                actions[k] = action
        for k in self._stateful:
            actions[k], memories[k] = self.experts[k].network.step(shared[:, self._columns[k]], memories[k])
        return torch.stack(actions, dim=1), torch.cat(memories, dim=-1)


def check_memory(memory: Tensor, count: int, size: int) -> None:
    """Refuse a memory that is not `[count, size]`.

    Raises:
        SpecMismatch: it has another shape.
    """
    if memory.shape != (count, size):
        raise SpecMismatch(
            f"memory has shape {list(memory.shape)}, not [{count}, {size}]; begin with initial_memory({count})"
        )


def infer_layout(size: int) -> Layout:
    """Layout of the benchmark observations with `size` numbers; tasks of one size share it.

    Raises:
        SpecMismatch: no task shows that many numbers.
    """
    for name in TASKS:
        layout = get_task(name).layout
        if layout.size == size:
            return layout
    raise SpecMismatch(f"no task shows {size} numbers; pass the layout of the task")


def _expert_folders(path: Path) -> list[Path]:
    path = find(path)
    if path.is_file() or (path / MANIFEST).is_file():  # a file is refused by name when it is read
        return [path]
    found = [file.parent for file in sorted(path.glob(f"*/{MANIFEST}")) if not is_scratch(file.relative_to(path))]
    if not found:
        raise MissingFile(f"{path}: no expert there; fit one with `mwl fit --config conf/experts/<name>.yaml`")
    return found
