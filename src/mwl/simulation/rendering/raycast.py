"""A small ray caster on `mujoco.mj_multiRay`: pictures without OpenGL, the same on every machine.

Most of a picture is sky and level floor, which need no casting. Rays are cast where the box around a geom is seen, and
toward the sun from where such a box may throw its shadow. In a large picture every fourth pixel of every fourth row
goes first. Where four neighbours show one face in one light, what lies between them is interpolated; where they differ,
and where a thing is narrow, every pixel is drawn.
"""

import functools
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Points = NDArray[np.float64]

_NOTHING = -1  # instead of a geom
_GROUPS = np.array([1, 1, 1, 0, 0, 0], dtype=np.uint8)  # group 3 holds contact shapes, which aren't drawn
_CUTOFF = 60.0  # m
_NEAR = 1e-2  # m, depth from which a point is before a camera
_LEVEL = 1 - 1e-9  # upward part of a level floor's normal
_ROBOT = 1  # body that all scenes begin with
_SUN_DISTANCE = 30.0  # m; far enough for nearly parallel shadows, and a single point, as multi-ray casting needs
_SUN = np.array([0.45, -0.55, 1.0]) / np.linalg.norm([0.45, -0.55, 1.0])  # direction toward the light
_SKY_TOP, _SKY_HORIZON = np.array([0.53, 0.68, 0.85], np.float32), np.array([0.90, 0.93, 0.96], np.float32)
_TILES = np.array([[0.60, 0.64, 0.69], [0.70, 0.73, 0.77]], np.float32)
_TILE_SIZE = 1.0  # m
_FOG_START, _FOG_LENGTH = 6.0, 14.0  # m
_STEP, _LEAST = 4, 256  # pixels between the first ones, in pictures of at least so many each way (heads look at less)
_NARROW = 2  # steps; what is less wide might lie between them
_WAYS = np.array([[1, 1, 0, -1], [0, 1, 1, 1]]) / [1, np.sqrt(2), 1, np.sqrt(2)]  # in which that width is measured
_FACES = 1  # steps of a normal's part within which a surface counts as one face
_GROUND = -2  # label of the floor; the sky has the one below
_HORIZON = 0.012  # upward part of a ray below which the sky's colour changes fast
_SHINES = 0.85  # cosine to the highlight from which it can be seen
_CORNERS = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), axis=-1).reshape(8, 3)


