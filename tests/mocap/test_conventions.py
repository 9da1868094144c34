"""Raw captures are read by what they say of axes, order, unit, rate and names, and asked about where they don't."""

import numpy as np
import pytest
from walking_bvh import BODY, LEG, SPEED, write_bvh

from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.mocap.clips import check_clip
from mwl.mocap.readers.conventions import Conventions
from mwl.mocap.readers.joint_names import landmark_joints, read_joint_map
from mwl.mocap.readers.landmarks import Landmarks
from mwl.mocap.readers.read import read_landmarks
from mwl.mocap.retarget import retarget

SPELLINGS = {
    "z up": {"up": "z"},
    "positions z, x, y": {"moves": "ZXY"},
    "z up, positions y, z, x": {"up": "z", "moves": "YZX"},
    "rotations x, y, z": {"turns": "XYZ"},
    "rotations y, z, x": {"turns": "YZX"},
    "centimetres": {"unit": 0.01},
    "millimetres": {"unit": 0.001, "up": "z"},
    "inches": {"unit": 0.0254},
    "strange unit": {"unit": 0.19},
    "a root above the hips": {"above": True},
    "a root above the hips, z up": {"above": True, "up": "z", "moves": "ZYX"},
    "a rest pose first": {"rest_pose": True},
    "a rest pose first, inches": {"rest_pose": True, "unit": 0.0254},
    "positions everywhere": {"all_move": True},
    "mixamo": {"named": lambda name: f"mixamorig:{name}"},
    "spaces": {"named": lambda name: name.replace("Left", "Left ").replace("Right", "Right ")},
    "umlauts in Latin-1": {"named": lambda name: f"Tänzer_{name}", "encoding": "latin-1"},
    "byte order mark": {"encoding": "utf-8-sig"},
    "UTF-16": {"encoding": "utf-16"},
    "carriage returns": {"newline": "\r"},
    "capitals": {"spelt": str.upper},
}


def mean_way(landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray]:
    """Velocity of the hips in m/s, and unit vectors ahead and up of the body: rows of `[2, 3]`."""
    at = landmarks.positions
    hips, shoulders = (at[f"left_{mark}"] + at[f"right_{mark}"] for mark in ("hip", "shoulder"))
    velocity = (hips[-1] - hips[0]) / 2 * landmarks.fps / (len(hips) - 1)
    up, left = (shoulders - hips).mean(axis=0), (at["left_hip"] - at["right_hip"]).mean(axis=0)
    ahead = np.cross(left, up)
    return velocity, np.stack([ahead / np.linalg.norm(ahead), up / np.linalg.norm(up)])


@pytest.mark.parametrize("spelling", [{}, *SPELLINGS.values()], ids=["plain", *SPELLINGS])
def test_a_walk_is_one_walk_in_every_spelling(spelling, tmp_path):
    landmarks = read_landmarks(write_bvh(tmp_path / "walk.bvh", **spelling), "bvh")
    velocity, (ahead, up) = mean_way(landmarks)
    assert up[2] > 0.99
    unit = 0.85 / LEG if spelling.get("unit") == 0.19 else 1.0  # where no known unit fits, legs are taken as 0.85 m
    np.testing.assert_allclose(velocity, unit * SPEED * ahead, atol=1e-3)
    plain = read_landmarks(write_bvh(tmp_path / "plain.bvh"), "bvh")
    assert (landmarks.fps, len(landmarks.positions["left_hip"])) == (pytest.approx(30.0), 60)
    for mark in ("knee", "ankle", "hip"):  # angles of the arms are about other axes in another order, those of legs not
        np.testing.assert_allclose(
            landmarks.positions[f"left_{mark}"] / unit, plain.positions[f"left_{mark}"], atol=1e-3
        )


@pytest.mark.parametrize("spelling", [{}, {"up": "z", "moves": "ZXY", "above": True, "fps": 120.0, "unit": 0.01}])
def test_the_robot_walks_ahead_as_fast_as_its_legs_are_long(spelling, tmp_path):
    pytest.importorskip("mink")
    clip = retarget(read_landmarks(write_bvh(tmp_path / "walk.bvh", **spelling), "bvh"))
    report = check_clip(clip)
    assert report["plausible"], report["implausible_for"]
    assert report["speed_m_s"] == pytest.approx(SPEED * 0.8 / LEG, rel=0.03)
    assert report["forward_share"] > 0.9
    assert report["seconds"] == pytest.approx(2.0, abs=0.05)
    assert clip.provenance["read_as"]["up"].startswith(spelling.get("up", "y"))


