"""MetaWorld on Lightning: a humanoid that carries out instructions given in plain words.

The names below load their room on first use, so that `import mwl` itself is immediate:
`make_env`, `register_task`, `ExpertLibrary`, `SemanticHead`, `load_agent`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mwl import _gymnasium, _moved, _torchvision  # noqa: F401  # before anything that imports gymnasium or lightning

if TYPE_CHECKING:
    from mwl.baselines import load_agent
    from mwl.experts.library import ExpertLibrary
    from mwl.semantics import SemanticHead
    from mwl.simulation import make_env, register_task

__version__ = "0.1.0"
__all__ = ["ExpertLibrary", "SemanticHead", "load_agent", "make_env", "register_task"]

_ROOM_OF = {
    "make_env": "mwl.simulation",
    "register_task": "mwl.simulation",
    "ExpertLibrary": "mwl.experts.library",
    "SemanticHead": "mwl.semantics",
    "load_agent": "mwl.baselines",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'mwl' has no attribute {name!r}")
    return getattr(import_module(_ROOM_OF[name]), name)
