"""Compile the kernel for cards that are not here: what it takes of each, as JSON."""

import json
import sys

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rosetta_steps.correlation.fused import FusedProjection, _project

TYPES = {torch.float16: "*fp16", torch.float32: "*fp32"}
ALIGNED = [["tt.divisibility", 16]]


def shared_bytes(capability: int, size: tuple, meetings: tuple) -> int:
    """Shared memory of the kernel on cards of a compute capability."""
    units, images = 64, 32
    kernel = FusedProjection(size, meetings, torch.device("cpu"))
    maps = torch.empty(images, units, *size, dtype=torch.float16)
    into = {m: torch.empty(units, images * m[0] * m[1]) for m in meetings}
    signature, constants, aligned = {}, {}, {}

    def describe(value, place: tuple):
        if isinstance(value, tuple):
            return tuple(describe(part, (*place, i)) for i, part in enumerate(value))
        if isinstance(value, tl.constexpr) or _project.params[place[0]].is_constexpr:
            constants[place] = getattr(value, "value", value)
            return "constexpr"
        if torch.is_tensor(value) or value % 16 == 0:
            aligned[place] = ALIGNED
        return TYPES[value.dtype] if torch.is_tensor(value) else "i32"

    for i, value in enumerate(kernel.arguments(maps, torch.empty(units), into)):
        signature[_project.arg_names[i]] = describe(value, (i,))
    source = ASTSource(_project, signature, constants, aligned)
    made = triton.compile(source, GPUTarget("cuda", capability, 32), dict(kernel.options))
    return made.metadata.shared


if __name__ == "__main__":
    cases = json.loads(sys.argv[1])  # compute capability, size, sizes that it meets
    found = [
        shared_bytes(capability, tuple(size), tuple(map(tuple, meetings)))
        for capability, size, meetings in cases
    ]
    print(json.dumps(found))
