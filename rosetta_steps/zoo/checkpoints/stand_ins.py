"""Our checked replacements for the few calls by which pickles construct tensors and arrays.

A tensor is only a record of the position of its bytes until it is read. So a file of 2 GB with
three networks takes only the memory of the one that is used. Every length, offset, size and stride
is compared with the available bytes before anything is built.
"""

import math
import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.pickles import (
    Budget,
    Global,
    Inert,
    TruncatedError,
    described,
    plain_key,
)

MOST_DIMENSIONS = 64
DTYPES = {
    f"torch.{name}": value
    for name, value in vars(torch).items()
    if isinstance(value, torch.dtype) and re.fullmatch(r"(u?int|b?float|complex|bool)\w*", name)
}
STORAGE_DTYPES = {
    f"{module}.{kind}Storage": dtype
    for module in ("torch", "torch.cuda")
    for kind, dtype in {
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Float": torch.float32,
        "Double": torch.float64,
        "Byte": torch.uint8,
        "Char": torch.int8,
        "Short": torch.int16,
        "Int": torch.int32,
        "Long": torch.int64,
        "Bool": torch.bool,
        "ComplexFloat": torch.complex64,
        "ComplexDouble": torch.complex128,
    }.items()
}


class Storage:
    """Storage, the elements to which tensors refer.

    Attributes:
        dtype: Dtype of the elements; None if the tensors give it.
        count: Number of elements, or of bytes if dtype is None.
        view: Bytes of the elements; None until they are located.
    """

    __slots__ = ("dtype", "count", "view")

    def __init__(self, kind, count, file_bytes: int):
        name = kind.name if type(kind) is Global else ""
        if name not in STORAGE_DTYPES and name != "torch.storage.UntypedStorage":
            raise UserError(f"it has a storage of unknown type {described(kind)}")
        self.dtype = STORAGE_DTYPES.get(name)
        self.count = _whole_number(count)
        self.view: memoryview | None = None
        if self.bytes > file_bytes:
            raise TruncatedError(
                f"it claims a storage of {self.bytes} bytes in a file of {file_bytes}"
            )

    @property
    def bytes(self) -> int:
        """Number of bytes of all elements."""
        return self.count * (1 if self.dtype is None else self.dtype.itemsize)

    def fill(self, view: memoryview) -> None:
        """Set the bytes of the storage, whose number must be as claimed."""
        if len(view) != self.bytes:
            raise UserError(f"a storage holds {len(view)} bytes where {self.bytes} are claimed")
        self.view = view


class StoredTensor:
    """Tensor of a file that is not read yet; it is checked to lie within its storage."""

    __slots__ = ("storage", "dtype", "offset", "size", "stride", "span")

    def __init__(self, storage, offset, size, stride, dtype=None):
        if type(storage) is not Storage or type(size) is not tuple or type(stride) is not tuple:
            raise UserError("it has a tensor without a storage, a size or a stride")
        if len(size) != len(stride) or len(size) > MOST_DIMENSIONS:
            raise UserError(f"it has a tensor of {len(size)} dimensions, {len(stride)} strides")
        self.storage, self.dtype = storage, storage.dtype or dtype or torch.uint8
        self.offset, self.size, self.stride = _whole_number(offset), size, stride
        held = storage.bytes // self.dtype.itemsize
        elements = math.prod(map(_whole_number, size))
        reach = sum((n - 1) * _whole_number(step) for n, step in zip(size, stride, strict=True))
        self.span = reach + 1 if elements else 0  # elements from its first to its last
        if self.offset + self.span > held or elements > held:
            raise UserError(
                f"it has a tensor of size {size!s:.80}, stride {stride!s:.80} and offset {offset} "
                f"in a storage of {held} elements"
            )
        if math.prod(max(n, 1) for n in size) >= 1 << 62:
            raise UserError(f"it has a tensor of absurd size {size!s:.80}")

    @property
    def place(self) -> tuple:
        """Key that is equal for two names of the same tensor."""
        return id(self.storage), self.dtype, self.offset, self.size, self.stride

    def read(self, budget: Budget) -> Tensor:
        """Return a contiguous copy in memory."""
        if self.storage.view is None:
            raise UserError("it has a tensor whose bytes are not in the file")
        if not self.span:
            return torch.empty(self.size, dtype=self.dtype)
        each = self.dtype.itemsize
        budget.spend_bytes(max(self.span, math.prod(self.size)) * each)
        raw = self.storage.view[self.offset * each : (self.offset + self.span) * each]
        flat = torch.empty(len(raw), dtype=torch.uint8)
        flat.numpy()[:] = np.frombuffer(raw, np.uint8)
        return flat.view(self.dtype).as_strided(self.size, self.stride).contiguous()


class NumpyType(Inert):
    """Record of a NumPy dtype."""

    __slots__ = ("code", "order")

    def __init__(self, name: str, arguments: tuple):
        super().__init__(name, arguments)
        code = arguments[0] if arguments else None
        numeric = type(code) is str and re.fullmatch(r"[biufc]\d{1,2}", code)
        self.code, self.order = code if numeric else None, "="

    def build(self, state) -> None:
        """Set the byte order from the state (version, order, ...)."""
        if type(state) is tuple and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
            self.order = state[1]

    @property
    def dtype(self) -> np.dtype | None:
        """The NumPy dtype; None if it is not numeric."""
        return None if self.code is None else np.dtype(self.order + self.code)