def test_what_does_not_stand_is_asked_for(tmp_path):
    crawling = write_bvh(tmp_path / "crawl.bvh")
    text = crawling.read_text().split("Frame Time")
    rows = text[1].splitlines()
    prone = [" ".join(["0", "0.3", "0", "0", "90", "0", *row.split()[6:]]) for row in rows[1:]]  # pitched by 90 degrees
    crawling.write_text(f"{text[0]}Frame Time{rows[0]}\n" + "\n".join(prone) + "\n")
    with pytest.raises(BadInput, match="--up y or --up z"):
        read_landmarks(crawling, "bvh")
    told = read_landmarks(crawling, "bvh", Conventions(up="y"))
    assert abs(mean_way(told)[1][1, 2]) < 0.1  # lying, as it says
    assert told.read_as["up"] == "y (--up)"


def test_a_rate_that_is_told_overrides_and_is_said(tmp_path):
    path = write_bvh(tmp_path / "walk.bvh", frame_time="33.3")  # milliseconds
    with pytest.raises(CorruptFile, match=r"frame time of 33\.3 s.*--fps"):
        read_landmarks(path, "bvh")
    landmarks = read_landmarks(path, "bvh", Conventions(fps=30.0))
    assert landmarks.fps == 30.0
    assert "--fps; the file says 0.03" in landmarks.read_as["fps"]


@pytest.mark.parametrize("frame_time", ["0", "-0.03", "1e-9", "inf", "nan", "soon"])
def test_rates_that_are_none_are_refused(frame_time, tmp_path):
    with pytest.raises(CorruptFile):
        read_landmarks(write_bvh(tmp_path / "walk.bvh", frame_time=frame_time), "bvh")


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 1e-9])
def test_told_rates_that_are_none_are_refused(fps):
    with pytest.raises(BadInput, match="--fps"):
        Conventions(fps=fps)


def test_clips_that_are_too_short_or_too_long_are_refused(tmp_path):
    with pytest.raises(CorruptFile, match="less than two frames at 50 Hz"):
        read_landmarks(write_bvh(tmp_path / "short.bvh", fps=120.0, seconds=2 / 120), "bvh")
    with pytest.raises(CorruptFile, match="lasts 2399 s"):
        read_landmarks(write_bvh(tmp_path / "long.bvh", seconds=80.0), "bvh", Conventions(fps=1.0))


def test_a_flag_that_means_nothing_is_refused(tmp_path):
    with pytest.raises(BadInput, match="--quaternion"):
        read_landmarks(write_bvh(tmp_path / "walk.bvh"), "bvh", Conventions(quaternion="xyzw"))
    with pytest.raises(BadInput, match="--unit cm"):  # legs of 8 mm
        read_landmarks(write_bvh(tmp_path / "walk.bvh"), "bvh", Conventions(unit="cm"))


@pytest.mark.parametrize(
    "words",
    [
        ("{S}UpLeg", "{S}Leg", "{S}Foot", "{S}Arm", "{S}ForeArm", "{S}Hand"),
        ("mixamorig:{S}UpLeg", "mixamorig:{S}Leg", "mixamorig:{S}Foot", "mixamorig:{S}Arm", "mixamorig:{S}ForeArm",
         "mixamorig:{S}Hand"),
        ("{S}Hip", "{S}Knee", "{S}Ankle", "{S}Shoulder", "{S}Elbow", "{S}Wrist"),
        ("{s}Thigh", "{s}Shin", "{s}Foot", "{s}Shldr", "{s}ForeArm", "{s}Hand"),
        ("{s}ThighBend", "{s}Shin", "{s}Foot", "{s}ShldrBend", "{s}ForearmBend", "{s}Hand"),
        ("UpperLeg_{L}", "LowerLeg_{L}", "Foot_{L}", "UpperArm_{L}", "LowerArm_{L}", "Hand_{L}"),
        ("{L}_Hip", "{L}_Knee", "{L}_Ankle", "{L}_Shoulder", "{L}_Elbow", "{L}_Wrist"),
        ("Bip01 {L} Thigh", "Bip01 {L} Calf", "Bip01 {L} Foot", "Bip01 {L} UpperArm", "Bip01 {L} Forearm",
         "Bip01 {L} Hand"),
        ("{S}UpperLeg", "{S}LowerLeg", "{S}Foot", "{S}UpperArm", "{S}ForeArm", "{S}Hand"),
        ("{s}femur", "{s}tibia", "{s}foot", "{s}humerus", "{s}radius", "{s}wrist"),
    ],
)  # fmt: skip
def test_the_spellings_of_the_common_skeletons(words, tmp_path):
    parents: dict[str, str | None] = {"Hips": None, "LeftEye": "Hips", "RightHandThumb1": "Hips"}
    expected = {}
    for side in ("left", "right"):
        names = [word.format(S=side.title(), s=side[0], L=side[0].upper()) for word in words]
        for limb, marks in ((names[:3], ("hip", "knee", "ankle")), (names[3:], ("shoulder", "elbow", "wrist"))):
            parents.update(zip(limb, ["Hips", *limb[:2]], strict=True))
            expected.update({f"{side}_{mark}": name for mark, name in zip(marks, limb, strict=True)})
    assert landmark_joints(tmp_path, parents) == expected


