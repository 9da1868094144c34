"""Experts with a memory: they learn what stateless ones cannot, and what they remember ends with the episode."""

import json

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch
from tensordict import TensorDict

from mwl.core import keys
from mwl.core.artifact import MANIFEST, write_artifact
from mwl.core.errors import BadInput, SpecMismatch
from mwl.datasets.demonstrations import Demonstrations
from mwl.experts.cloning.batches import Streams, as_streams
from mwl.experts.cloning.data import DemonstrationData
from mwl.experts.cloning.module import BehaviourCloning
from mwl.experts.library import Expert, ExpertLibrary
from mwl.experts.network import Actor, MemoryPolicyNetwork, network_of
from mwl.experts.spec import ExpertSpec
from mwl.simulation import get_task
from mwl.training.callbacks import RandomState

CARD = {"name": "clap", "description": "clap", "paraphrases": []}
LAYOUT = get_task("h1-walk").layout
EPISODE_STEPS = 24
STILL = torch.nn.functional.one_hot(torch.tensor([3]), LAYOUT.size).float()  # upright at the origin


def observations(count: int) -> torch.Tensor:
    observation = 0.1 * torch.randn(count, LAYOUT.size)
    observation[:, 2:4] += 1
    return observation


def make_expert(name: str, memory: int = 0, command: str | None = None, hidden: tuple[int, ...] = (32, 32)) -> Expert:
    default = {None: (), "velocity": (1.0, 0.0, 0.0)}[command]
    spec = ExpertSpec(name, "h1-walk", command=command, default_command=default, hidden=hidden, memory=memory)
    network = network_of(spec)
    network.fit_normaliser(torch.randn(100, spec.input_size), 0.3 * torch.randn(100, spec.action_size))
    return Expert(spec, network, {"card": {"name": name, "description": name, "paraphrases": []}})


def save(expert: Expert, folder, **changed) -> None:
    checkpoint = {"hyper_parameters": expert.spec.to_plain(), "state_dict": expert.network.state_dict()}
    entries = expert.spec.to_manifest() | changed
    write_artifact(folder, stage="expert", name=expert.spec.name, checkpoint=checkpoint, card={}, **entries)


@pytest.fixture(scope="module")
def alternating(tmp_path_factory) -> str:
    """A demonstrator that always sees the same and takes turns between two actions."""
    count = 30 * EPISODE_STEPS
    turn = 1.0 - 2.0 * (torch.arange(count) % EPISODE_STEPS % 2)
    manifest = {"task": "h1-walk", "demonstrator": "turns", "recording_env_steps": count, "training_env_steps": 0}
    episode = torch.arange(count) // EPISODE_STEPS
    recorded = Demonstrations(STILL.repeat(count, 1), 0.5 * turn.unsqueeze(-1).expand(-1, 19), episode, manifest)
    return str(recorded.save(tmp_path_factory.mktemp("data") / "turns.npz"))


def fit(file: str, memory: int, epochs: int = 4, checkpoint=None, callbacks=()) -> tuple[BehaviourCloning, pl.Trainer]:
    pl.seed_everything(0)
    module = BehaviourCloning("clap", "h1-walk", CARD, hidden=[16, 16], memory=memory, lr=1e-2, evaluation_episodes=0)
    data = DemonstrationData([file], batch_size=128, batches_per_epoch=50, sequence=8)
    trainer = quiet_trainer.fit(module, data, epochs, [RandomState(), *callbacks], checkpoint)
    return module, trainer


def test_only_an_expert_with_memory_learns_to_take_turns(alternating, tmp_path):
    # the loss is in units of the labels' variance: who cannot tell the turns apart does no better than their mean, 1
    _, stateless = fit(alternating, memory=0)
    assert stateless.callback_metrics["val/loss"] > 0.95
    module, stateful = fit(alternating, memory=8)
    assert stateful.callback_metrics["val/loss"] < 0.05
    entries = module.artifact()
    assert entries["memory"] == 8
    write_artifact(tmp_path / "clap", **entries)
    expert = Expert.load(tmp_path / "clap")
    actor = Actor(expert.network)
    with torch.no_grad():
        actions = [actor(expert.spec.featurise(STILL, LAYOUT)).mean() for _ in range(20)]
    expected = 0.5 * (1.0 - 2.0 * (torch.arange(20.0) % 2))
    assert (torch.stack(actions) - expected).abs().max() < 0.1


