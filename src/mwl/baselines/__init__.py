"""Methods to compare with, in any environment: SAC, TQC and PPO on the losses of TorchRL."""

from mwl.baselines.agent import BaselineAgent, load_agent
from mwl.baselines.config import OffPolicyConfig, PPOConfig

__all__ = ["BaselineAgent", "OffPolicyConfig", "PPOConfig", "load_agent"]