def test_other_names_are_listed_and_mapped(tmp_path):
    path = write_bvh(tmp_path / "walk.bvh", named=lambda name: f"J{list(BODY).index(name):02d}")
    with pytest.raises(CorruptFile, match=r"left_hip.*it has J00, J01.*--joint-map FILE"):
        read_landmarks(path, "bvh")
    spelt = dict(zip(("hip", "knee", "ankle", "shoulder", "elbow", "wrist"),
                     ("UpLeg", "Leg", "Foot", "Arm", "ForeArm", "Hand"), strict=True))  # fmt: skip
    lines = [
        f"{side.lower()}_{mark}: J{list(BODY).index(side + name):02d}"
        for side in ("Left", "Right")
        for mark, name in spelt.items()
    ]
    (tmp_path / "map.yaml").write_text("\n".join(lines))
    told = Conventions(joint_map=read_joint_map(tmp_path / "map.yaml"))
    velocity, (ahead, _) = mean_way(read_landmarks(path, "bvh", told))
    np.testing.assert_allclose(velocity, SPEED * ahead, atol=1e-3)
    (tmp_path / "map.yaml").write_text("left_hip: Hipp")
    with pytest.raises(BadInput, match="no joint 'Hipp'"):
        read_landmarks(path, "bvh", Conventions(joint_map=read_joint_map(tmp_path / "map.yaml")))
    (tmp_path / "map.yaml").write_text("left_hipp: J01")
    with pytest.raises(BadInput, match="left_hipp"):
        read_joint_map(tmp_path / "map.yaml")


def test_limbs_that_do_not_hang_together_are_refused(tmp_path):
    path = write_bvh(
        tmp_path / "walk.bvh", named=lambda name: {"LeftLeg": "RightLeg", "RightLeg": "LeftLeg"}.get(name, name)
    )
    with pytest.raises(CorruptFile, match="do not hang on each other"):
        read_landmarks(path, "bvh")


ASF = """:units
  length 0.45
  angle {angle}
:root
  order {order}
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
{bones}
:hierarchy
  begin
    root lhipjoint rhipjoint spine
    lhipjoint lfemur
    rhipjoint rfemur
    lfemur ltibia
    ltibia lfoot
    rfemur rtibia
    rtibia rfoot
    spine lclavicle rclavicle
    lclavicle lhumerus
    rclavicle rhumerus
    lhumerus lradius
    lradius lwrist
    rhumerus rradius
    rradius rwrist
  end
"""


def write_amc(folder, *, radians: bool = False, order: str = "TX TY TZ RX RY RZ", rate: str = "", frames: int = 61):
    """A person who glides at 1 m per 60 frames while the left knee bends from 0 to 60 degrees."""
    bones = ["  begin\n name spine\n direction 0 1 0\n length 9\n axis 0 0 0 XYZ\n end"]
    for side, x in (("l", 1), ("r", -1)):
        for name, direction, dof in (
            ("femur", "0 -1 0", ""), ("tibia", "0 -1 0", "dof rx\n"), ("foot", "0 0 1", ""),
            ("hipjoint", f"{x} -0.3 0", ""), ("clavicle", f"{x} 0 0", ""),
            ("humerus", f"{x} 0 0", ""), ("radius", f"{x} 0 0", ""), ("wrist", f"{x} 0 0", ""),
        ):  # fmt: skip
            bones.append(
                f"  begin\n name {side}{name}\n direction {direction}\n length 7.3\n axis 0 0 0 XYZ\n {dof} end"
            )
    text = ASF.format(angle="rad" if radians else "deg", order=order, bones="\n".join(bones))
    (folder / "01.asf").write_text(text)
    lines = [":FULLY-SPECIFIED", ":RADIANS" if radians else ":DEGREES", *([rate] if rate else [])]
    for frame in range(frames):
        numbers = {"TX": 0, "TY": 15.5, "TZ": frame / 60 / 0.0254 * 0.45, "RX": 0, "RY": 0, "RZ": 0}
        bend = frame / 60 * (np.pi / 3 if radians else 60.0)
        lines += [str(frame + 1), "root " + " ".join(str(numbers[name]) for name in order.split())]
        lines += [f"ltibia {bend}", "rtibia 0"]
    (folder / "01_01.amc").write_text("\n".join(lines))
    return folder / "01_01.amc"