class Array(Inert):
    """Numeric NumPy array or scalar that is checked but not read yet; other arrays stay inert.

    Attributes:
        dtype: Dtype; None while it is inert.
        shape: Shape of the array.
        fortran: Whether the first axis varies fastest.
        data: Bytes of the array, or text in Latin-1 if Python 2 wrote them.
    """

    __slots__ = ("dtype", "shape", "fortran", "data")

    def __init__(self):
        super().__init__("numpy.ndarray")
        self.dtype: np.dtype | None = None

    def build(self, state) -> None:
        """Fill the array from the state ([version,] shape, dtype, fortran order, bytes)."""
        if type(state) is not tuple or len(state) not in (4, 5):
            raise UserError("it has a numpy array of unknown form")
        self.fill(*state[-4:])

    def fill(self, shape, kind, fortran, data) -> None:
        """Fill the array if the dtype is numeric and the number of bytes fits the shape."""
        if not isinstance(kind, NumpyType) or kind.code is None:
            return
        if type(shape) is not tuple or not isinstance(data, bytes | memoryview | str):
            raise UserError("it has a numpy array of unknown form")
        elements = math.prod(map(_whole_number, shape))
        assert kind.dtype is not None, "it has a code"
        claimed = elements * kind.dtype.itemsize
        if claimed != len(data) or len(shape) > MOST_DIMENSIONS:
            raise UserError(
                f"it has a numpy array of shape {shape!s:.80} and {len(data)} bytes, "
                f"where {claimed} are claimed"
            )
        self.dtype, self.shape, self.fortran, self.data = kind.dtype, shape, bool(fortran), data

    def read(self, budget: Budget) -> Tensor:
        """Return a copy in memory as a tensor."""
        if self.dtype is None:
            raise UserError("it has a numpy array that is not numeric")
        budget.spend_bytes(len(self.data))
        array = self.flat().reshape(self.shape, order="F" if self.fortran else "C")
        return torch.from_numpy(np.ascontiguousarray(array).reshape(self.shape))

    def flat(self) -> np.ndarray:
        """Return a flat copy of the elements in the byte order of this machine."""
        assert self.dtype is not None, "it is numeric"
        data = self.data.encode("latin-1") if isinstance(self.data, str) else self.data
        return np.frombuffer(data, self.dtype).astype(self.dtype.newbyteorder("="))


def _whole_number(value) -> int:
    if type(value) is not int or value < 0 or value >= 1 << 63:
        raise UserError(f"it has a size, stride, offset or count that is {described(value)}")
    return value


def _tensor_v2(budget, storage, offset, size, stride, *_) -> StoredTensor:
    return StoredTensor(storage, offset, _as_tuple(size), _as_tuple(stride))


def _tensor_v3(budget, storage, offset, size, stride, gradient, hooks, dtype, *_) -> StoredTensor:
    name = dtype.name if type(dtype) is Global else ""
    if name not in DTYPES:
        raise UserError(f"it has a tensor of unknown type {described(dtype)}")
    return StoredTensor(storage, offset, _as_tuple(size), _as_tuple(stride), DTYPES[name])


def _as_tuple(value):
    return tuple(value) if type(value) is list and len(value) <= MOST_DIMENSIONS else value


def _parameter(budget, data, *_):
    return data


def _size(budget, dimensions=()) -> tuple:
    if type(dimensions) not in (list, tuple) or len(dimensions) > MOST_DIMENSIONS:
        raise UserError("it has a size of unknown form")
    return tuple(dimensions)


def _dict(budget, pairs=(), *_) -> dict:
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if type(pairs) not in (list, tuple):
        raise UserError("it has a dictionary of unknown form")
    budget.spend_steps(len(pairs))
    return {plain_key(key): value for key, value in pairs}


def _set(budget, items=()) -> set:
    if type(items) not in (list, tuple, set):
        raise UserError("it has a set of unknown form")
    budget.spend_steps(len(items))
    return set(map(plain_key, items))


def _type_named(budget, name) -> Global:
    if type(name) is not str or len(name) > MOST_DIMENSIONS:
        raise UserError("it has a type without a name")
    return Global(f"builtins.{name}")


def _encoded(budget, text, encoding) -> bytes:
    # Protocol 2 writes bytes as a call of this function.
    if type(text) is not str or encoding != "latin1":
        raise UserError("it encodes text otherwise than bytes are written")
    budget.spend_bytes(len(text))
    return text.encode("latin-1")


def _array(budget, *_) -> Array:
    return Array()


def _scalar(budget, kind, data=b"") -> Array:
    array = Array()
    array.fill((), kind, False, data)
    return array


def _from_buffer(budget, data, kind, shape, order) -> Array:
    array = Array()
    array.fill(shape, kind, order == "F", data)
    return array


def _numpy_type(budget, *arguments) -> NumpyType:
    return NumpyType("numpy.dtype", arguments)


# Replacements of calls by name; every other name in a pickle stays inert.
KNOWN: dict[str, Callable] = {
    "collections.OrderedDict": _dict,
    "dnnlib.util.EasyDict": _dict,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "dill._dill._load_type": _type_named,
    "_codecs.encode": _encoded,
    "numpy.dtype": _numpy_type,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor_v2,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
for _core in ("numpy.core", "numpy._core"):
    KNOWN[f"{_core}.multiarray._reconstruct"] = _array
    KNOWN[f"{_core}.multiarray.scalar"] = _scalar
    KNOWN[f"{_core}.numeric._frombuffer"] = _from_buffer
