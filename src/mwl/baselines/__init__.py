"""Methods to compare with, in any environment: SAC, TQC, PPO and DreamerV3 on the losses of TorchRL."""

from mwl.baselines.agent import BaselineAgent, load_agent
from mwl.baselines.config import DreamerConfig, OffPolicyConfig, PPOConfig

__all__ = ["BaselineAgent", "DreamerConfig", "OffPolicyConfig", "PPOConfig", "load_agent"]
