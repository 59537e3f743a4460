"""Settings of the clustering of units into concepts."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting

# K of the best buddies, in both directions, where a config does not say another.
NEIGHBOURS = 5
METHODS = ("average", "components")


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
        choices=METHODS,
    )
    min_correlation: float = setting(
        0.3,
        "mean correlation below which average linkage keeps two clusters apart",
        minimum=-1,
        maximum=1,
    )

    def __post_init__(self):
        check(self)
