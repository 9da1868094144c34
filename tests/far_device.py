"""A pretended accelerator: tensors that report another device and hold real numbers, to find what would fail on a GPU.

As on a GPU, an operation that mixes this device with the CPU is refused, and so is reading a far tensor as NumPy.
"""

from collections.abc import Iterator
from functools import wraps
from typing import Any

import mwl  # isort: skip  # noqa: F401  before lightning
import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "far"
_CROSSING = {"aten._to_copy.default", "aten.copy_.default", "aten._copy_from.default", "aten.set_.source_Tensor"}
_INDEXING = ("aten.index", "aten._index_put", "aten.index_put")  # a GPU takes indices that lie on the CPU


_AUTOCAST = torch.library.Library("_", "IMPL")  # without effect: the pretended device has one precision


def set_up() -> torch.device:
    """Make the device known to torch; the same process must not use another private one."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    if torch._C._get_privateuse1_backend_name() != NAME:
        _setup_privateuseone_for_python_backend(NAME)
        module = torch.get_device_module(NAME)
        module.synchronize = lambda *_: None
        module.device_count = lambda: 1
        module.get_rng_state = lambda *_: torch.zeros(1)  # random numbers are the CPU's
        module.set_rng_state = lambda *_: None
        module.get_amp_supported_dtype = lambda: [torch.bfloat16]
        _AUTOCAST.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
        torch.__future__.set_swap_module_params_on_conversion(True)  # another class can't be put into a parameter
    return torch.device(NAME, 0)


class FarTensor(torch.Tensor):
    """A tensor on the pretended device; `near` holds its numbers."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> "FarTensor":
        """Wrap a tensor that lies on the CPU."""
        return torch.Tensor._make_wrapper_subclass(
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=torch.device(NAME, 0),
            requires_grad=near.requires_grad,
        )

    def __init__(self, near: torch.Tensor) -> None:
        self.near = near

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.near.__reduce_ex__(protocol)  # a checkpoint is read onto the CPU

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"FarTensor({self.near})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class PretendedDevice(TorchFunctionMode):
    """Context in which tensors can be made on and moved to the pretended device."""

    def __enter__(self) -> "PretendedDevice":
        self._dispatch = _Dispatch()
        self._dispatch.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._dispatch.__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make tensors from numbers on the CPU first: torch fills them where no dispatch mode can see."""
        kwargs = dict(kwargs or {})
        device = None
        if func in (torch.tensor, torch.as_tensor):
            device = kwargs.pop("device", None)
        elif func is torch.Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device} | kwargs
            device, func, args = kwargs.pop("device"), torch.tensor, args[1:]
        elif getattr(func, "__name__", "") == "gru_cell":  # which has a kernel of its own for every device but the CPU
            return _gru_cell(*args)
        elif func == torch.Tensor.data.__set__ and type(args[0]) is not type(args[1]):  # another class can't be put in
            new = args[1].detach().requires_grad_(args[0].requires_grad)
            new = torch.nn.Parameter(new, args[0].requires_grad) if isinstance(args[0], torch.nn.Parameter) else new
            return torch.utils.swap_tensors(args[0], new)
        made = func(*args, **kwargs)
        return made if device is None else made.to(device)


def _gru_cell(x: Any, hidden: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> torch.Tensor:
    reset_in, update_in, new_in = linear(x, w_ih, b_ih).chunk(3, dim=-1)
    reset_hidden, update_hidden, new_hidden = linear(hidden, w_hh, b_hh).chunk(3, dim=-1)
    reset, update = (reset_in + reset_hidden).sigmoid(), (update_in + update_hidden).sigmoid()
    new = (new_in + reset * new_hidden).tanh()
    return new + update * (hidden - new)


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    far = [tensor for tensor in tensors if isinstance(tensor, FarTensor)]
    device = kwargs.get("device")
    goes_far = bool(far) if device is None else torch.device(device).type == NAME
    _refuse_mixtures(func, tensors, far, kwargs.get("generator"), goes_far)
    own = {id(tensor.near): tensor for tensor in far}
    near_args, near_kwargs = tree_map_only(FarTensor, lambda tensor: tensor.near, (args, kwargs))
    if device is not None:
        near_kwargs["device"] = "cpu"
    if func is torch.ops.aten.copy_.default:
        args[0].near.copy_(near_args[1]) if isinstance(args[0], FarTensor) else args[0].copy_(near_args[1])
        return args[0]
    result = func(*near_args, **near_kwargs)

    def wrapped(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) in own:  # changed in place
            return own[id(tensor)]
        return FarTensor(tensor) if goes_far else tensor

    return tree_map_only(torch.Tensor, wrapped, result)


def _refuse_mixtures(func: Any, tensors: list, far: list, generator: torch.Generator | None, goes_far: bool) -> None:
    name = str(func)
    if goes_far and generator is not None:
        raise RuntimeError(f"{name}: expected a generator of device {NAME}, but found one of the CPU")
    if name in _CROSSING or not far:
        return
    near = [tensor for tensor in tensors if not isinstance(tensor, FarTensor) and tensor.ndim > 0]
    if name.startswith(_INDEXING) and isinstance(tensors[0], FarTensor):
        near = [tensor for tensor in near if tensor.dtype not in (torch.int64, torch.int32, torch.bool)]
    if near:
        raise RuntimeError(f"{name}: expected all tensors on one device, but found {NAME} and the CPU")


class FarAccelerator(Accelerator):
    """The pretended device, as Lightning wants it."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing to do."""

    def teardown(self) -> None:
        """Nothing to do."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        """As given."""
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        """The only one."""
        return [torch.device(NAME, 0)]

    @staticmethod
    def auto_device_count() -> int:
        """One."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """Always."""
        return True

    @staticmethod
    def name() -> str:
        """As in messages."""
        return NAME

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        """None."""
        return {}


def strategy() -> SingleDeviceStrategy:
    """What to give a `Trainer` as `strategy`, for training on the pretended device."""
    return SingleDeviceStrategy(set_up(), accelerator=FarAccelerator())


@pytest.fixture(autouse=True)
def _far_away() -> Iterator[None]:
    """Where this file is a plugin of pytest (`-p far_device`), every test trains on the pretended device."""
    with PretendedDevice():
        yield


def pytest_configure() -> None:
    """Let every trainer take the pretended device for the CPU."""
    set_up()
    make = pl.Trainer.__init__

    @wraps(make)
    def far_made(trainer: pl.Trainer, *args: Any, accelerator: str = "cpu", **kwargs: Any) -> None:
        make(trainer, *args, **{**kwargs, "strategy": strategy()})

    pl.Trainer.__init__ = far_made
