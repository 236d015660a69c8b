"""A pretended CUDA device on a CPU build of torch: real values, and CUDA's refusals to mix devices.

A tensor "on cuda:0" is a wrapper whose data is an ordinary CPU tensor. Dispatch unwraps, checks devices by CUDA's
rules, computes on the CPU and wraps again. To C++ its device is ``maia``, which the autograd engine does not take for
an accelerator with streams; to Python it is ``cuda:0``.

Bound to one version of torch: the device guard is installed through a mangled symbol (``TORCH``).
"""

import contextlib
import ctypes
import traceback
from pathlib import Path
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

TORCH = "2.13.0"
"""The version that this was written for; elsewhere, or beside real CUDA, tests skip."""

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default, aten.set_.source_Tensor}
INDEXING = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
STRICT = {  # kernels that take no scalar tensor of the CPU either
    aten.mm.default,
    aten.bmm.default,
    aten.addmm.default,
    aten.cat.default,
    aten.stack.default,
    aten.embedding.default,
    aten.gather.default,
    aten.index_select.default,
    aten.index_copy_.default,
    aten.scatter.src,
    aten.scatter_.src,
    aten.scatter_add_.default,
    aten.baddbmm.default,
    aten.native_layer_norm.default,
}


def _caller():
    """The line of the library that called."""
    for frame in reversed(traceback.extract_stack(limit=60)):
        if "/sadi_lens/" in frame.filename:
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return "elsewhere"


def _named(device):
    """``cuda`` with its number; ``maia`` is the same."""
    device = torch.device(device)
    if device.type in ("cuda", "maia"):
        return torch.device("cuda", device.index or 0)
    return device


class PretendedTensor(torch.Tensor):
    """A CPU tensor that says it is on ``cuda``."""

    @staticmethod
    def __new__(cls, inner, device="cuda:0", requires_grad=False):
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device("maia", _named(device).index),
            requires_grad=requires_grad,
        )
        self.inner = inner
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl
    is_cuda = property(lambda self: True)

    @property
    def device(self):
        return _named(torch._C.TensorBase.device.__get__(self))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def __repr__(self, **_):
        return f"PretendedTensor({self.inner!r}, device={self.device})"

    def __format__(self, spec):
        return format(self.inner.item(), spec) if self.dim() == 0 else repr(self)

    def numpy(self, *, force=False):
        if not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first [{_caller()}]"
            )
        return self.inner.detach().numpy()

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def tolist(self):
        return self.inner.tolist()

    def untyped_storage(self):
        return self.inner.untyped_storage()

    def data_ptr(self):
        return self.inner.data_ptr()

    def __deepcopy__(self, memo):
        out = PretendedTensor(self.inner.clone(), self.device, self.requires_grad)
        if getattr(self, "_is_param", False):
            out._is_param = True
        memo[id(self)] = out
        return out


def _is_pretended(value):
    return isinstance(value, PretendedTensor)


def _where(func, args, kwargs):
    """The device that results lie on; None without CUDA tensors.

    Raises:
        RuntimeError: In CUDA's words where it would refuse.
    """
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    cuda = [one for one in tensors if _is_pretended(one)]
    cpu = [one for one in tensors if not _is_pretended(one)]
    if not cuda:
        return None
    if func in COPIES:
        return args[0].device if _is_pretended(args[0]) else torch.device("cpu")
    mixed = len({one.device for one in cuda}) > 1
    if cpu and func in INDEXING:
        if not _is_pretended(args[0]):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor (cpu) "
                f"[{func} {_caller()}]"
            )
        # Indices on the CPU are legal; values are not, unless they are a scalar.
        mixed |= len(args) > 2 and not _is_pretended(args[2]) and args[2].dim() > 0
    elif cpu:
        mixed |= func in STRICT or any(one.dim() for one in cpu)
    if mixed:
        devices = sorted({str(one.device) for one in tensors})
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{devices}! [{func} {_caller()}]"
        )
    return cuda[0].device


