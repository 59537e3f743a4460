"""Kinds of edits: which numbers each has, and how it is reached. A new edit is one entry here and
one function of its name in editing.edits.

Nothing here imports torch: a config is held against these names while the workflow is parsed.
"""

from dataclasses import dataclass

# Numbers of edits where none are given.
DIRECTION = (0.0, 0.25)  # (dy, dx) as shares of the size
FACTOR = 2.0
LEVEL = 0.5


@dataclass(frozen=True)
class Kind:
    """A kind of edit.

    Attributes:
        numbers: Keys of the config and options that it has besides what all have.
        similarity: Form of L_act by which it is reached, unless another is asked for.
        start: Where the optimisation begins, unless another start is asked for.
        moves: Whether it moves maps, so that they must be large enough.
    """

    numbers: tuple[str, ...] = ()
    similarity: str = "pearson"
    start: str = "source"
    moves: bool = False


KINDS = {
    "zoom_in": Kind(),
    "shift": Kind(("shift",), moves=True),
    # Of copy and paste 0.32 is reached from the source, 0.39 with the best of four random starts.
    "copy_and_paste": Kind(("shift",), start="random", moves=True),
    # The others set a level, which correlation does not see.
    "remove": Kind(similarity="distance"),
    "amplify": Kind(("factor",), similarity="distance"),
    "paint": Kind(("mask", "level"), similarity="distance"),
}
