"""Tests of a match: what a sceptic says, the statistic that answers, and when it fails.

No score is made of them: a verdict lists the tests that failed, out of those that were computed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

# Of a pair's r: a smaller part left after a test's correction fails it.
HALF = 0.5
# A match of whose r so little is in the same place of the same image has its places to thank.
PLACE_SHARE = 0.2
# Of the sum of products: where the largest hundredth has more than all of it, nothing is left
# without them. (Half of it is ordinary: products of both signs cancel where r is small.)
TOP_SHARE = 1.0
# Of what a linear readout of the layer explains. One of two equal carriers has a half of it, give
# or take what sampling adds, and a unit that stands alone all of it. The limit lies between: a unit
# that says less than twice what all others add to it is not alone.
ONE_UNIT_SHARE = 2 / 3


@dataclass(frozen=True)
class EvidenceTest:
    """A test of matched pairs.

    Attributes:
        badge: Name of its failure, in words.
        sentence: The objection that it answers.
        needs: Columns of the table of evidence that it looks at; where one of them is empty, the
            test was not made.
        fails: Which pairs fail, (pair) bool, from the table and the level of q-values.
    """

    badge: str
    sentence: str
    needs: tuple[str, ...]
    fails: Callable[[pd.DataFrame, float], pd.Series]


TESTS = (
    EvidenceTest(
        "not above chance",
        "Images that were moved give as strong pairs, without favourite places too.",
        ("q", "q_place"),
        lambda table, level: (table["q"] > level) & (table["q_place"] > level),
    ),
    EvidenceTest(
        "where only",
        "Both units only like the same part of every image.",
        ("place", "q_place"),
        lambda table, level: (
            (table["place"] < PLACE_SHARE * table["correlation"]) & (table["q_place"] > level)
        ),
    ),
    EvidenceTest(
        "low level",
        "Both units only share brightness, colour, edges or a position.",
        ("partial_low_level",),
        lambda table, _: table["partial_low_level"] < HALF * table["correlation"],
    ),
    EvidenceTest(
        "few images",
        "Ten images make the match.",
        ("without_top_images",),
        lambda table, _: table["without_top_images"] < HALF * table["correlation"],
    ),
    EvidenceTest(
        "outlier driven",
        "A few positions carry the match.",
        ("top_positions",),
        lambda table, _: table["top_positions"] > TOP_SHARE,
    ),
    EvidenceTest(
        "uncertain",
        "Other images would have given no correlation.",
        ("low",),
        lambda table, _: table["low"] <= 0,
    ),
    EvidenceTest(
        "shrinks",
        "The pair was chosen because r is large on these images.",
        ("held_out",),
        lambda table, _: table["held_out"] < HALF * table["correlation"],
    ),
    EvidenceTest(
        "architecture",
        "An untrained network gives as strong a partner.",
        ("untrained_excess",),
        lambda table, _: table["untrained_excess"] <= 0,
    ),
    EvidenceTest(
        "not this unit alone",
        "Any direction of the layer would do as well.",
        ("rotation_excess",),
        lambda table, _: table["rotation_excess"] <= 0,
    ),
    EvidenceTest(
        "distributed",
        "The concept is spread over many units.",
        ("one_unit_share",),
        lambda table, _: table["one_unit_share"] < ONE_UNIT_SHARE,
    ),
)


def passed(table: pd.DataFrame) -> pd.Series:
    """Whether each pair passed every test that was made, (pair) bool, from its verdict."""
    return ~table["verdict"].str.contains(":")


def failed_badges(verdict: str) -> list[str]:
    """The badges of the tests that a pair failed, from its verdict."""
    _, _, badges = verdict.partition(": ")
    return badges.split(", ") if badges else []


def tests_made(table: pd.DataFrame) -> pd.DataFrame:
    """Which tests were made of each pair, bool, a column a test by its badge.

    Args:
        table: Columns of evidence (matching.tables.EVIDENCE).
    """
    return pd.DataFrame(
        {test.badge: table[list(test.needs)].notna().all(axis=1) for test in TESTS},
        index=table.index,
    )


def failures(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Which tests each pair fails, a column a test by its badge.

    Args:
        table: Columns of evidence (matching.tables.EVIDENCE) but for the verdict.
        level: Largest q-value that counts as above chance.

    Returns:
        1.0 where a pair fails, 0.0 where it passes, NaN where the test was not made.
    """
    found = {test.badge: test.fails(table, level).astype(float) for test in TESTS}
    return pd.DataFrame(found, index=table.index).where(tests_made(table))


def verdicts(failed: pd.DataFrame) -> list[str]:
    """The verdict of every pair in words, such as "5 of 6: low level".

    Args:
        failed: As `failures` gives it.
    """
    made = failed.notna().sum(axis=1).to_numpy()
    values = failed.to_numpy() == 1
    badges = np.array(failed.columns)
    return [
        f"{count - row.sum()} of {count}" + (f": {', '.join(badges[row])}" if row.any() else "")
        for count, row in zip(made, values, strict=True)
    ]
