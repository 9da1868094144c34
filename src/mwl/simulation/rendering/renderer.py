"""Pictures of the simulation: by a ray caster of our own, or by MuJoCo's OpenGL renderer.

The ray caster is the default: it needs no OpenGL and gives the same pixels on every machine, so that the frames the
semantic layer was trained on look the same everywhere. `MWL_RENDERER=egl` or `osmesa` takes MuJoCo's own renderer, and
so does MuJoCo's own `MUJOCO_GL` where that works.
"""

import functools
import importlib
import os
import subprocess
import sys
from typing import Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from mwl.core.errors import BadInput, MissingDependency
from mwl.core.files import shown
from mwl.simulation.rendering.raycast import RayCaster

Image = NDArray[np.uint8]
_GL_BACKENDS = ("egl", "osmesa")
MAX_SIDE = 4096  # pixels
_SEEN_GROUPS = (1, 1, 1, 0, 0, 0)  # geoms of groups 0 to 2; 3 holds contact shapes


class Renderer(Protocol):
    """Draws a state of one model."""

    def render(self, data: mujoco.MjData, camera: str) -> Image:
        """Picture `[H, W, 3]` through a named camera; the data's positions must be up to date."""
        ...


def chosen_backend() -> str:
    """The backend that `MWL_RENDERER` names, else the OpenGL that `MUJOCO_GL` names where it works, else `raycast`.

    Raises:
        BadInput: `MWL_RENDERER` names no backend.
    """
    if wanted := os.environ.get("MWL_RENDERER", "").strip().lower():
        return _known_backend("MWL_RENDERER", wanted)
    common = os.environ.get("MUJOCO_GL", "").strip().lower()
    return common if common in _GL_BACKENDS and works(common) else "raycast"


def _known_backend(name: str, wanted: str) -> str:
    if wanted not in ("raycast", *_GL_BACKENDS):
        raise BadInput(f"{name} is {shown(wanted)}; it may be raycast, egl or osmesa")
    return wanted


def make_renderer(model: mujoco.MjModel, width: int, height: int, backend: str | None = None) -> Renderer:
    """A renderer for pictures of `width` x `height` pixels; `backend` None takes `chosen_backend`.

    Raises:
        BadInput: a side that is no whole number from 1 to 4096, or an unknown backend.
        MissingDependency: the OpenGL library of that backend cannot be used.
    """
    if not all(isinstance(side, int | np.integer) and 1 <= side <= MAX_SIDE for side in (width, height)):
        raise BadInput(f"a picture of {shown(width)} x {shown(height)} pixels; each side may be 1 to {MAX_SIDE}")
    return _renderer(model, width, height, _known_backend("backend", backend) if backend else chosen_backend())


@functools.lru_cache(maxsize=8)
def _renderer(model: mujoco.MjModel, width: int, height: int, backend: str) -> Renderer:
    return RayCaster(model, width, height) if backend == "raycast" else GLRenderer(model, width, height, backend)


@functools.cache
def works(backend: str) -> bool:
    """Whether an OpenGL context of a backend can be made; tried in a process of its own, as a failure may abort it."""
    code = f"import mujoco.{backend} as gl; context = gl.GLContext(8, 8); context.make_current(); context.free()"
    environment = {**os.environ, "PYOPENGL_PLATFORM": backend, "MUJOCO_GL": backend}
    try:
        trial = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return trial.returncode == 0


class GLRenderer:
    """MuJoCo's own OpenGL renderer, off screen.

    Raises:
        MissingDependency: the OpenGL library of that backend cannot be used.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int, backend: str) -> None:
        # MuJoCo takes the backend of PyOpenGL from the environment when its context module is first imported.
        os.environ.setdefault("PYOPENGL_PLATFORM", backend)
        if not works(backend):
            raise MissingDependency(
                f"rendering with {backend} fails here; install libegl1 or libosmesa6, or set MWL_RENDERER=raycast"
            )
        try:
            module = importlib.import_module(f"mujoco.{backend}")
            self._gl = module.GLContext(width, height)
            self._gl.make_current()
        except Exception as error:  # each backend fails in its own ways
            raise MissingDependency(
                f"rendering with {backend} failed ({error}); install libegl1 or libosmesa6, or set MWL_RENDERER=raycast"
            ) from error
        self._model = model
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        mujoco.mjr_resizeOffscreen(width, height, self._context)
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = _SEEN_GROUPS
        self._option.sitegroup[:] = 0

    def render(self, data: mujoco.MjData, camera: str) -> Image:
        """Picture `[H, W, 3]` through a named camera."""
        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = self._model.camera(camera).id
        self._gl.make_current()
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, view, every, self._scene)
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        pixels = np.empty((self._viewport.height, self._viewport.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._viewport, self._context)
        return np.ascontiguousarray(pixels[::-1])
