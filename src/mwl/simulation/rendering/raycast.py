"""A small ray caster on `mujoco.mj_multiRay`: pictures without OpenGL, the same on every machine."""

import mujoco
import numpy as np
from numpy.typing import NDArray

_GROUPS = np.array([1, 1, 1, 0, 0, 0], dtype=np.uint8)  # group 3 holds contact shapes, which aren't drawn
_CUTOFF = 60.0  # m
_ROBOT = 1  # body that all scenes begin with
_SUN_DISTANCE = 30.0  # m; far enough for nearly parallel shadows, and a single point, as multi-ray casting needs
_SUN = np.array([0.45, -0.55, 1.0]) / np.linalg.norm([0.45, -0.55, 1.0])  # direction toward the light
_SKY_TOP, _SKY_HORIZON = np.array([0.53, 0.68, 0.85]), np.array([0.90, 0.93, 0.96])
_TILES = np.array([[0.60, 0.64, 0.69], [0.70, 0.73, 0.77]])
_TILE_SIZE = 1.0  # m
_FOG_START, _FOG_LENGTH = 6.0, 14.0  # m


class RayCaster:
    """Draws a model's visible geoms with one sun, its shadows, a chequered floor and a sky.

    Args:
        model: what to draw; primitive shapes, as every scene here has.
        width, height: size of the picture in pixels.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        self._model, self._width, self._height = model, width, height
        colour = model.geom_rgba[:, :3].copy()
        has_material = model.geom_matid >= 0
        colour[has_material] = model.mat_rgba[model.geom_matid[has_material], :3]
        self._colour = colour
        gloss = np.zeros(model.ngeom)
        gloss[has_material] = model.mat_specular[model.geom_matid[has_material]]
        self._gloss = gloss
        self._is_floor = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE

    def render(self, data: mujoco.MjData, camera: str) -> NDArray[np.uint8]:
        """Picture `[H, W, 3]` through a named camera."""
        rays = self._rays(data, camera)
        origin = data.cam_xpos[self._model.camera(camera).id].copy()
        geom, distance, normal = self._cast(data, origin, rays)
        picture = self._sky(rays)
        hit = geom >= 0
        points = origin + distance[hit, None] * rays[hit]
        if not hit.any():
            return self._pixels(picture)
        surface = self._shade(data, geom[hit], points, normal[hit], rays[hit])
        haze = np.clip((distance[hit] - _FOG_START) / _FOG_LENGTH, 0, 1)[:, None]
        picture[hit] = (1 - haze) * surface + haze * _SKY_HORIZON
        return self._pixels(picture)

    def _pixels(self, picture: NDArray[np.float64]) -> NDArray[np.uint8]:
        return (np.clip(picture, 0, 1) * 255).astype(np.uint8).reshape(self._height, self._width, 3)

    def _rays(self, data: mujoco.MjData, camera: str) -> NDArray[np.float64]:
        """Unit directions `[H * W, 3]` in the world frame, row by row from the top left."""
        index = self._model.camera(camera).id
        half = np.tan(np.radians(self._model.cam_fovy[index]) / 2)
        across = (2 * (np.arange(self._width) + 0.5) / self._width - 1) * half * self._width / self._height
        up = (1 - 2 * (np.arange(self._height) + 0.5) / self._height) * half
        x, y = np.meshgrid(across, up)
        local = np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3)  # a camera looks along its -z axis
        world = local @ data.cam_xmat[index].reshape(3, 3).T
        return world / np.linalg.norm(world, axis=1, keepdims=True)

    def _cast(
        self, data: mujoco.MjData, origin: NDArray[np.float64], rays: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
        """First hits of unit rays from one point: geom (-1 for none), distance in m, surface normal."""
        count = len(rays)
        geom, distance = np.empty(count, dtype=np.int32), np.empty(count)
        normal = np.empty(3 * count)
        mujoco.mj_multiRay(
            self._model, data, origin, rays.ravel(), _GROUPS, True, -1, geom, distance, normal, count, _CUTOFF
        )
        return geom, distance, normal.reshape(count, 3)

    def _shade(
        self,
        data: mujoco.MjData,
        geom: NDArray[np.int32],
        points: NDArray[np.float64],
        normal: NDArray[np.float64],
        rays: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Colours `[M, 3]` of surface points: sky light, sun where not in shadow, a highlight."""
        colour = self._colour[geom]
        floor = self._is_floor[geom]
        tile = np.floor(points[floor, :2] / _TILE_SIZE).astype(int).sum(axis=1) % 2
        colour[floor] = _TILES[tile]
        facing = np.clip(normal @ _SUN, 0, 1)
        lit = facing * ~self._shadowed(data, points)
        half_way = _SUN - rays
        half_way /= np.linalg.norm(half_way, axis=1, keepdims=True)
        shine = self._gloss[geom] * lit * np.clip((normal * half_way).sum(axis=1), 0, 1) ** 40
        light = 0.42 + 0.12 * normal[:, 2] + 0.55 * lit
        return colour * light[:, None] + 0.5 * shine[:, None]

    def _shadowed(self, data: mujoco.MjData, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether something stands between the sun and each point `[M]`."""
        sun = data.xpos[_ROBOT] + _SUN_DISTANCE * _SUN
        toward = points - sun
        distance = np.linalg.norm(toward, axis=1)
        _, first, _ = self._cast(data, sun, toward / distance[:, None])
        return (first >= 0) & (first < distance - 5e-3)

    @staticmethod
    def _sky(rays: NDArray[np.float64]) -> NDArray[np.float64]:
        height = np.clip(rays[:, 2:], 0, 1) ** 0.6
        return (1 - height) * _SKY_HORIZON + height * _SKY_TOP