class RayCaster:
    """Draws a model's visible geoms with one sun, its shadows, a chequered floor and a sky.

    Args:
        model: what to draw.
        width, height: size of the picture in pixels.
        step: pixels between those that are drawn first, 1 for every one; None takes 4 in large pictures.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int, step: int | None = None) -> None:
        self._model, self._width, self._height = model, width, height
        self._colour, self._gloss = model.geom_rgba[:, :3].astype(np.float32), np.zeros(model.ngeom, np.float32)
        has_material = model.geom_matid >= 0
        self._colour[has_material] = model.mat_rgba[model.geom_matid[has_material], :3]
        self._gloss[has_material] = model.mat_specular[model.geom_matid[has_material]]
        self._is_plane = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        drawn = _GROUPS[model.geom_group] > 0
        self._things, planes = np.flatnonzero(drawn & ~self._is_plane), np.flatnonzero(drawn & self._is_plane)
        endless = len(planes) == 1 and not model.geom_size[planes[0], :2].any()
        self._floor = int(planes[0]) if endless else _NOTHING
        self._step = step or (_STEP if min(width, height) >= _LEAST else 1)
        self._grid = (height, width)
        if self._step > 1:  # up to the first pixels behind the last ones
            self._grid = -(-height // self._step) * self._step + 1, -(-width // self._step) * self._step + 1

    def render(self, data: mujoco.MjData, camera: str) -> NDArray[np.uint8]:
        """Picture `[H, W, 3]` through a named camera."""
        index = self._model.camera(camera).id
        origin, axes = data.cam_xpos[index].copy(), data.cam_xmat[index].reshape(3, 3)
        local, scale = _directions(*self._grid, self._width, self._height, float(self._model.cam_fovy[index]))
        corners = self._corners(data)

        def covered(corners: Points, widest: float = np.inf) -> NDArray[np.bool_]:
            return self._covered((corners - origin) @ axes, scale, widest)

        floor = self._floor if self._floor >= 0 and data.geom_xmat[self._floor, 8] > _LEVEL else _NOTHING
        things = covered(corners) if floor >= 0 else np.ones(len(local), bool)
        shadows = things if floor < 0 else covered(_shadows(corners, self._sun(data), float(data.geom_xpos[floor, 2])))

        def drawn(pixels: NDArray[np.integer]) -> tuple[Array, Array]:
            rays = local[pixels] @ axes.T.astype(np.float32)
            return self._drawn(data, floor, origin, rays, things[pixels], shadows[pixels])

        every = np.arange(len(local)).reshape(self._grid)
        if self._step == 1:
            picture = drawn(every.ravel())[0].reshape(*self._grid, 3)
        else:
            first = every[:: self._step, :: self._step]
            colour, label = (found.reshape(*first.shape, -1) for found in drawn(first.ravel()))
            narrow = covered(corners, _NARROW * self._step)
            around = np.stack([label[:-1, :-1], label[1:, :-1], label[:-1, 1:], label[1:, 1:]])
            rough = self._filled((around != around[0]).any(axis=(0, 3)))
            things &= self._filled((around[..., 0] > _GROUND).any(axis=0)) | narrow  # or all is ground and sky
            shadows &= self._filled((around[..., 4] == 0).any(axis=0)) | narrow
            picture, wanted = _between(colour, self._step), (rough | narrow).reshape(self._grid)[:-1, :-1]
            picture[wanted] = drawn(every[:-1, :-1][wanted])[0]
            picture = picture[: self._height, : self._width]
        np.clip(picture, 0, 1, out=picture)
        picture *= 255
        return picture.astype(np.uint8)

    def _drawn(
        self,
        data: mujoco.MjData,
        floor: int,
        origin: Points,
        rays: Array,
        things: NDArray[np.bool_],
        shadows: NDArray[np.bool_],
    ) -> tuple[Array, Array]:
        """Colours `[M, 3]` of rays, and what tells one face in one light from another `[M, 5]`.

        Args:
            data: the scene.
            floor: geom of the level floor, -1 for none.
            origin: where the rays come from.
            rays: `[M, 3]`.
            things: `[M]` where anything but the floor may be seen.
            shadows: `[M]` where the floor may be in shadow.
        """
        cast = np.flatnonzero(things)
        geom, distance, normal = self._cast(data, origin, rays[cast])
        hit = (geom >= 0) & (geom != floor)
        cast = cast[hit]
        picture, label = self._sky(rays), np.zeros((len(rays), 5), np.float32)
        near = np.abs(rays[:, 2]) < _HORIZON  # where each pixel has a colour of its own
        label[:, 0], label[near, 1] = _GROUND - 1, np.arange(np.count_nonzero(near))
        if floor >= 0:
            drop = float(data.geom_xpos[floor, 2]) - origin[2]
            seen = rays[:, 2] * (_FOG_START + _FOG_LENGTH) < min(drop, 0)  # farther on all is haze
            seen[cast] = False
            ground = np.flatnonzero(seen)
            shadowed = np.flatnonzero(shadows[ground])
            picture[ground], label[ground] = self._ground(data, floor, drop, origin, rays[ground], shadowed)
        picture[cast], label[cast] = self._shade(data, geom[hit], distance[hit], normal[hit], origin, rays[cast])
        return picture, label

    def _filled(self, squares: Any) -> NDArray[np.bool_]:
        """Pixels `[H * W]` of squares between the first ones."""
        filled = np.zeros(self._grid, bool)
        filled[:-1, :-1] = squares.repeat(self._step, axis=0).repeat(self._step, axis=1)
        return filled.ravel()

    def _corners(self, data: mujoco.MjData) -> Points:
        """Corners `[G, 8, 3]` of the boxes around the geoms that are no planes, in the world frame."""
        box, turned = self._model.geom_aabb[self._things], data.geom_xmat[self._things].reshape(-1, 3, 3)
        local = box[:, None, :3] + _CORNERS * box[:, None, 3:]
        corners: Points = data.geom_xpos[self._things, None] + local @ turned.transpose(0, 2, 1)
        return corners

    def _covered(self, corners: Points, scale: float, widest: float = np.inf) -> NDArray[np.bool_]:
        """Pixels `[H * W]` in which convex things may be seen, by their corners `[G, 8, 3]` in the camera's frame."""
        seen, size = np.zeros(self._grid, bool), np.array([self._height, self._width])
        corners = _before(corners[(corners[..., 2] < -_NEAR).any(axis=1)])
        places = scale * corners[..., 1::-1] * [-1, 1] / -corners[..., 2:] + size / 2  # row, column
        places = places[np.ptp(places @ _WAYS, axis=1).min(axis=1) < widest]
        bounds = (
            np.stack([places.min(axis=1) - 1, places.max(axis=1) + 1], axis=1).clip(0, self._grid).round().astype(int)
        )
        for (top, left), (bottom, right) in bounds:
            seen[top:bottom, left:right] = True
        return seen.ravel()

    def _cast(
        self, data: mujoco.MjData, origin: Points, rays: NDArray[np.floating]
    ) -> tuple[NDArray[np.int32], Points, Points]:
        """First hits of unit rays from one point: geom (-1 for none), distance in m, surface normal."""
        count = len(rays)
        geom, distance, normal = np.empty(count, dtype=np.int32), np.empty(count), np.empty(3 * count)
        toward = rays.astype(np.float64).ravel()
        if count:
            mujoco.mj_multiRay(
                self._model, data, origin, toward, _GROUPS, True, -1, geom, distance, normal, count, _CUTOFF
            )
        return geom, distance, normal.reshape(count, 3)

    def _ground(
        self, data: mujoco.MjData, floor: int, drop: float, origin: Points, rays: Array, shadowed: NDArray[np.int64]
    ) -> tuple[Array, Array]:
        """Colours `[M, 3]` and labels `[M, 5]` of the level floor `drop` m above the camera, in shadow perhaps where
        `shadowed` says."""
        distance = np.float32(drop) / rays[:, 2]
        x, y = (np.float32(origin[axis]) + distance * rays[:, axis] for axis in (0, 1))
        lit = np.full(len(rays), _SUN[2], np.float32)
        lit[shadowed] *= ~self._shadowed(data, origin + distance[shadowed, None] * rays[shadowed])
        across, along = np.floor(x / _TILE_SIZE), np.floor(y / _TILE_SIZE)
        colour = _TILES[(across + along).astype(np.int64) % 2] * (0.54 + 0.55 * lit)[:, None]
        toward = rays @ _SUN.astype(np.float32)
        half_way = (np.float32(_SUN[2]) - rays[:, 2]) / np.sqrt(2 - 2 * toward)  # cosine of the normal to half-way
        bright = np.flatnonzero(half_way > _SHINES)
        colour[bright] += (0.5 * self._gloss[floor] * lit[bright] * half_way[bright] ** 40)[:, None]
        label = np.stack([np.full_like(x, _GROUND), across, along, half_way > _SHINES, lit], axis=-1)
        return _hazy(colour, distance), label

    def _shade(
        self,
        data: mujoco.MjData,
        geom: NDArray[np.int32],
        distance: Points,
        normal: Points,
        origin: Points,
        rays: Array,
    ) -> tuple[Array, Array]:
        """Colours `[M, 3]` and labels `[M, 5]` of what rays from a place hit: sky light, sun where not in shadow, a
        highlight."""
        points = origin + distance[:, None] * rays
        colour, planes = self._colour[geom], self._is_plane[geom]
        if planes.any():
            colour[planes] = _TILES[np.floor(points[planes, :2] / _TILE_SIZE).sum(axis=1).astype(np.int64) % 2]
        normal = normal.astype(np.float32)
        lit = np.clip(normal @ _SUN.astype(np.float32), 0, 1)
        facing = np.flatnonzero(lit)
        lit[facing] *= ~self._shadowed(data, points[facing])
        half_way = _SUN.astype(np.float32) - rays
        bright = np.einsum("mi,mi->m", normal, half_way) / np.sqrt(np.einsum("mi,mi->m", half_way, half_way))
        shine = self._gloss[geom] * lit * np.clip(bright, 0, 1) ** 40
        light = 0.42 + 0.12 * normal[:, 2] + 0.55 * lit
        face = np.where(planes[:, None], points, np.round(_FACES * normal))  # a chequered plane is drawn point by point
        label = np.concatenate([geom[:, None], face, lit[:, None] > 0], axis=1)
        return _hazy(colour * light[:, None] + 0.5 * shine[:, None], distance.astype(np.float32)), label

    @staticmethod
    def _sun(data: mujoco.MjData) -> Points:
        return data.xpos[_ROBOT] + _SUN_DISTANCE * _SUN

    def _shadowed(self, data: mujoco.MjData, points: Points) -> NDArray[np.bool_]:
        """Whether something stands between the sun and each point `[M]`."""
        toward = points - self._sun(data)
        distance = np.sqrt(np.einsum("mi,mi->m", toward, toward))
        _, first, _ = self._cast(data, self._sun(data), toward / distance[:, None])
        return (first >= 0) & (first < distance - 5e-3)

    @staticmethod
    def _sky(rays: Array) -> Array:
        picture = np.tile(_SKY_HORIZON, (len(rays), 1))
        up = rays[:, 2] > 0
        height = rays[up, 2:] ** np.float32(0.6)
        picture[up] += height * (_SKY_TOP - _SKY_HORIZON)
        return picture


