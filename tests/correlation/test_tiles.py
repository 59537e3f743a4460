"""Properties of tiles of any size: nothing is left out, and nothing is computed twice."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rosetta_steps.correlation.result import spans
from rosetta_steps.correlation.tiles import tiles_of
from rosetta_steps.matching.nearest import nearest, nearest_of_all

ALWAYS_THE_SAME = settings(derandomize=True, deadline=None, database=None, max_examples=60)
CHANNELS = st.lists(st.integers(1, 12), min_size=1, max_size=7)


class Layers:
    """Of a source, what places of tiles follow from."""

    def __init__(self, channels):
        self.channels = channels


@st.composite
def cuts(draw):
    """Channels of the layers of two models, and their table cut within some budget."""
    models = [
        {f"{side}{index}": count for index, count in enumerate(draw(CHANNELS))} for side in "ab"
    ]
    values = [{name: draw(st.integers(1, 50)) * n for name, n in of.items()} for of in models]
    least = max(models[0].values()) * max(models[1].values())
    whole = sum(models[0].values()) * sum(models[1].values())
    pairs = draw(st.integers(least, max(least, whole + 1)))
    return models, pairs, tiles_of(tuple(models), tuple(values), pairs)


@ALWAYS_THE_SAME
@given(cuts())
def test_tiles_cover_every_pair_of_units_once_and_none_exceeds_the_budget(cut):
    models, pairs, tiles = cut
    covered = np.zeros([sum(of.values()) for of in models], int)
    for tile in tiles:
        places = spans(tuple(map(Layers, models)), tile)
        covered[places] += 1
        assert covered[places].size <= pairs
    assert (covered == 1).all()


@ALWAYS_THE_SAME
@given(cuts())
def test_tiles_keep_the_layers_of_both_models_in_the_order_of_the_forward_pass(cut):
    models, _, tiles = cut
    pairs = [(a, b) for tile in tiles for a in tile.a for b in tile.b]
    assert sorted(pairs) == sorted((a, b) for a in models[0] for b in models[1])
    assert len(pairs) == len(set(pairs))
    for tile in tiles:
        for part, of in zip((tile.a, tile.b), models, strict=True):
            assert part == [name for name in of if name in set(part)] and part


@ALWAYS_THE_SAME
@given(cuts(), st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_nearest_partners_of_tiles_are_those_of_the_whole_table_to_the_last_tie(
    cut, neighbours, seed, values
):
    """With few different values, so that many are equal, and some that are none."""
    models, _, tiles = cut
    random = np.random.default_rng(seed)
    shape = [sum(of.values()) for of in models]
    table = random.integers(-values, values + 1, shape).astype(np.float32) / values
    table[random.random(shape) < 0.2] = np.nan
    sources = tuple(map(Layers, models))
    for axis, whole in enumerate((table, table.T)):
        expected = nearest(whole, neighbours)
        parts = {}
        for tile in tiles:
            own, other = (spans(sources, tile)[side] for side in (axis, 1 - axis))
            found = nearest(whole[own, other], neighbours, other.start)
            parts.setdefault(own.start, []).append(found)
        merged = [nearest_of_all(parts[first], neighbours) for first in sorted(parts)]
        partner = np.concatenate([of.partner for of in merged])
        correlation = np.concatenate([of.correlation for of in merged])
        np.testing.assert_array_equal(partner, expected.partner)
        np.testing.assert_array_equal(
            np.where(partner < 0, np.nan, correlation),
            np.where(expected.partner < 0, np.nan, expected.correlation),
        )
