"""Settings of labels of units: when one stands, and which words are scored."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting

OF_A_VERDICT = ("level", "min_score", "permutations")
OF_WORDS = ("vocabulary", "model", "template")


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """Settings of the labels of units.

    Raises:
        ValueError: A setting is out of its range.
    """

    level: float = setting(
        0.05,
        "largest p of a unit's best label, and q over all units, that count as above chance",
        above=0,
        maximum=1,
    )
    min_score: float = setting(
        0.3,
        "least score of a label, Pearson's r over all images; 0.3 is a tenth of the variance",
        minimum=0,
        maximum=1,
    )
    permutations: int = setting(
        1000,
        "times that the images of all labels are permuted, which says what the best is by chance",
        minimum=100,
        maximum=10**6,
    )
    vocabulary: str = setting("", "file of words or phrases, one a line, that `model` scores")
    model: str = setting(
        "", "model of the zoo, of the loader open_clip, whose file has the text tower as well"
    )
    template: str = setting(
        "a photo of a {}.",
        "what the text tower is given, with the word in the place of {}",
        pattern=r"^[^{}]*\{\}[^{}]*$",
    )

    def __post_init__(self):
        check(self)
