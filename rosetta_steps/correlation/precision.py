"""How exactly maps are multiplied: to how many bits they are rounded before a product.

Sums are kept in float32, and in float64 for the reference, whatever the precision.
"""

import torch
from torch import Tensor

from rosetta_steps.runtime.tf32 import rounding_to_tf32

# In which maps lie ready. A GPU's tensor cores round float32 to TF32 on their own.
PRECISIONS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
}
PRODUCT_ROWS = 4096  # of a product of bfloat16
TF32_DROPS = 13  # of float32's 23 bits


def add_product(total: Tensor, a: Tensor, b: Tensor, precision: str) -> None:
    """Add a b' to a total.

    On a GPU, products of tf32 and bfloat16 are summed in float32 by tensor cores. On a CPU, tf32
    rounds as a GPU does and is slower than float32: it shows the error. bfloat16 rounds the product
    of each block of images there as well.

    Args:
        total: (row of a, row of b) float32, or float64.
        a: As it was prepared.
        b: In the precision's own dtype.
        precision: One of PRECISIONS.
    """
    if precision == "bfloat16":
        a = a.to(b.dtype)
        # A part of the rows at a time: beside the total there is no room for all of the product.
        for start in range(0, len(total), PRODUCT_ROWS):
            part = slice(start, start + PRODUCT_ROWS)
            if a.is_cuda:
                total[part] += torch.mm(a[part], b.T, out_dtype=total.dtype)
            else:
                total[part] += a[part] @ b.T
    elif precision == "tf32" and not a.is_cuda:
        total.addmm_(rounded_to_tf32(a), rounded_to_tf32(b).T)
    elif precision == "tf32":
        with rounding_to_tf32():
            total.addmm_(a, b.T)
    else:
        total.addmm_(a, b.T)


def rounded_to_tf32(values: Tensor) -> Tensor:
    """float32 values to the nearest of ten bits, ties to even."""
    bits = values.contiguous().view(torch.int32)
    half = (1 << (TF32_DROPS - 1)) - 1 + (bits >> TF32_DROPS & 1)
    return (bits + half >> TF32_DROPS << TF32_DROPS).view(torch.float32)