@functools.lru_cache(maxsize=32)
def _directions(rows: int, columns: int, width: int, height: int, fovy: float) -> tuple[Array, float]:
    """Unit directions `[rows * columns, 3]` of pixels in a camera's frame, row by row from the top left of a picture of
    `width` x `height`, and pixels per unit slope."""
    half = np.tan(np.radians(fovy) / 2)
    across = (2 * (np.arange(columns) + 0.5) / width - 1) * half * width / height
    up = (1 - 2 * (np.arange(rows) + 0.5) / height) * half
    x, y = np.meshgrid(across, up)
    local = np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3)  # a camera looks along its -z axis
    return (local / np.linalg.norm(local, axis=1, keepdims=True)).astype(np.float32), height / 2 / half


def _before(corners: Points) -> Points:
    """Corners `[G, N, 3]` of what is left of boxes when all behind a camera, in its frame, is cut off."""
    first, second = np.triu_indices(corners.shape[1])  # with itself, too: a corner that is kept
    start, step = corners[:, first], corners[:, second] - corners[:, first]
    depth, rise = -start[..., 2:] - _NEAR, -step[..., 2:]
    cuts = (depth >= 0) != (depth + rise >= 0)
    points = start - step * np.divide(depth, rise, where=cuts, out=np.zeros_like(depth))
    kept = cuts | (depth >= 0)
    some: Points = np.take_along_axis(points, kept.argmax(axis=1)[:, None], axis=1)
    return np.where(kept, points, some)


