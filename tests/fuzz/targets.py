"""The loaders of all files that somebody may hand in, each with sound files to spoil and what makes a result sound."""

import contextlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml
from mutations import (
    Rng,
    changed_bytes,
    changed_checkpoint,
    changed_npz,
    changed_text,
    changed_tree,
    json_of,
    rewritten,
)
from running import Target
from walking_bvh import write_bvh

from mwl import baselines
from mwl._places import SHIPPED
from mwl.baselines.dreamer import DreamerAgent, DreamerNetwork
from mwl.baselines.network import Actor
from mwl.core.artifact import MANIFEST, MODEL, read_manifest, sha256_of, write_artifact
from mwl.core.checkpoints import load_checkpoint, save_checkpoint
from mwl.datasets.demonstrations import Demonstrations
from mwl.datasets.exchange import export_demonstrations, import_demonstrations
from mwl.evaluation.compare import Row, Standing, read_comparison, to_json
from mwl.evaluation.record import Record
from mwl.evaluation.table import markdown
from mwl.experts.library import Expert, ExpertLibrary
from mwl.instructions.preview import read_picture
from mwl.mocap.clips import MotionClip, check_clip
from mwl.mocap.gait_cycle import GaitCycle
from mwl.mocap.readers.joint_names import read_joint_map
from mwl.mocap.readers.read import read_landmarks
from mwl.mocap.robot_clips import read_robot_clip
from mwl.pipeline.config import load as load_pipeline
from mwl.selection.context import CONTEXT_SIZE
from mwl.selection.network import Gate, LoadedGate, load_gate
from mwl.semantics import SemanticHead
from mwl.semantics.cards import load_cards
from mwl.semantics.encoders.cache import EmbeddingCache
from mwl.semantics.language.connectors import load_connectors
from mwl.semantics.language.recipes import load_recipes
from mwl.semantics.plan.chat import ChatConfig, ChatPlanner
from mwl.semantics.plan.chat_request import _message
from mwl.semantics.shipped import load_labelled, load_phrases
from mwl.simulation import get_task
from mwl.training.stage_cli import resolved_config
from mwl.world_model.agent import load_agent
from mwl.world_model.observation import Observer

ROOT = SHIPPED
POSE = np.array([0, 0, 0.98, 1, 0, 0, 0] + [0.0] * 19)


