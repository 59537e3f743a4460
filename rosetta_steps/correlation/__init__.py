"""Correlate every unit of one model with every unit of another, out of core and exactly.

Eq. 2 of the paper (its Pearson coefficient) without upsampling. Let a be a map of t x t positions,
b one of s x s, s < t, and U the bilinear upsampling from s to t. The paper compares a with U b. But

    <a, U b> = <U' a, b>

so maps meet at the smaller size, the larger projected by the adjoint U' (projection), and all that
is left is one matrix product for each two sizes and block of images (products):

    r = (sum <U' (a - c_a), b - c_b> / N  -  (m_a - c_a) (m_b - c_b)) / (s_a s_b)

with N the positions of the larger size on all images, m and s the mean and deviation of each unit
at that size (from the moments store), and c any constant near the mean, so that nothing cancels.
Rows of U sum to 1, so constants pass through it.

    units       units grouped by map size, and runs of units that are read together
    projection  projection of maps to the sizes where they meet others
    precision   rounding of maps before a product
    products    sums of products over blocks of images
    tiles       rectangles of the table whose sums fit into memory
    plan        estimate of memory, passes and time, before anything is allocated
    pieces      Dask tasks: a strip of images of a tile, written to a file
    cluster     Dask workers on this machine or of a running cluster
    totals      addition of the pieces in the order of the images
    table       correlations from the sums
    result      the stores that are written: the whole table or nearest partners
    step        the whole step for two models
    decoys      images moved between two models, for tests of matches
    verification  random pairs by brute force

Maps come from a store of activations, or from a model that computes them on the fly
(rosetta_steps.streams).
"""
