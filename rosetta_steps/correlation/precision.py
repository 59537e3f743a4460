"""Precision of the products: the rounding of maps before they are multiplied.

Sums are accumulated in float32 for every precision but float64, the reference, which uses float64.
"""

import torch
from torch import Tensor

from rosetta_steps.runtime.tf32 import rounding_to_tf32

# Dtypes of the prepared maps. For tf32 a GPU's tensor cores round float32 values themselves.
PRECISIONS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
}
PRODUCT_ROWS = 4096  # of a bfloat16 product computed at a time
TF32_DROPS = 13  # bits of the 23-bit mantissa of float32


def add_product(total: Tensor, a: Tensor, b: Tensor, precision: str) -> None:
    """Add the product a b' to a total in place.

    On a GPU, tensor cores sum products of tf32 and bfloat16 in float32. On a CPU, tf32 emulates the
    rounding of a GPU; it is slower than float32 and serves to measure the error. On a CPU, bfloat16
    also rounds the product of each block of images.

    Args:
        total: Sums to add to, (row of a, row of b), float32 or float64.
        a: Matrix in the dtype of the sums.
        b: Matrix in the dtype of the precision.
        precision: One of PRECISIONS.
    """
    if precision == "bfloat16":
        a = a.to(b.dtype)
        # Rows are computed in parts, because memory has no room for total and whole product.
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
    """Round float32 values to TF32, a mantissa of ten bits, with ties to even."""
    bits = values.contiguous().view(torch.int32)
    half = (1 << (TF32_DROPS - 1)) - 1 + (bits >> TF32_DROPS & 1)
    return (bits + half >> TF32_DROPS << TF32_DROPS).view(torch.float32)
