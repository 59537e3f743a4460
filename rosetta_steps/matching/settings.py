"""Settings of the clustering of units into concepts."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting

# K of the best buddies, in both directions, where a config does not say another.
NEIGHBOURS = 5


@dataclass(frozen=True)
class Method:
    """A way to cluster units.

    Attributes:
        function: Its function in matching.clustering, which takes (units, selves, correlations,
            settings) and returns the cluster number of each unit.
        words: What it is, for the page; may name settings in braces.
    """

    function: str
    words: str


METHODS = {
    "average": Method("average_linkage", "average linkage, r ≥ {min_correlation}"),
    "components": Method("components", "the paper's components"),
}


@dataclass(frozen=True)
class Clustering:
    """Settings of concepts (section 3.2).

    Raises:
        ValueError: A setting is none of its choices or out of its range.
    """

    method: str = setting(
        "average",
        "how units become concepts: average linkage, or the paper's connected components of best "
        "buddies",
        choices=tuple(METHODS),
    )
    min_correlation: float = setting(
        0.3,
        "mean correlation below which average linkage keeps two clusters apart",
        minimum=-1,
        maximum=1,
    )

    def __post_init__(self):
        check(self)