def test_an_interrupted_fit_goes_on(alternating, tmp_path):
    _, trainer = fit(alternating, memory=4, epochs=1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    module, resumed = fit(alternating, memory=4, epochs=2, checkpoint=tmp_path / "last.ckpt")
    assert resumed.global_step == 100
    again, _ = fit(alternating, memory=4, epochs=2, checkpoint=tmp_path / "last.ckpt")
    for name, weight in module.network.state_dict().items():
        assert torch.equal(weight, again.network.state_dict()[name]), name


class StopAfter(pl.Callback):
    """Saves in the middle of an epoch and ends the learning there, as a kill would."""

    def __init__(self, batches: int, path) -> None:
        self.batches, self.path = batches, path

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == self.batches:
            trainer.save_checkpoint(self.path)
            raise InterruptedError


@pytest.mark.parametrize("stopped_after", [20, 50, 70])
def test_stopped_in_an_epoch_or_at_its_end_it_ends_as_never_stopped(alternating, tmp_path, stopped_after):
    """Two epochs of 50 batches: where the streams were, and what the expert remembers there, is in the checkpoint."""
    whole, _ = fit(alternating, memory=4, epochs=2)
    path = tmp_path / "last.ckpt"
    with pytest.raises(InterruptedError):
        fit(alternating, memory=4, epochs=2, callbacks=[StopAfter(stopped_after, path)])
    resumed, trainer = fit(alternating, memory=4, epochs=2, checkpoint=path)
    assert trainer.global_step == 100
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name]), name


