"""Loaders of motion and recordings, each with sound files to spoil and what makes a result sound."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutations import (
    Rng,
    changed_bytes,
    changed_npz,
    changed_text,
    changed_tree,
    rewritten,
)
from running import Target
from spoiling import copied, finite, spoil_json, spoil_yaml
from walking_bvh import write_bvh

from mwl._places import SHIPPED
from mwl.core.artifact import sha256_of
from mwl.datasets.demonstrations import Demonstrations
from mwl.datasets.exchange import export_demonstrations, import_demonstrations
from mwl.mocap.clips import MotionClip, check_clip
from mwl.mocap.gait_cycle import GaitCycle
from mwl.mocap.readers.joint_names import read_joint_map
from mwl.mocap.readers.read import read_landmarks
from mwl.mocap.robot_clips import read_robot_clip

POSE = np.array([0, 0, 0.98, 1, 0, 0, 0] + [0.0] * 19)


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


MOTIONS = [
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
]  # fmt: skip
