"""Watch a policy live in MuJoCo's own viewer, on a machine with a display."""

import os
import sys
import time
from collections.abc import Callable

import mujoco
import torch
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import MissingDependency
from mwl.robot.h1 import CONTROL_DT, build_model
from mwl.simulation.env import HumanoidEnv
from mwl.simulation.task import Task


def watch(env: HumanoidEnv, policy: Callable[[Tensor], Tensor]) -> None:
    """Show environment 0 in real time until the window is closed.

    Args:
        env: an embedded environment.
        policy: actions `[N, A]` of observations `[N, O]`.

    Raises:
        MissingDependency: the machine has no display, or the suite isn't the embedded one.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise MissingDependency("the viewer needs a display; without one, use env.render(...)")
    if not isinstance(env.task, Task):
        raise MissingDependency("the viewer shows the embedded suite only")
    from mujoco import viewer

    model = build_model(env.task, visual=True)
    data = mujoco.MjData(model)
    state = env.reset()
    with viewer.launch_passive(model, data) as window, torch.no_grad():
        while window.is_running():
            started = time.perf_counter()
            _, state = env.step_and_maybe_reset(state.set(keys.ACTION, policy(state[keys.OBSERVATION])))
            data.qpos[:] = env.simulation.qpos[0]
            if model.nmocap:
                data.mocap_pos[0] = env.measurement.goal[0]
            mujoco.mj_forward(model, data)
            window.sync()
            time.sleep(max(0.0, CONTROL_DT - (time.perf_counter() - started)))
