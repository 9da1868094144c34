"""Let a CUDA build of torchvision load beside a CPU build of torch.

torchvision's wheel registers fake kernels for `nms` and `qnms` at import, whether or not its C++ library (linked
against CUDA) could be loaded. Beside a CPU torch the operators are unknown then, the import fails, and with it those
of lightning, torchmetrics, timm and open_clip. Defining the two schemas first mends the import; nothing here ever
calls them. On a machine whose wheels match, this module only imports torchvision. See pytorch/vision issue 8985.
"""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # The library object must stay referenced for as long as the process lives, or its schemas vanish again.
    _LIBRARY = torch.library.Library("torchvision", "DEF")
    for _op in ("nms", "qnms"):
        _LIBRARY.define(f"{_op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401
