"""Compiling what runs at every step, where it is asked for."""

import os
import shutil
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from mwl.core.errors import BadInput

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(function: Callable[Arguments, Result], mode: str) -> Callable[Arguments, Result]:
    """A function as it is, or compiled as a whole by `torch.compile` when it is first called.

    Args:
        function: of tensors whose shapes seldom change; each new shape is compiled anew.
        mode: `off`, or one of `torch.compile`.

    Raises:
        BadInput: there is no C++ compiler, which inductor needs.
    """
    if mode == "off":
        return function
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        raise BadInput(f"compile: {mode} needs a C++ compiler on the path, such as g++; there is none")
    return torch.compile(function, mode=mode, fullgraph=True, dynamic=False)
