"""Skills as actions: which expert acts and what it is told, decided several times a second instead of every 20 ms."""

from typing import TYPE_CHECKING

from mwl._lazy import lazy

if TYPE_CHECKING:
    from mwl.skills.agent import SkillAgent
    from mwl.skills.control import SkillControl
    from mwl.skills.env import SkillEnv
    from mwl.skills.route import Route
    from mwl.skills.space import Bridge, Decision, SkillSpace

__all__ = ["Bridge", "Decision", "Route", "SkillAgent", "SkillControl", "SkillEnv", "SkillSpace"]

_HOMES = {"SkillAgent": "agent", "SkillControl": "control", "SkillEnv": "env", "Route": "route"}
_HOMES |= dict.fromkeys(("Bridge", "Decision", "SkillSpace"), "space")
__getattr__, __dir__ = lazy(__name__, {name: f"mwl.skills.{home}" for name, home in _HOMES.items()})
