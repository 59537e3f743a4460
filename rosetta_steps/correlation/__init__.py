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

    units       units by the size of their maps, and runs of them that are read together
    projection  maps to matrices at the sizes where they meet others
    precision   to how many bits maps are rounded before a product
    products    blocks of images to sums of products
    tiles       rectangles of the table whose sums fit into memory
    plan        what all of it takes, before anything is allocated
    pieces      strips of images of a tile, as tasks that write files
    cluster     Dask workers, here or elsewhere
    totals      pieces added up in the order of the images
    table       sums to correlations
    result      what is kept of them
    step        all of it, for two models
    verification  random pairs by brute force

Maps come from a store of activations or from a model that runs (rosetta_steps.streams).
"""