def finite(value: Any) -> None:
    """Every number in arrays, tensors, mappings and lists is finite."""
    if isinstance(value, torch.Tensor):
        assert value.isfinite().all()
    elif isinstance(value, np.ndarray):
        assert value.dtype.kind in "iufbU"
        assert value.dtype.kind == "U" or np.isfinite(value).all()
    elif isinstance(value, dict):
        for entry in value.values():
            finite(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            finite(entry)
    elif isinstance(value, float):
        assert np.isfinite(value)


# Motion


def poses(frames: int = 30) -> np.ndarray:
    """`[T, 26]` of the robot gliding forward."""
    qpos = np.tile(POSE, (frames, 1))
    qpos[:, 0] = 0.02 * np.arange(frames)
    qpos[:, 7:] += 0.05 * np.sin(np.arange(frames))[:, None]
    return qpos


def make_clip(folder: Path) -> None:
    MotionClip.from_poses(50.0, poses()).save(folder / "x.npz")


def make_bvh(folder: Path) -> None:
    write_bvh(folder / "x.bvh", seconds=1.0)


def sound_clip(clip: MotionClip) -> None:
    assert 1 <= clip.fps <= 1000
    assert len(clip.qpos) >= 2
    assert clip.qpos.shape[1:] == (26,)
    assert clip.qvel.shape == (len(clip.qpos), 25)
    finite([clip.qpos, clip.qvel])
    np.testing.assert_allclose(np.linalg.norm(clip.qpos[:, 3:7], axis=1), 1, atol=0.11)


def checked_clip(path: Path) -> MotionClip:
    clip = MotionClip.load(path)
    finite(check_clip(clip))
    return clip


def sound_landmarks(landmarks: Any) -> None:
    frames = {track.shape for track in landmarks.positions.values()}
    assert len(frames) == 1
    assert frames.pop()[1:] == (3,)
    assert 0 < landmarks.fps < 10_000
    finite(dict(landmarks.positions))


def make_csv(folder: Path) -> None:
    rows = poses()[:, [0, 1, 2, 4, 5, 6, 3, *range(7, 26)]]
    (folder / "x.csv").write_text("\n".join(",".join(f"{number:.5f}" for number in row) for row in rows))


def changed_csv(rng: Rng, content: bytes) -> bytes:
    return changed_text(rng, content.replace(b",", b" ")).replace(b" ", b",")


def make_amass(folder: Path) -> None:
    rng = np.random.default_rng(0)
    trans = np.stack([np.zeros(40), 0.01 * np.arange(40), np.ones(40)], axis=1)
    poses = 0.1 * rng.standard_normal((40, 156))
    poses[:, :3] = [np.pi / 2, 0, 0]
    np.savez(folder / "x.npz", poses=poses, trans=trans, mocap_framerate=np.float64(30), betas=np.zeros(16))


_BONES = (
    ("femur", "0 -1 0"), ("tibia", "0 -1 0"), ("foot", "0 0 1"), ("hipjoint", "{} -0.3 0"), ("clavicle", "{} 0 0"),
    ("humerus", "{} 0 0"), ("radius", "{} 0 0"), ("wrist", "{} 0 0"),
)  # fmt: skip
_BELOW = (
    "root lhipjoint rhipjoint spine\nlhipjoint lfemur\nrhipjoint rfemur\nlfemur ltibia\nltibia lfoot\nrfemur rtibia\n"
    "rtibia rfoot\nspine lclavicle rclavicle\nlclavicle lhumerus\nrclavicle rhumerus\nlhumerus lradius\n"
    "lradius lwrist\nrhumerus rradius\nrradius rwrist"
)


def make_amc(folder: Path) -> None:
    bones = ["begin\nname spine\ndirection 0 1 0\nlength 9\naxis 0 0 0 XYZ\nend"]
    for side, x in (("l", "1"), ("r", "-1")):
        for name, direction in _BONES:
            dof = "dof rx\n" if name == "tibia" else ""
            bones.append(
                f"begin\nname {side}{name}\ndirection {direction.format(x)}\nlength 7.3\naxis 0 0 0 XYZ\n{dof}end"
            )
    root = "order TX TY TZ RX RY RZ\naxis XYZ\nposition 0 0 0\norientation 0 0 0"
    parts = [":units\nlength 0.45\nangle deg", f":root\n{root}", ":bonedata", *bones]
    text = "\n".join([*parts, f":hierarchy\nbegin\n{_BELOW}\nend\n"])
    (folder / "01.asf").write_text(text)
    lines = [":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(30):
        lines += [str(frame + 1), f"root 0 15.5 {frame / 3:.3f} 0 0 0", f"ltibia {frame}", "rtibia 0"]
    (folder / "01_01.amc").write_text("\n".join(lines) + "\n")


def recording() -> Demonstrations:
    """Two episodes with everything that a recording may hold."""
    generator = torch.Generator().manual_seed(0)
    manifest = {"task": "h1-walk", "demonstrator": "test", "recording_env_steps": 9, "licence": "MIT", "source": "x"}
    manifest |= {"skills": ["run", "walk"], "episodes": 2, "falls": 0, "noise_levels": [0.0, 0.1]}
    return Demonstrations(
        torch.randn(9, 51, generator=generator),
        2 * torch.rand(9, 19, generator=generator) - 1,
        torch.tensor([0] * 5 + [1] * 4),
        manifest,
        command=torch.randn(9, 3, generator=generator),
        executed_action=torch.rand(9, 19, generator=generator),
        reward=torch.rand(9, generator=generator),
        skill=torch.tensor([0] * 5 + [1] * 4),
    )


def make_recording(folder: Path) -> None:
    recording().save(folder / "x.npz")


def spoil_recording(rng: Rng, folder: Path) -> None:
    if rng.random() < 0.6:
        rewritten(changed_npz, "x.npz")(rng, folder)
        if rng.random() < 0.95:
            manifest = json.loads((folder / "x.json").read_text())
            (folder / "x.json").write_text(json.dumps({**manifest, "sha256": sha256_of(folder / "x.npz")}))
        return
    spoil_json("x.json")(rng, folder)


def sound_recording(data: Demonstrations) -> None:
    steps = len(data)
    assert steps > 0
    assert data.observation.shape[0] == steps
    assert data.episode.shape == (steps,)
    assert data.action.abs().max() <= 1.01
    for name in ("command", "executed_action", "reward", "skill"):
        value = getattr(data, name)
        assert value is None or len(value) == steps
        finite(value)
    finite([data.observation, data.action, data.manifest])
    assert isinstance(data.manifest["task"], str)
    json.dumps(data.manifest)


def make_set(format: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        recording().save(folder.with_name("source.npz"), half=False)
        export_demonstrations(folder.with_name("source.npz"), format, folder / "set")

    return make


def spoil_set(rng: Rng, folder: Path) -> None:
    files = sorted(file for file in (folder / "set").rglob("*") if file.is_file())
    file = files[int(rng.integers(0, len(files)))]
    if file.suffix == ".json":
        spoil_json(file.name)(rng, file.parent)
    elif file.suffix == ".parquet" and rng.random() < 0.7:
        _spoil_parquet(rng, file)
    elif file.suffix == ".hdf5" and rng.random() < 0.7:
        _spoil_hdf5(rng, file)
    else:
        file.write_bytes(changed_bytes(rng, file.read_bytes()))


def _spoil_parquet(rng: Rng, file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    name = str(rng.choice(np.array(table.column_names)))
    place = table.column_names.index(name)
    match rng.integers(0, 5):
        case 0:
            table = table.drop_columns([name])
        case 1:
            table = table.take(pa.array(rng.permutation(len(table))))
        case 2:
            table = table.slice(0, int(rng.integers(0, len(table))))
        case _:
            rows = changed_tree(rng, table.column(name).to_pylist())
            with contextlib.suppress(pa.ArrowException, OverflowError, TypeError, UnicodeEncodeError):
                table = table.set_column(place, name, pa.array(rows[: len(table)]))
    with contextlib.suppress(pa.ArrowException):  # of some columns parquet can't be made
        pq.write_table(table, file)


def _spoil_hdf5(rng: Rng, file: Path) -> None:
    import h5py

    with h5py.File(file, "r+") as content:
        names: list[str] = []
        content.visit(names.append)
        name = str(rng.choice(np.array(names)))
        value = content[name]
        array = None if isinstance(value, h5py.Group) or value.dtype.kind not in "iuf" else value[()]
        del content[name]
        if array is not None and rng.random() < 0.8:
            from mutations import changed_array

            changed = changed_array(rng, array)
            content[name] = changed if changed.dtype.kind in "iufbc" else np.zeros(2)


def spoil_json(*names: str) -> Callable[[Rng, Path], None]:
    """Changes entries of a JSON file, or its text."""

    def change(rng: Rng, content: bytes) -> bytes:
        if rng.random() < 0.25:
            return changed_text(rng, content)
        return json_of(changed_tree(rng, json.loads(content)))

    return rewritten(change, *names)


# Hand-overs


def shipped(*parts: str) -> Callable[[Path], None]:
    """A copy of a folder that is shipped."""

    def make(folder: Path) -> None:
        for file in (MODEL, MANIFEST):
            (folder / file).write_bytes(SHIPPED.joinpath("data", *parts, file).read_bytes())

    return make


def spoil_artifact(rng: Rng, folder: Path) -> None:
    """Change the checkpoint, whose sum is then mostly written anew, or the manifest."""
    if rng.random() < 0.25:
        spoil_json(MANIFEST)(rng, folder)
        return
    rewritten(changed_checkpoint, MODEL)(rng, folder)
    if rng.random() < 0.95:
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"] = {MODEL: sha256_of(folder / MODEL)}
        (folder / MANIFEST).write_text(json.dumps(manifest))


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


# Words


def copied(source: Path, name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(source.read_bytes())

    return make


def spoil_yaml(name: str) -> Callable[[Rng, Path], None]:
    """Changes entries of a YAML file, or its text."""

    def change(rng: Rng, content: bytes) -> bytes:
        if rng.random() < 0.5:
            return changed_text(rng, content)
        changed = changed_tree(rng, yaml.safe_load(content))
        with contextlib.suppress(yaml.YAMLError, UnicodeEncodeError, RecursionError):
            return yaml.safe_dump(changed, sort_keys=False).encode()
        return json_of(changed)

    return rewritten(change, name)


def texts(*values: Any) -> None:
    for value in values:
        assert isinstance(value, str)
        assert 0 < len(value) <= 400
        assert value.isprintable()


def sound_cards(cards: Any) -> None:
    assert cards
    for card in cards:
        texts(card.name, *card.phrases)


def sound_recipes(recipes: Any) -> None:
    for recipe in recipes:
        texts(recipe.name, *recipe.phrases, *recipe.needs)
        for step in recipe.steps:
            texts(step.text, *step.skills, step.until)
            assert 0 <= step.steps <= 10**6


def sound_transitions(transitions: Any) -> None:
    for transition in transitions:
        texts(transition.before, transition.after, transition.by)
        assert 1 <= transition.steps <= 10**6


def sound_phrases(bank: Any) -> None:
    texts(*bank["deictic"])
    for part in ("skills", "other"):
        for name, phrases in bank[part].items():
            texts(name, *phrases)


def sound_labelled(labelled: Any) -> None:
    sound_cards(labelled["cards"])
    texts(*labelled["far"], *(text for some in labelled["skills"].values() for text in some))


def sound_pipeline(read: Any) -> None:
    pipeline, stages = read
    assert stages
    assert isinstance(pipeline.max_parallel, int)
    for name, stage in stages.items():
        assert isinstance(name, str)
        for entry in ("task", "agent", "config", "instruction"):
            assert isinstance(getattr(stage, entry, ""), str | None)


def sound_stage(config: dict[str, Any]) -> None:
    assert isinstance(config["model"]["class_path"], str)
    assert isinstance(config["output"], str)


class _Head:
    """A head that has nothing to say."""

    names = ("walk", "stand")
    cards = ()

    def plan(self, text: str, frame: Any = None, before: Any = ()) -> list[Any]:
        return []

    def nearest(self, text: str) -> list[Any]:
        return []


PLAN = json.dumps({"steps": [{"text": "go", "weights": {"walk": 1, "stand": 0.5}, "until": "at_door"}]})


def make_answer(folder: Path) -> None:
    (folder / "x.json").write_text(json.dumps({"choices": [{"message": {"content": f"Here it is: {PLAN}"}}]}))


def spoil_answer(rng: Rng, folder: Path) -> None:
    if rng.random() < 0.3:
        spoil_json("x.json")(rng, folder)
        return
    changed = json_of(changed_tree(rng, json.loads(PLAN))) if rng.random() < 0.6 else changed_text(rng, PLAN.encode())
    text = changed.decode(errors="surrogateescape")
    (folder / "x.json").write_text(json.dumps({"choices": [{"message": {"content": text}}]}))


def planned(folder: Path) -> Any:
    from mwl.core.errors import BadInput

    def ask(*_: Any) -> str:
        return _message((folder / "x.json").read_bytes())

    planner = ChatPlanner(_Head(), ChatConfig("http://localhost", "m", retries=0))  # type: ignore[arg-type]
    with mock.patch("mwl.semantics.plan.chat.ask", ask), mock.patch("mwl.semantics.plan.chat._log"):
        plan = planner.plan("go")
    if planner.planned_by != "chat":
        raise BadInput(planner.fallback)
    return plan


def sound_plan(plan: Any) -> None:
    for clause in plan:
        texts(clause.text, clause.until)
        assert sum(clause.weights.values()) == 1 or abs(sum(clause.weights.values()) - 1) < 1e-6


def make_cache(folder: Path) -> None:
    EmbeddingCache("e", folder).write({f"text {i}": torch.full((8,), i / 8) for i in range(8)})


def spoil_cache(rng: Rng, folder: Path) -> None:
    file = folder / "embeddings.sqlite"
    if rng.random() < 0.5:
        file.write_bytes(changed_bytes(rng, file.read_bytes()))
        return
    value = [None, 3, "text", b"", b"abc", bytes(32), b"\x00\x00\xc0\x7f" * 8, bytes(100_000)][int(rng.integers(0, 8))]
    column = str(rng.choice(np.array(["key", "value", "check_sum"])))
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute(f"UPDATE OR IGNORE embedding SET {column} = ?", (value,))


def read_cache(folder: Path) -> Any:
    found = EmbeddingCache("e", folder).read([f"text {i}" for i in range(8)])
    if len(found) < 8:  # which means that the rest is embedded anew
        from mwl.core.errors import CorruptFile

        finite(dict(found))
        raise CorruptFile("not everything was there")
    return found


def sound_cache(found: Any) -> None:
    for value in found.values():
        assert value.shape == (8,)
    finite(dict(found))


def make_picture(folder: Path) -> None:
    from PIL import Image

    Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)).save(folder / "x.png")


def sound_picture(picture: Any) -> None:
    pixels = np.asarray(picture)
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8
    assert pixels.size < 200_000_000


# Results


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


def make_cycle(folder: Path) -> None:
    copied(SHIPPED / "data" / "motion" / "walk.json", "x.json")(folder)


def sound_cycle(cycle: GaitCycle) -> None:
    finite([cycle.mean, cycle.cosine, cycle.sine, float(cycle.period), float(cycle.speed)])
    assert cycle.period > 0


def make_joint_map(folder: Path) -> None:
    (folder / "x.yaml").write_text("left_hip: LeftUpLeg\nright_hip: RightUpLeg\n")


def sound_joint_map(found: Any) -> None:
    assert found
    for name, joint in found.items():
        assert isinstance(name, str)
        assert isinstance(joint, str)


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


TARGETS = [
    Target("clip", make_clip, rewritten(changed_npz, "x.npz"), lambda f: checked_clip(f / "x.npz"), sound_clip),
    Target("bvh", make_bvh, rewritten(changed_text, "x.bvh"), lambda f: read_landmarks(f / "x.bvh", "bvh"),
           sound_landmarks),
    Target("amc", make_amc, rewritten(changed_text, "01.asf", "01_01.amc"),
           lambda f: read_landmarks(f / "01_01.amc", "amc"), sound_landmarks),
    Target("amass", make_amass, rewritten(changed_npz, "x.npz"), lambda f: read_landmarks(f / "x.npz", "amass"),
           sound_landmarks),
    Target("h1_csv", make_csv, rewritten(changed_csv, "x.csv"), lambda f: read_robot_clip(f / "x.csv"), sound_clip),
    Target("h1_npz", lambda f: np.savez(f / "x.npz", qpos=poses(), fps=30.0), rewritten(changed_npz, "x.npz"),
           lambda f: read_robot_clip(f / "x.npz"), sound_clip),
    Target("gait_cycle", make_cycle, spoil_json("x.json"), lambda f: GaitCycle.load(f / "x.json"), sound_cycle),
    Target("joint_map", make_joint_map, spoil_yaml("x.yaml"), lambda f: read_joint_map(f / "x.yaml"), sound_joint_map),
    Target("recording", make_recording, spoil_recording, lambda f: Demonstrations.load(f / "x.npz"), sound_recording),
    Target("lerobot", make_set("lerobot"), spoil_set, lambda f: import_demonstrations(f / "set", "lerobot"),
           sound_recording, 0.5),
    Target("minari", make_set("minari"), spoil_set, lambda f: import_demonstrations(f / "set", "minari"),
           sound_recording, 0.5),
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
    Target("cards", copied(SHIPPED / "data" / "semantics/cards.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_cards(f / "x.yaml"), sound_cards),
    Target("recipes", copied(SHIPPED / "data" / "semantics/recipes.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_recipes(f / "x.yaml"), sound_recipes),
    Target("transitions", copied(SHIPPED / "data" / "semantics/transitions.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_connectors(f / "x.yaml", ["walk", "slow_down"]), sound_transitions),
    Target("phrases", copied(SHIPPED / "data" / "semantics/phrases.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_phrases(f / "x.yaml"), sound_phrases, 0.3),
    Target("labelled", copied(SHIPPED / "data" / "semantics/development.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_labelled(f / "x.yaml"), sound_labelled, 0.3),
    Target("pipeline", copied(ROOT / "conf/pipelines/grid.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_pipeline(f / "x.yaml"), sound_pipeline, 0.5),
    Target("stage", copied(ROOT / "conf/experts/stand.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: resolved_config(["--config", str(f / "x.yaml")]), sound_stage, 0.05),
    Target("chat", make_answer, spoil_answer, planned, sound_plan),
    Target("embeddings", make_cache, spoil_cache, read_cache, sound_cache),
    Target("picture", make_picture, rewritten(changed_bytes, "x.png"), lambda f: read_picture(f / "x.png"),
           sound_picture),
]  # fmt: skip
