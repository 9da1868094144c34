"""Training steps seen in a mirror: a robot whose left and right are alike acts there as it does here."""

import torch
from tensordict import TensorDict
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.experts.features import EGOCENTRIC_SIZE, HEADING
from mwl.experts.spec import ExpertSpec
from mwl.robot.joint_mirror import AXIAL_SIGN, POLAR_SIGN, joint_mirror, mirror_joints

COMMAND_SIGNS = {
    None: (),
    "arm": (-1.0,),
    "velocity": (1.0, -1.0, -1.0),
    "velocity_over_ground": (1.0, -1.0, -1.0, 1.0),
}
"""Signs of mirrored command features by kind of command; a kind that is not here has a side (a hand, a hinge)."""


def mirrored(steps: TensorDict, spec: ExpertSpec) -> TensorDict:
    """Training steps `[T]` of an expert, reflected in the plane that parts the body's left from its right.

    Raises:
        BadInput: the expert's command has a side.
    """
    index, sign = _feature_mirror(spec)
    return steps.clone(recurse=False).update(
        {keys.FEATURES: steps[keys.FEATURES][..., index] * sign, keys.ACTION: mirror_joints(steps[keys.ACTION])}
    )


def with_mirror_images(steps: TensorDict, spec: ExpertSpec) -> TensorDict:
    """Training steps `[2 T]`: those given `[T]` and their mirror images."""
    both: TensorDict = torch.cat([steps, mirrored(steps, spec)])
    return both


def _feature_mirror(spec: ExpertSpec) -> tuple[Tensor, Tensor]:
    """Index `[F]` and sign `[F]` such that `features[..., index] * sign` are an expert's features in the mirror."""
    if spec.command not in COMMAND_SIGNS:
        raise BadInput(f"data.mirror: {spec.command!r} of expert {spec.name} has a side; set data.mirror to false")
    index, sign = torch.arange(EGOCENTRIC_SIZE), torch.ones(EGOCENTRIC_SIZE)
    sign[1:4] = POLAR_SIGN  # gravity
    sign[HEADING[1]] = -1.0  # sine of the heading
    sign[6:12] = torch.cat([POLAR_SIGN, AXIAL_SIGN])  # linear and angular velocity
    joint_index, joint_sign = joint_mirror()
    for start in (12, 12 + len(joint_index)):  # joint angles, joint velocities
        part = slice(start, start + len(joint_index))
        index[part], sign[part] = start + joint_index, joint_sign
    command_sign = torch.tensor(COMMAND_SIGNS[spec.command])
    command_index = EGOCENTRIC_SIZE + torch.arange(len(command_sign))
    return torch.cat([index, command_index]), torch.cat([sign, command_sign])
