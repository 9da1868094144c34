"""The guided world model: TD-MPC2 with experts in planner, policy and replay."""

from mwl.world_model.agent import WorldModelAgent, load_agent
from mwl.world_model.config import GuidanceConfig, LearningConfig, NetworkConfig, PlannerConfig
from mwl.world_model.network import WorldModel
from mwl.world_model.planner import MPPIPlanner

__all__ = [
    "GuidanceConfig",
    "LearningConfig",
    "MPPIPlanner",
    "NetworkConfig",
    "PlannerConfig",
    "WorldModel",
    "WorldModelAgent",
    "load_agent",
]
