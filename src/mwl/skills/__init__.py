"""Skills as actions: which expert acts and what it is told, decided several times a second instead of every 20 ms."""

from mwl.skills.agent import SkillAgent
from mwl.skills.control import SkillControl
from mwl.skills.env import SkillEnv
from mwl.skills.route import Route
from mwl.skills.space import Bridge, Decision, SkillSpace

__all__ = ["Bridge", "Decision", "Route", "SkillAgent", "SkillControl", "SkillEnv", "SkillSpace"]
