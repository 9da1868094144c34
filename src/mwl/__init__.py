"""MetaWorld on Lightning: a humanoid that carries out instructions given in plain words.

The names below load their room on first use, so that `import mwl` itself is immediate.
"""

from typing import TYPE_CHECKING

from mwl import _gymnasium, _moved, _torchvision  # noqa: F401  # before anything that imports gymnasium or lightning
from mwl._lazy import lazy

if TYPE_CHECKING:
    from mwl.app.play import Played, play
    from mwl.evaluation.agents import load_agent, load_policy
    from mwl.experts.library import ExpertLibrary
    from mwl.semantics import SemanticHead
    from mwl.simulation import make_env, register_task

__version__ = "0.1.0"
__all__ = [
    "ExpertLibrary",
    "Played",
    "SemanticHead",
    "load_agent",
    "load_policy",
    "make_env",
    "play",
    "register_task",
]

_ROOM_OF = {
    "ExpertLibrary": "mwl.experts.library",
    "Played": "mwl.app.play",
    "SemanticHead": "mwl.semantics",
    "load_agent": "mwl.evaluation.agents",
    "load_policy": "mwl.evaluation.agents",
    "make_env": "mwl.simulation",
    "play": "mwl.app.play",
    "register_task": "mwl.simulation",
}
__getattr__, __dir__ = lazy(__name__, _ROOM_OF)
