"""Loops over maps that NumPy and torch would pass over several times, compiled by Numba.

Sums may be added in any order, which is several times faster than one after the other.
"""

import numba
import numpy as np

# Products are counted by their leading bits, eight bins to an octave: nothing has to be sorted.
SHIFT, BINS = 20, 1 << 11


@numba.njit(parallel=True, cache=True, fastmath={"reassoc"})
def sum_units(maps, gram, mean_maps, gram_mean_maps, weights, sums):
    """Sums over positions of values, of squares and of squares about mean maps, in one pass."""
    units, images, positions = maps.shape
    for unit in numba.prange(units):
        mean, gram_mean = mean_maps[unit], gram_mean_maps[unit]
        for image in range(images):
            own, other = maps[unit, image], gram[unit, image]
            total = square = left = 0.0
            for position in range(positions):
                x, y = own[position], other[position]
                total += weights[position] * x
                square += x * y
                left += (x - mean[position]) * (y - gram_mean[position])
            sums[0, unit, image], sums[1, unit, image], sums[2, unit, image] = total, square, left


@numba.njit(parallel=True, cache=True, fastmath=True)
def add_norms(maps, total):
    """Add the squares of all units at each value, in runs that stay in the cache."""
    units, values = maps.shape
    run = 4096
    for start in numba.prange((values + run - 1) // run):
        low, high = start * run, min(values, (start + 1) * run)
        for unit in range(units):
            for value in range(low, high):
                total[value] += maps[unit, value] * maps[unit, value]


@numba.njit(parallel=True, cache=True)
def add_squares(maps, total):
    """Add squares over images, (unit, position)."""
    units, images, positions = maps.shape
    for unit in numba.prange(units):
        for image in range(images):
            for position in range(positions):
                total[unit, position] += maps[unit, image, position] ** 2


@numba.njit(parallel=True, cache=True, fastmath=True)
def multiply_moved(a, b, rows_a, rows_b, total):
    """Add products of a at (y, x) with b at (y + down, x + right), where both have a cell."""
    images, height, width = a.shape[1:]
    for pair in numba.prange(len(rows_a)):
        of_a, of_b = a[rows_a[pair]], b[rows_b[pair]]
        for down in range(-1, 2):
            for right in range(-1, 2):
                for image in range(images):
                    for y in range(max(0, -down), height - max(0, down)):
                        row = np.float32(0)
                        for x in range(max(0, -right), width - max(0, right)):
                            row += of_a[image, y, x] * of_b[image, y + down, x + right]
                        total[pair, down + 1, right + 1] += row


@numba.njit(parallel=True, cache=True, fastmath={"reassoc"})
def multiply(
    a, mean_a, b, mean_b, rows_a, rows_b, is_high, whole, left, high, count, total
):  # fmt: skip
    """Products of maps: sums of each image, those of high norm, and the positive ones by size."""
    images, positions = a.shape[1:]
    for pair in numba.prange(len(rows_a)):
        of_a, of_b = a[rows_a[pair]], b[rows_b[pair]]
        centre_a, centre_b = mean_a[rows_a[pair]], mean_b[rows_b[pair]]
        rests = np.empty(positions, np.float32)
        positive = np.empty(positions + 1, np.float32)
        for image in range(images):
            whole_sum = left_sum = high_sum = 0.0
            for position in range(positions):
                x, y = of_a[image, position], of_b[image, position]
                rest = (x - centre_a[position]) * (y - centre_b[position])
                whole_sum += x * y
                left_sum += rest
                high_sum += rest * is_high[image, position]
                rests[position] = rest
            whole[pair, image], left[pair, image] = whole_sum, left_sum
            high[pair] += high_sum
            found = 0  # without a branch, which would be mispredicted every other time
            for position in range(positions):
                positive[found] = rests[position]
                found += rests[position] > 0
            leading = positive.view(np.int32)
            for place in range(found):
                index = leading[place] >> SHIFT
                count[pair, index] += 1
                total[pair, index] += positive[place]


@numba.njit(parallel=True, cache=True, fastmath=True)
def strongest_ways(first, second):
    """Largest over columns of the lesser of two rows' values, for each pair of rows."""
    rows, columns = first.shape
    found = np.empty((rows, len(second)), first.dtype)
    for row in numba.prange(rows):
        for other in range(len(second)):
            best = np.float32(-2)
            for column in range(columns):
                best = max(best, min(first[row, column], second[other, column]))
            found[row, other] = best
    return found