def test_an_expert_of_another_size_is_refused_at_a_resume(alternating, tmp_path):
    _, trainer = fit(alternating, memory=4, epochs=1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(BadInput, match=r"model\.memory is 8, but the checkpoint was made with 4"):
        fit(alternating, memory=8, epochs=2, checkpoint=tmp_path / "last.ckpt")


def test_lanes_read_on_from_batch_to_batch():
    steps = TensorDict({"t": torch.arange(20), keys.IS_INIT: torch.arange(20) % 10 == 0}, batch_size=[20])
    first, second = Streams(steps, length=3, streams=2, count=2)
    assert first.batch_size == (3, 2)
    times = torch.cat([first["t"], second["t"]])
    assert torch.equal((times[1:] - times[:-1]) % 20, torch.ones(5, 2, dtype=torch.int64))
    assert (times[0, 1] - times[0, 0]) % 20 == 10  # evenly spread
    assert first[keys.IS_INIT][0].all()
    begins = torch.cat([first[keys.IS_INIT][1:], second[keys.IS_INIT]])
    assert torch.equal(begins, times[1:] % 10 == 0)
    assert torch.equal(steps[keys.IS_INIT], torch.arange(20) % 10 == 0)  # the data stay as they were


def test_validation_in_lanes_holds_every_step_once():
    steps = TensorDict({"t": torch.arange(12), keys.IS_INIT: torch.arange(12) == 0}, batch_size=[12])
    streams = as_streams(steps, 3)
    assert torch.equal(streams["t"], torch.arange(12).view(3, 4).T)
    assert streams[keys.IS_INIT][0].all()
    assert not streams[keys.IS_INIT][1:].any()


def test_a_sequence_is_its_steps_and_an_episode_begins_with_nothing():
    torch.manual_seed(0)
    network = MemoryPolicyNetwork(5, 3, (8, 8), memory=4)
    features = torch.randn(6, 2, 5, requires_grad=True)
    begins = torch.zeros(6, 2, dtype=torch.bool)
    begins[3, 1] = True
    along, last = network.unroll(features, begins, torch.randn(2, 4))
    again, memory = network.unroll(features[3:, 1:], begins[3:, 1:] * False, network.initial_memory(1))
    torch.testing.assert_close(along[3:, 1:], again)
    torch.testing.assert_close(last[1:], memory)
    along[5].sum().backward()
    assert features.grad is not None
    assert (features.grad[:, 0].abs().sum(dim=-1) > 0).all()  # through time
    assert torch.equal(features.grad[:3, 1], torch.zeros(3, 5))  # but not into the episode before


@pytest.mark.parametrize("stateless", [True, False], ids=["beside stateless ones", "alone"])
def test_a_library_with_memories_equals_single_experts(stateless):
    torch.manual_seed(0)
    experts = [make_expert("b", memory=6, command="velocity"), make_expert("d", memory=3, hidden=(16, 8, 8))]
    if stateless:
        experts = [make_expert("a"), experts[0], make_expert("c", command="velocity"), experts[1]]
    library = ExpertLibrary(experts)
    memory = library.initial_memory(5)
    assert memory.shape == (5, library.memory_size) == (5, 9)
    single = [expert.network.initial_memory(5) for expert in experts]
    for _ in range(3):
        observation, actions = observations(5), []
        for k, expert in enumerate(experts):
            action, single[k] = expert.step(observation, single[k], LAYOUT)
            actions.append(action)
        together, memory = library.step(observation, LAYOUT, memory=memory)
        torch.testing.assert_close(together, torch.stack(actions, dim=1), atol=1e-5, rtol=0)
        torch.testing.assert_close(memory, torch.cat(single, dim=-1), atol=1e-5, rtol=0)
    assert not torch.allclose(library.actions(observation), library.actions(observation, memory=memory))


def test_a_memory_does_what_it_does_alone_in_any_batch():
    library = ExpertLibrary([make_expert("a", memory=6)])
    observation, memory = observations(4), torch.randn(4, 6)
    together, after = library.step(observation, memory=memory)
    alone, own = library.step(observation[2:3], memory=memory[2:3])
    torch.testing.assert_close(together[2:3], alone)
    torch.testing.assert_close(after[2:3], own)


def test_memories_along_recorded_episodes():
    library = ExpertLibrary([make_expert("a", memory=6), make_expert("b")])
    observation, episode = observations(7), torch.tensor([4, 4, 4, 9, 9, 2, 2])
    along = library.memories(observation, episode, LAYOUT)
    memory = library.initial_memory(1)
    for t in range(7):
        if t in (3, 5):
            memory = library.initial_memory(1)
        torch.testing.assert_close(along[t : t + 1], memory)
        memory = library.step(observation[t : t + 1], LAYOUT, memory=memory)[1]


def test_a_memory_that_does_not_fit_is_refused():
    library, expert = ExpertLibrary([make_expert("a", memory=6)]), make_expert("b", memory=4)
    with pytest.raises(SpecMismatch, match=r"\[2, 5\], not \[2, 6\]"):
        library.step(observations(2), memory=torch.zeros(2, 5))
    with pytest.raises(SpecMismatch, match=r"\[1, 4\], not \[2, 4\]"):
        expert.step(observations(2), torch.zeros(1, 4), LAYOUT)
    with pytest.raises(SpecMismatch, match="width"):
        ExpertSpec("a", "h1-walk", memory=-1)
    with pytest.raises(SpecMismatch, match=r"not \[2, 0\]"):
        ExpertLibrary([make_expert("c")]).step(observations(2), memory=torch.zeros(2, 3))


def test_sequences_must_fit_into_a_batch(alternating):
    module = BehaviourCloning("clap", "h1-walk", CARD, memory=4)
    with pytest.raises(BadInput, match="batch_size = 16"):
        DemonstrationData([alternating], batch_size=16).prepare(module.spec)
    DemonstrationData([alternating], batch_size=16).prepare(BehaviourCloning("clap", "h1-walk", CARD).spec)


def test_the_manifest_states_the_memory(tmp_path):
    save(make_expert("a", memory=6), tmp_path / "a")
    assert Expert.load(tmp_path / "a").network.memory_size == 6
    save(make_expert("b", memory=6), tmp_path / "b", memory=5)
    with pytest.raises(SpecMismatch, match="memory 5"):
        Expert.load(tmp_path / "b")
    forgotten = make_expert("c")
    save(Expert(ExpertSpec("c", "h1-walk", hidden=(32, 32), memory=6), forgotten.network, {}), tmp_path / "c")
    with pytest.raises(SpecMismatch, match="lacks weights"):
        Expert.load(tmp_path / "c")


def test_experts_of_before_there_were_memories_load(tmp_path):
    expert = make_expert("a")
    plain = {key: value for key, value in expert.spec.to_plain().items() if key != "memory"}
    entries = {key: value for key, value in expert.spec.to_manifest().items() if key != "memory"}
    checkpoint = {"hyper_parameters": plain, "state_dict": expert.network.state_dict()}
    write_artifact(tmp_path / "a", stage="expert", name="a", checkpoint=checkpoint, card={}, **entries)
    assert "memory" not in json.loads((tmp_path / "a" / MANIFEST).read_text())
    observation = observations(3)
    torch.testing.assert_close(Expert.load(tmp_path / "a").act(observation, LAYOUT), expert.act(observation, LAYOUT))
