"""Lets the official `humanoid_bench` package, written for MuJoCo 3.1.6, import and run with the versions used here.

Three things break, each mended before or right after the import, all outside the package's own files:

* it imports jax for a weight conversion that no environment uses: a stand-in offers the one function;
* its tables list fields of MuJoCo's structs that newer versions no longer have: they are dropped;
* it asks numpy for arrays `copy=False`, which numpy 2 refuses where a copy is needed: it gets one.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import mujoco
import numpy as np

from mwl.core.errors import MissingDependency

INSTALL = (
    "clone https://github.com/carlosferrazza/humanoid-bench and run `pip install --no-deps -e humanoid-bench "
    "dm_control dm-env imageio` (without its pinned requirements; see docs/guide/simulation.md)"
)


def import_humanoid_bench() -> ModuleType:
    """The module `humanoid_bench.env`, mended.

    Raises:
        MissingDependency: the package or a requirement of it is not installed; the message tells how to install it.
    """
    for package in ("humanoid_bench", "dm_control", "imageio"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(f"the suite humanoid_bench needs {package}, which is not installed: {INSTALL}")
    if "humanoid_bench.env" not in sys.modules:
        _stand_in_for_jax()
        _drop_missing_fields()
        _tolerate_copies()
        del sys.modules["humanoid_bench"]  # the bare one of `_submodule`; the real one registers its ids
        importlib.import_module("humanoid_bench")
    return sys.modules["humanoid_bench.env"]


def _stand_in_for_jax() -> None:
    if importlib.util.find_spec("jax") is not None:
        return
    jax, jax_numpy = ModuleType("jax"), ModuleType("jax.numpy")
    jax_numpy.transpose = np.transpose  # type: ignore[attr-defined]
    jax.numpy = jax_numpy  # type: ignore[attr-defined]
    try:
        sys.modules.update({"jax": jax, "jax.numpy": jax_numpy})
        _submodule("humanoid_bench.mjx.flax_to_torch")
    finally:  # others must not take the stand-in for the real one
        for name in ("jax", "jax.numpy"):
            sys.modules.pop(name, None)


def _drop_missing_fields() -> None:
    tables: dict[str, dict[str, Any]] = _submodule("humanoid_bench.dmc_deps.dmc_sizes").array_sizes
    for struct, present in (("mjmodel", mujoco.MjModel), ("mjdata", mujoco.MjData)):
        for field in [field for field in tables.get(struct, {}) if not hasattr(present, field)]:
            del tables[struct][field]


class _TolerantNumpy:
    """numpy, except that `array(..., copy=False)` copies where it must, as before numpy 2."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def array(value: Any, *args: Any, copy: bool = True, **kwargs: Any) -> np.ndarray:
        """`numpy.array` of numpy 1."""
        return np.array(value, *args, copy=copy or None, **kwargs)


def _tolerate_copies() -> None:
    _submodule("humanoid_bench.dmc_deps.dmc_index").np = _TolerantNumpy()  # type: ignore[attr-defined]


def _submodule(name: str) -> ModuleType:
    """Import a submodule without running the package's `__init__`, which would import everything at once."""
    package = name.partition(".")[0]
    if package not in sys.modules:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        bare = ModuleType(package)
        bare.__path__ = list(spec.submodule_search_locations or [])
        bare.__spec__ = spec
        sys.modules[package] = bare
    return importlib.import_module(name)
