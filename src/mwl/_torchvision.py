"""Let a CUDA build of torchvision load beside a CPU build of torch.

torchvision's wheel registers fake kernels for `nms` and `qnms` at import, whether or not its C++ library (linked
against CUDA) could be loaded. Beside a CPU torch the operators are unknown then, the import fails, and with it those
of lightning, torchmetrics, timm and open_clip. Defining the two schemas first mends the import; nothing here ever
calls them. On a machine whose wheels match, nothing changes. See pytorch/vision issue 8985.

The mending waits until something imports torchvision, so that `import mwl` and `mwl --help` cost no torch import.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_LIBRARIES: list[Any] = []  # a torch.library.Library must stay referenced, or the schemas it defined vanish again


def _define_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)


class MendingFinder(MetaPathFinder):
    """Finds torchvision as usual, but executes it a second time, operators defined, where the first time fails."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of `torchvision` with a loader that mends; None for every other module."""
        spec = PathFinder.find_spec(fullname, path) if fullname == "torchvision" else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_or_mend(module: ModuleType) -> None:
            try:
                execute(module)
            except RuntimeError:
                _define_operators()
                execute(module)

        spec.loader.exec_module = execute_or_mend  # type: ignore[method-assign]
        return spec


if not any(isinstance(finder, MendingFinder) for finder in sys.meta_path):
    sys.meta_path.insert(0, MendingFinder())
