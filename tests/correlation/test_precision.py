"""Rounding of products, as their names say."""

import torch

from rosetta_steps.correlation.precision import rounded_to_tf32


def test_tf32_keeps_ten_bits_of_any_magnitude_and_rounds_as_float16_does():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rounded_to_tf32(values), values.half().float(), rtol=0, atol=0)
    halfway = torch.tensor([1 + 2.0**-11, 1 + 3 * 2.0**-11, -1 - 2.0**-11])
    assert rounded_to_tf32(halfway).tolist() == [1, 1 + 2.0**-9, -1]
    for scale in (2.0**-60, 2.0**60):
        exact = rounded_to_tf32(values) * scale
        torch.testing.assert_close(rounded_to_tf32(values * scale), exact, rtol=0, atol=0)
