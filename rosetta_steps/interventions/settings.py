"""Settings of interventions."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting


@dataclass(frozen=True)
class Interventions:
    """Settings of the causal check of matches.

    Raises:
        ValueError: A setting is out of its range.
    """

    concepts: int = setting(
        10,
        "concepts whose strongest pair with each model is tested, from the strongest down",
        minimum=1,
        maximum=100000,
    )
    images: int = setting(
        50,
        "images on which units are clamped, the first of the sample set",
        minimum=2,
        maximum=10**6,
    )
    controls: int = setting(
        20,
        "units of the partner's layer among which it is ranked, and candidates for the generator's "
        "control unit; below 19 no p-value can reach 0.05",
        minimum=1,
        maximum=10000,
    )

    def __post_init__(self):
        check(self)