@pytest.mark.parametrize("spelling", [{}, {"radians": True}, {"order": "TZ TX TY RZ RY RX"}])
def test_an_amc_is_read_in_its_own_angles_and_order(spelling, tmp_path):
    landmarks = read_landmarks(write_amc(tmp_path, **spelling), "amc", Conventions(fps=60.0))
    velocity, (ahead, up) = mean_way(landmarks)
    assert up[2] > 0.99
    np.testing.assert_allclose(velocity, ahead, atol=1e-6)
    at = {name: track[-1] for name, track in landmarks.positions.items()}
    thigh, shank = at["left_knee"] - at["left_hip"], at["left_ankle"] - at["left_knee"]
    cosine = thigh @ shank / np.linalg.norm(thigh) / np.linalg.norm(shank)
    assert np.degrees(np.arccos(cosine)) == pytest.approx(60.0, abs=0.01)


def test_the_rate_of_an_amc_is_said_assumed_or_told(tmp_path):
    assumed = read_landmarks(write_amc(tmp_path), "amc")
    assert assumed.fps == 120.0
    assert "assumed" in assumed.read_as["fps"]
    assert read_landmarks(tmp_path / "01_01.amc", "amc", Conventions(fps=60.0)).fps == 60.0
    assert read_landmarks(write_amc(tmp_path, rate=":SAMPLES-PER-SECOND 60"), "amc").fps == 60.0
    with pytest.raises(MissingFile, match=r"02\.asf"):
        read_landmarks((tmp_path / "01_01.amc").rename(tmp_path / "02_01.amc"), "amc")


@pytest.mark.parametrize("missing", ["hipjoint", "radius"])
def test_joints_in_one_place_are_refused(missing, tmp_path):
    path = write_amc(tmp_path)
    text = (tmp_path / "01.asf").read_text().split("begin\n")
    flat = [part.replace("length 7.3", "length 0") if f"name l{missing}" in part or f"name r{missing}" in part else part
            for part in text]  # fmt: skip
    (tmp_path / "01.asf").write_text("begin\n".join(flat))
    with pytest.raises(CorruptFile, match="in one place"):
        read_landmarks(path, "amc")


def smpl(folder, *, up: str = "z", unit: float = 1.0, **rate):
    """A person who stands, gliding ahead at 1 m per 60 frames."""
    poses, trans = np.zeros((61, 156)), np.zeros((61, 3))
    if up == "z":
        poses[:, 0] = np.pi / 2
        trans[:, 1], trans[:, 2] = -np.arange(61) / 60, 0.95
    else:
        trans[:, 2], trans[:, 1] = np.arange(61) / 60, 0.95
    np.savez(folder / "smpl.npz", poses=poses, trans=trans / unit, **rate)
    return folder / "smpl.npz"


@pytest.mark.parametrize(
    "rate",
    [
        {"fps": 60}, {"mocap_framerate": 60.0}, {"mocap_frame_rate": 60.0}, {"frequency": [60.0]}, {"dt": 1 / 60},
        {"mocap_time_length": 61 / 60}, {"timestamps": np.arange(61) / 60},
        {"Frame_Rate": 60, "mocap_time_length": 1.0},
    ],
)  # fmt: skip
@pytest.mark.parametrize("up", ["y", "z"])
def test_smpl_archives_say_their_rate_and_stand_along_an_axis(rate, up, tmp_path):
    landmarks = read_landmarks(smpl(tmp_path, up=up, **rate), "amass")
    velocity, (ahead, axis) = mean_way(landmarks)
    assert landmarks.fps == pytest.approx(60.0)
    assert axis[2] > 0.99
    np.testing.assert_allclose(velocity, ahead, atol=1e-6)


def test_smpl_archives_that_leave_something_open_are_asked_about(tmp_path):
    with pytest.raises(BadInput, match="--fps"):
        read_landmarks(smpl(tmp_path), "amass")
    with pytest.raises(CorruptFile, match="contradicts itself"):
        read_landmarks(smpl(tmp_path, fps=30, dt=1 / 60), "amass")
    assert read_landmarks(tmp_path / "smpl.npz", "amass", Conventions(fps=60.0)).fps == 60.0
    with pytest.raises(BadInput, match="--unit cm"):
        read_landmarks(smpl(tmp_path, fps=60, unit=0.01), "amass")
    told = read_landmarks(tmp_path / "smpl.npz", "amass", Conventions(unit="cm"))
    assert np.linalg.norm(mean_way(told)[0]) == pytest.approx(1.0)
    for fps in (1e-9, 0, -30, np.inf, np.nan):
        with pytest.raises(CorruptFile):
            read_landmarks(smpl(tmp_path, fps=fps), "amass")


@pytest.mark.parametrize("name", ["clip.pkl", "clip.joblib", "clip.pt"])
def test_pickles_are_never_run(name, tmp_path):
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch here'\ntR.")
    with pytest.raises(BadInput, match="is a pickle"):
        read_landmarks(tmp_path / name, "amass")