def _run(func, args, kwargs):
    """One operator: checked, computed on the CPU, wrapped."""
    if (
        func._can_decompose()
    ):  # composite ones come whole in inference mode; their parts are checked
        with _Mode():
            found = func.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
    device, kwargs = _where(func, args, kwargs), dict(kwargs)
    if kwargs.get("device") is not None:
        device = _named(kwargs["device"])
        kwargs["device"] = torch.device("cpu") if device.type == "cuda" else device
    kwargs.pop("pin_memory", None)
    if func is aten._to_copy.default:
        kwargs.pop("non_blocking", None)
    plain_args, plain = tree_map(lambda x: x.inner if _is_pretended(x) else x, (args, kwargs))
    found = func(*plain_args, **plain)
    if device is None or device.type != "cuda":
        return found
    known = {id(one.inner): one for one in tree_leaves((args, kwargs)) if _is_pretended(one)}

    def wrapped(value):
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in known:  # written in place
            if known[id(value)].shape != value.shape:
                raise NotImplementedError(f"{func} changes a shape in place")
            return known[id(value)]
        with torch.inference_mode(False) if _stays_normal(func, args) else contextlib.nullcontext():
            return PretendedTensor(value, device)

    return tree_map(wrapped, found)


def _stays_normal(func, args):
    """A view of a normal tensor is a normal tensor, in inference mode too."""
    returned = func._schema.returns
    is_view = bool(returned) and returned[0].alias_info and not returned[0].alias_info.is_write
    return (
        is_view
        and torch.is_inference_mode_enabled()
        and _is_pretended(args[0])
        and not args[0].is_inference()
    )


class _Mode(TorchDispatchMode):
    """Factories with ``device="cuda"`` and ``.to("cuda")`` of CPU tensors, which no wrapper would see."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


@contextlib.contextmanager
def _guards():
    """CUDA and MAIA device guards that do nothing: the Meta guard's virtual table, three entries replaced."""
    meta, n_slots, n_devices = 14, 27, 22
    lib = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    symbol = "_ZN3c104impl26device_guard_impl_registryE"
    registry = (ctypes.c_void_p * n_devices).in_dll(lib, symbol)
    table = ctypes.cast(
        ctypes.c_void_p.from_address(registry[meta]).value, ctypes.POINTER(ctypes.c_void_p)
    )
    kept = []
    before = {kind: registry[kind] for kind in (1, 8)}
    for kind in before:
        own = (ctypes.c_void_p * n_slots)(*[table[slot] for slot in range(n_slots)])
        get = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(lambda _, kind=kind: kind)
        swap = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)(
            lambda _, __, kind=kind: kind
        )
        for slot, function in ((0, get), (1, swap), (2, get)):  # type, exchangeDevice, getDevice
            own[slot] = ctypes.cast(function, ctypes.c_void_p).value
        guard = (ctypes.c_void_p * 1)(ctypes.addressof(own))
        kept += [own, get, swap, guard]
        registry[kind] = ctypes.addressof(guard)
    try:
        yield kept
    finally:
        for kind, value in before.items():
            registry[kind] = value


@contextlib.contextmanager
def pretend_cuda(free=2**30):
    """``torch.cuda`` is there, with one device of ``free`` bytes.

    Args:
        free: What ``mem_get_info`` says.
    """
    values = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "mem_get_info": lambda *_: (free, free),
        "memory_reserved": lambda *_: 0,
        "memory_allocated": lambda *_: 0,
        "empty_cache": lambda: None,
        "synchronize": lambda *_: None,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda *_: None,
        "manual_seed_all": lambda *_: None,
        "manual_seed": lambda *_: None,
        "_is_in_bad_fork": lambda: False,
        "get_device_capability": lambda *_: (9, 0),
        "is_bf16_supported": lambda *_, **__: True,
        "is_current_stream_capturing": lambda: False,
        "_lazy_init": lambda: None,
    }
    lifts = torch._C._only_lift_cpu_tensors()
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_guards())
        for name, value in values.items():
            stack.enter_context(patch.object(torch.cuda, name, value))
        torch._C._set_only_lift_cpu_tensors(True)
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifts)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        stack.enter_context(_Mode())
        yield
