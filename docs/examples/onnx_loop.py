"""Let an exported policy move the robot in MuJoCo; needs mujoco, numpy and onnxruntime, and nothing of this project.

python onnx_loop.py walk.onnx --seconds 10
"""

import argparse
import json

import mujoco
import numpy as np
import onnxruntime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--command", type=float, nargs="+", help="for an expert that takes one: 0.8 0 0")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    session = onnxruntime.InferenceSession(options.file, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    scale, offset = (np.array(json.loads(told[name])) for name in ("action_scale", "action_offset"))
    layout, begin = json.loads(told["observation_layout"]), json.loads(told.get("begin", "{}"))
    generator = np.random.default_rng(options.seed)
    goal = generator.uniform(*json.loads(told["goal_range"]))

    model = mujoco.MjModel.from_xml_string(told["mjcf"])
    data = mujoco.MjData(model)
    data.qpos[:] = json.loads(told["initial_qpos"])
    mujoco.mj_forward(model, data)

    def observation() -> np.ndarray:
        joints, speeds = len(offset) + 7, len(offset) + 6
        parts = {
            "robot_qpos": data.qpos[:joints],
            "robot_qvel": data.qvel[:speeds],
            "left_hand": data.sensor("left_hand_position").data if "left_hand" in layout else None,
            "goal": goal,
            "door_qpos": data.qpos[joints:],
            "door_qvel": data.qvel[speeds:],
        }
        return np.concatenate([parts[name] for name in layout])[None].astype(np.float32)

    inputs = {node.name: node for node in session.get_inputs()}
    command = options.command or (json.loads(told.get("command", "null")) or {}).get("default")
    state = {name: np.array(value, dtype=_dtype(inputs[name])) for name, value in begin.items() if name in inputs}
    if "memory" in inputs and "memory" not in state:
        state["memory"] = np.zeros((1, int(told["memory"])), dtype=np.float32)
    outputs = [node.name for node in session.get_outputs()]
    skip = round(1 / float(told["rate_hz"]) / model.opt.timestep)
    for _ in range(round(options.seconds * float(told["rate_hz"]))):
        feed = {"observation": observation(), **state}
        if "command" in inputs:
            feed["command"] = np.array([command], dtype=np.float32)
        said = dict(zip(outputs, session.run(outputs, feed), strict=True))
        state = {name: said[f"next_{name}"] for name in state}
        data.ctrl[:] = offset + scale * said["action"][0]
        mujoco.mj_step(model, data, skip)
    x, y, z = data.qpos[:3]
    print(f"{options.seconds:g} s: x {x:.2f} m, y {y:.2f} m, pelvis {z:.2f} m high")


def _dtype(node: onnxruntime.NodeArg) -> type:
    return np.int64 if node.type == "tensor(int64)" else np.float32


if __name__ == "__main__":
    main()