def _shadows(corners: Points, sun: Points, height: float) -> Points:
    """Where corners `[G, 8, 3]` throw their shadows on a level floor."""
    above = np.clip(corners[..., 2:], height, sun[2] - 1.0)
    shadows: Points = sun + (corners - sun) * ((sun[2] - height) / (sun[2] - above))
    shadows[..., 2] = height
    return shadows


def _hazy(colour: NDArray[np.floating], distance: NDArray[np.floating]) -> Array:
    """Colours `[M, 3]` seen through as many m of air."""
    haze = np.clip((distance - _FOG_START) / _FOG_LENGTH, 0, 1)[:, None]
    return (colour + haze * (_SKY_HORIZON - colour)).astype(np.float32, copy=False)


def _between(colour: Array, step: int) -> Array:
    """Colours `[H * step, W * step, 3]` at and between pixels `[H + 1, W + 1, 3]` that are `step` apart."""
    share = (np.arange(step) / step).astype(np.float32)[:, None]
    flat = colour.reshape(len(colour), 1, -1)
    rows = (flat[:-1] + share * np.diff(flat, axis=0)).reshape(-1, colour.shape[1], 1, 3)
    filled: Array = (rows[:, :-1] + share * np.diff(rows, axis=1)).reshape(len(rows), -1, 3)
    return filled
