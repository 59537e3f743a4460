"""The projection is the adjoint of bilinear upsampling, for maps of any two sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rosetta_steps.correlation import projection
from rosetta_steps.correlation.projection import Memory, Projection
from rosetta_steps.maps.resampling import comparison_size, meeting_size, upsampling

ALWAYS_THE_SAME = settings(derandomize=True, deadline=None, database=None, max_examples=40)
LENGTH = st.integers(1, 24)
SIZE = st.tuples(LENGTH, LENGTH)
SEED = st.integers(0, 2**32 - 1)


def upsampled(maps, size):
    """By the two matrices, one an axis; (..., y, x)."""
    rows, columns = (upsampling(s, t) for s, t in zip(maps.shape[-2:], size, strict=True))
    return rows @ maps @ columns.T


@ALWAYS_THE_SAME
@given(LENGTH, LENGTH, SEED)
def test_a_product_at_the_larger_length_is_one_at_the_smaller(one, other, seed):
    """<U^T a, b> = <a, U b>."""
    source, target = sorted((one, other))
    random = np.random.default_rng(seed)
    a, b, matrix = (
        random.normal(size=target),
        random.normal(size=source),
        upsampling(source, target),
    )
    np.testing.assert_allclose((matrix.T @ a) @ b, a @ (matrix @ b), atol=1e-12 * target)


@ALWAYS_THE_SAME
@given(LENGTH, LENGTH)
def test_upsampling_is_a_mean_of_neighbours_that_keeps_what_is_constant(one, other):
    source, target = sorted((one, other))
    matrix = upsampling(source, target)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
    assert (matrix >= 0).all() and ((matrix > 0).sum(1) <= 2).all()


@pytest.mark.parametrize("small", [1, 64, 10**4])  # 1: each axis alone; 10**4: both by one product
@ALWAYS_THE_SAME
@given(st.lists(SIZE, min_size=2, max_size=2), SEED)
def test_two_projected_maps_have_the_product_of_the_two_upsampled_ones(small, sizes, seed):
    """<U_a' a, U_b' b> where they meet is <U_b a, U_a b> at the larger size along each axis."""
    random = np.random.default_rng(seed)
    maps = [torch.from_numpy(random.normal(size=(3, 2, *size))) for size in sizes]
    meeting, compared = meeting_size(*sizes), comparison_size(*sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "SMALL_MAP", {"cpu": small})
        matrices = [
            Projection(size, [meeting], Memory("cpu", torch.float64))(of)[meeting]
            for size, of in zip(sizes, maps, strict=True)
        ]
    found = matrices[0] @ matrices[1].T
    a, b = (upsampled(of.numpy(), compared).reshape(3, -1) for of in maps)
    np.testing.assert_allclose(found, a @ b.T, atol=1e-9)
