"""The batched physics: N copies of one model, advanced by one control step in one call of `mujoco.rollout`.

All threads are MuJoCo's own: no Python runs per environment in a step, and results do not depend on their number.
"""

import copy
from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco.rollout import Rollout
from numpy.typing import NDArray

from mwl.core.machine import cpu_threads
from mwl.simulation.task import Array

_FULL_PHYSICS = mujoco.mjtState.mjSTATE_FULLPHYSICS


class Simulation:
    """N independent copies of a model, or of models that differ in numbers alone.

    After `step`, `qpos [N, nq]` and `qvel [N, nv]` are the state reached, and `sensordata [N, S]` is what MuJoCo
    measured at the start of the last physics step; `unstable [N]` marks copies whose physics broke and which were put
    back to the model's reference pose. All arrays are float64 and valid until the next call.

    Args:
        model: compiled model; shared, not copied.
        num_envs: N.
        frame_skip: physics steps per control step.
        num_threads: threads that share the work; None takes `OMP_NUM_THREADS`, else one per core that this
            process may use; never more than N.
        models: the model of each copy, of the same sizes; None takes `model` for all.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_envs: int,
        frame_skip: int = 10,
        num_threads: int | None = None,
        models: Sequence[mujoco.MjModel] | None = None,
    ) -> None:
        self.model, self.num_envs, self.frame_skip = model, num_envs, frame_skip
        self.num_threads = min(num_threads or cpu_threads(), num_envs)
        self._pool = Rollout(nthread=self.num_threads if self.num_threads > 1 else 0)
        self._datas = [mujoco.MjData(model) for _ in range(self.num_threads)]
        self._scratch = mujoco.MjData(model)
        # FULLPHYSICS is time, qpos, qvel, then activations and plugin state, which this robot does not have.
        size = mujoco.mj_stateSize(model, _FULL_PHYSICS.value)
        self._qpos, self._qvel = slice(1, 1 + model.nq), slice(1 + model.nq, 1 + model.nq + model.nv)
        self._state = np.zeros((num_envs, size))
        self._state[:, self._qpos] = model.qpos0
        self._warmstart = np.zeros((num_envs, model.nv))
        self._models = [model] * num_envs if models is None else list(models)
        unmeasured = {id(each): _without_sensors(each) for each in self._models}
        self._unmeasured = [unmeasured[id(each)] for each in self._models]
        self._states = np.zeros((num_envs, frame_skip - 1, size))
        self._last_state = np.zeros((num_envs, 1, size))
        self._last_sensors = np.zeros((num_envs, 1, model.nsensordata))
        self.sensordata: Array = np.zeros((num_envs, model.nsensordata))
        self.unstable: NDArray[np.bool_] = np.zeros(num_envs, dtype=bool)

    @property
    def qpos(self) -> Array:
        """Generalised positions `[N, nq]`."""
        return self._state[:, self._qpos]

    @property
    def qvel(self) -> Array:
        """Generalised velocities `[N, nv]`."""
        return self._state[:, self._qvel]

    @property
    def warmstart(self) -> Array:
        """Accelerations `[N, nv]` from which the constraint solver of the next step starts."""
        return self._warmstart

    def reset(self, mask: NDArray[np.bool_], qpos: Array, qvel: Array, warmstart: Array | None = None) -> None:
        """Put the copies marked in `mask [N]` into the given states `[N, nq]`, `[N, nv]` and measure there."""
        self._state[mask, 0] = 0.0
        self._state[mask, self._qpos] = qpos[mask]
        self._state[mask, self._qvel] = qvel[mask]
        self._warmstart[mask] = 0.0 if warmstart is None else warmstart[mask]
        data = self._scratch
        for i in np.flatnonzero(mask):
            mujoco.mj_setState(self._models[i], data, self._state[i], _FULL_PHYSICS)
            data.qacc_warmstart[:] = self._warmstart[i]
            data.ctrl[:] = 0
            mujoco.mj_forward(self._models[i], data)
            self.sensordata[i] = data.sensordata

    def snapshot(self) -> dict[str, Array]:
        """Copies of all that decides how the copies of the model go on."""
        return {"state": self._state.copy(), "warmstart": self._warmstart.copy(), "sensordata": self.sensordata.copy()}

    def restore(self, snapshot: dict[str, Array]) -> None:
        """Go on from what `snapshot` returned."""
        self._state[:] = snapshot["state"]
        self._warmstart[:] = snapshot["warmstart"]
        self.sensordata[:] = snapshot["sensordata"]

    def step(self, ctrl: Array) -> None:
        """Advance all copies by one control step under joint position targets `[N, nu]` in rad."""
        before, timestep = self._state[:, 0].copy(), self.model.opt.timestep
        # Only the last physics step is measured; sensors in all of them would take 5 % of the time.
        if self.frame_skip > 1:
            self._rollout(self._unmeasured, ctrl, self._states)
            self._state[:] = self._states[:, -1]
        self._rollout(self._models, ctrl, self._last_state, self._last_sensors)
        self._state[:] = self._last_state[:, 0]
        self.sensordata[:] = self._last_sensors[:, 0]
        self._mend(np.abs(self._state[:, 0] - before - self.frame_skip * timestep) > timestep / 2)

    def _rollout(self, models: list[mujoco.MjModel], ctrl: Array, states: Array, sensors: Array | None = None) -> None:
        """Advance under `ctrl [N, nu]`, into `states [N, T, .]` and `sensors [N, T, S]` of T physics steps."""
        steps = states.shape[1]
        self._pool.rollout(
            models,
            self._datas,
            self._state,
            np.repeat(ctrl[:, None], steps, axis=1),
            skip_checks=True,
            nstep=steps,
            initial_warmstart=self._warmstart,
            state=states,
            sensordata=sensors,
            chunk_size=1,  # the threads end at nearly the same time
        )
        # The next solve starts from the last acceleration, which MuJoCo does not return; two velocities tell it.
        previous = states[:, -2] if steps > 1 else self._state
        self._warmstart[:] = (states[:, -1, self._qvel] - previous[:, self._qvel]) / self.model.opt.timestep

    def _mend(self, stopped: NDArray[np.bool_]) -> None:
        """Put copies whose physics broke back to the reference pose.

        MuJoCo resets a copy whose state diverges, which shows in its clock; a state that is not finite shows in itself.
        """
        finite = np.isfinite(self._state).all(axis=1) & np.isfinite(self.sensordata).all(axis=1)
        self.unstable = stopped | ~finite
        if self.unstable.any():
            shape = (self.num_envs, 1)
            self.reset(self.unstable, np.tile(self.model.qpos0, shape), np.zeros((self.num_envs, self.model.nv)))


def _without_sensors(model: mujoco.MjModel) -> mujoco.MjModel:
    unmeasured = copy.copy(model)
    unmeasured.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR.value
    return unmeasured
