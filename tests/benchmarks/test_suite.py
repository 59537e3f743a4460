"""The picture of the engine's benchmark shows every row of its tables."""

import pandas as pd

from rosetta_steps.benchmarks.correlation import Case, flop_an_image
from rosetta_steps.benchmarks.suite import COLOURS, picture


def test_every_way_and_every_doubling_has_a_bar():
    table = pd.DataFrame(
        [
            (case, way, seconds, seconds / 0.1)
            for case in ("faces", "shapes")
            for way, seconds in zip(COLOURS, (0.05, 0.1, 0.2, 0.3, 0.4, 20.0), strict=True)
        ],
        columns=["case", "way", "seconds", "ratio"],
    )
    twice = pd.DataFrame({"case": ["once", "images", "workers"], "total": [2.0, 4.0, 2.5]})
    left, right = picture(table, twice, "a machine").axes
    assert [bar.get_width() for bar in left.patches] == table["seconds"].tolist()
    assert [bar.get_width() for bar in right.patches] == [2.0, 1.25]
    assert [label.get_text() for label in left.get_yticklabels()] == table["way"].tolist()


def test_the_products_of_two_layers_are_counted_where_they_meet():
    case = Case("x", shapes=((("a", 3, 8, 4),), (("b", 5, 4, 16), ("c", 2, 8, 4))))
    assert flop_an_image(case) == 2 * 3 * 5 * 4 * 4 + 2 * 3 * 2 * 8 * 4
