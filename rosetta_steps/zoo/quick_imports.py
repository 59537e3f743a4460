"""Imports and passes without torch's compiler, which nothing here uses and which takes seconds."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch.overrides import TorchFunctionMode

COMPILER = "torch._dynamo"
# Those of torch.nn.init come as a whole, and the functions that they call are not seen.
DRAWS = {
    *(getattr(torch.Tensor, name) for name in ("normal_", "uniform_")),
    *(getattr(torch.nn.init, name) for name in ("normal_", "uniform_", "kaiming_uniform_")),
}


def imported(name: str) -> ModuleType:
    """Import a library without torch's compiler: of timm's 7 seconds it takes 6.

    torchvision asks the compiler one question, and timm marks functions that it should let alone.
    Where a version wants more of it, the library is imported as usual.

    Args:
        name: Of the library, such as "timm".
    """
    before = set(sys.modules)
    try:
        with without_compiler():
            return importlib.import_module(name)
    except (ImportError, AttributeError):
        for module in set(sys.modules) - before:
            del sys.modules[module]
    return importlib.import_module(name)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Context in which torch's compiler is not imported only to mark what it should let alone.

    torch does so in a pass of a module without values too: batch norm is made of such functions.
    """
    if COMPILER in sys.modules:
        yield
        return
    compiler, utils = ModuleType(COMPILER), ModuleType(f"{COMPILER}.utils")
    vars(compiler).update(utils=utils, disable=lambda function, *_, **__: function)
    vars(utils).update(is_compile_supported=lambda _: False)
    stand_ins = {COMPILER: compiler, utils.__name__: utils}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


class NoDraws(TorchFunctionMode):
    """Context in which random values are not drawn for tensors that have no values (meta device).

    torch would import its compiler to draw none.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Call a function of torch, unless it only draws values that are nowhere kept."""
        named = kwargs or {}
        if func in DRAWS and (drawn := args[0] if args else named["tensor"]).is_meta:
            return drawn
        return func(*args, **named)
