"""Loaders of what stages leave: experts, gates, heads, agents, records and checkpoints."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutations import (
    Rng,
    changed_bytes,
    rewritten,
)
from running import Target
from spoiling import finite, shipped, spoil_artifact, spoil_json

from mwl import baselines
from mwl.baselines.dreamer import DreamerAgent, DreamerNetwork
from mwl.baselines.network import Actor
from mwl.core.artifact import MANIFEST, read_manifest, write_artifact
from mwl.core.checkpoints import load_checkpoint, save_checkpoint
from mwl.evaluation.compare import Row, Standing, read_comparison, to_json
from mwl.evaluation.record import Record
from mwl.evaluation.table import markdown
from mwl.experts.library import Expert, ExpertLibrary
from mwl.selection.context import CONTEXT_SIZE
from mwl.selection.network import Gate, LoadedGate, load_gate
from mwl.semantics import SemanticHead
from mwl.simulation import get_task
from mwl.world_model.agent import load_agent
from mwl.world_model.observation import Observer


def load_expert(folder: Path) -> Expert:
    """An expert that a library can choose by its card."""
    expert = Expert.load(folder)
    assert ExpertLibrary([expert]).cards
    return expert


def sound_expert(expert: Expert) -> None:
    library = ExpertLibrary([expert])
    observation = torch.zeros(2, get_task("h1-walk").layout.size)
    observation[:, 2:4] = 1.0
    action = library.actions(observation)
    assert action.shape == (2, 1, 19)
    finite(action)
    assert action.abs().max() <= 1
    assert isinstance(library.names[0], str)
    json.dumps([library.cards[0].phrases, library.env_steps])


def make_gate(folder: Path) -> None:
    torch.manual_seed(0)
    loaded = LoadedGate(Gate(CONTEXT_SIZE, 8, 16, 4), {"walk": torch.ones(8), "stand": -torch.ones(8)})
    write_artifact(folder / "gate", stage="gate", name="gate", checkpoint=loaded.to_plain(), robot="unitree_h1")


def spoil_gate(rng: Rng, folder: Path) -> None:
    spoil_artifact(rng, folder / "gate")


def sound_gate(loaded: LoadedGate) -> None:
    finite(dict(loaded.gate.state_dict()))
    finite(loaded.card_embeddings)
    assert loaded.gate.sizes["feature_size"] == CONTEXT_SIZE
    if loaded.card_embeddings:
        cards = torch.stack(list(loaded.card_embeddings.values()))
        weights = loaded.gate(torch.zeros(2, CONTEXT_SIZE), cards)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))


def make_head(folder: Path) -> None:
    shipped("semantics", "embedded")(folder)


def sound_head(head: SemanticHead) -> None:
    assert head.names
    weights = head.scores("walk forward")
    assert weights.shape == (len(head.names),)
    finite(weights)
    shares = (weights / head.calibration.temperature).softmax(-1)
    finite(shares)
    assert float(shares.sum()) - 1 < 1e-3
    head.confidence("walk forward")
    finite(head.picture_scores(np.zeros((32, 32, 3), np.uint8)))


def sound_baseline(agent: Any) -> None:
    finite(dict(agent.actor.state_dict()))


def sound_agent(agent: Any) -> None:
    finite(dict(agent.planner.model.state_dict()))


def make_record(folder: Path) -> None:
    (folder / "evaluation.json").write_text(sample_record().to_json())


def sample_record() -> Record:
    """A record with every field filled by its type."""
    from dataclasses import MISSING, fields

    values: dict[str, Any] = {"returns": [1.0, 2.0], "lengths": [10, 12], "episodes": 2, "return_ci95": [0.5, 2.5]}
    samples = {"str": "x", "int": 1, "float": 0.5, "bool": True}
    for item in fields(Record):
        if item.name not in values and item.default is MISSING and item.default_factory is MISSING:
            kind = str(getattr(item.type, "__name__", item.type)).split(" |")[0]
            values[item.name] = samples.get(kind, [0.5, 1.0])
    return Record(**values)


def sound_record(record: Record) -> None:
    finite([record.returns, record.lengths, record.return_mean])
    assert record.episodes == len(record.returns)
    assert isinstance(record.task, str)
    json.dumps(record.printed())


def make_rows(folder: Path) -> None:
    rows = [Row("h1-walk", "guided", "measured", return_iqm=900.0, return_ci95=[800.0, 950.0], run_ids=["a"])]
    agents = [Standing("guided", ["h1-stand", "h1-walk"], 6, 0.9, [0.8, 1.0], 0.1, [0.0, 0.2], 0.5, [0.2, 0.8])]
    (folder / "comparison.json").write_text(json.dumps(to_json(rows, agents)))


def sound_rows(found: tuple[list[Row], list[Standing]]) -> None:
    rows, agents = found
    finite([asdict(entry) for entry in (*rows, *agents)])
    markdown(rows, agents)


def make_checkpoint(folder: Path) -> None:
    save_checkpoint(folder / "x.ckpt", {"state_dict": {"a": torch.zeros(3)}, "epoch": 1, "list": [1, "x", None]})


def _manifest(folder: Path) -> Any:
    return read_manifest(folder, stage="expert", robot="unitree_h1")


def sound_manifest(manifest: Any) -> None:
    assert manifest["files"]
    assert isinstance(manifest["name"], str)
    finite(manifest)


def make_baseline(folder: Path) -> None:
    settings = {"feature_size": 3, "action_size": 1, "hidden": [4, 4], "start_std": None}
    hand_over(baselines.BaselineAgent(Actor(**settings), Observer(None)), settings, folder)


def make_dreamer(folder: Path) -> None:
    settings = {"feature_size": 3, "action_size": 1, "units": 16}
    hand_over(DreamerAgent(DreamerNetwork(**settings), Observer(None)), settings, folder)


def hand_over(agent: baselines.BaselineAgent, settings: dict, folder: Path) -> None:
    entries = {"task": "gym:Pendulum-v1", "robot": None, "observation": {"size": 3}, "action": {"size": 1}}
    made = write_artifact(folder / "made", stage="baseline", name="sac", checkpoint=agent.to_plain(settings), **entries)
    for file in made.iterdir():
        file.rename(folder / file.name)
    made.rmdir()


def make_agent(folder: Path) -> None:
    shipped("agents", "stand")(folder)


ARTIFACTS = [
    Target("expert", shipped("experts", "stand"), spoil_artifact, load_expert, sound_expert),
    Target("expert_with_command", shipped("experts", "walk"), spoil_artifact, load_expert, sound_expert),
    Target("manifest", shipped("experts", "stand"), spoil_json(MANIFEST), _manifest, sound_manifest),
    Target("gate", make_gate, spoil_gate, lambda f: load_gate(f / "gate"), sound_gate),
    Target("head", make_head, spoil_artifact, SemanticHead.load, sound_head),
    Target("agent", make_agent, spoil_artifact, load_agent, sound_agent, 0.5),
    Target("baseline", make_baseline, spoil_artifact, baselines.load_agent, sound_baseline, 0.5),
    Target("dreamer", make_dreamer, spoil_artifact, baselines.load_agent, sound_baseline, 0.5),
    Target("evaluation", make_record, spoil_json("evaluation.json"), Record.read, sound_record),
    Target("comparison", make_rows, spoil_json("comparison.json"), read_comparison, sound_rows),
    Target("checkpoint", make_checkpoint, rewritten(changed_bytes, "x.ckpt"), lambda f: load_checkpoint(f / "x.ckpt"),
           finite),
]  # fmt: skip
