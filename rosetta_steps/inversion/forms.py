"""Forms of L_act (eq. 6): how alike two standardised maps a and b are.

A new form that follows from <a, b>, |a|^2 and |b|^2 is one class here. These three are computed at
the size of the generator's map; a form that needs the maps themselves needs a way of its own in
similarity.py.

Nothing here imports torch: a config is held against these names while the workflow is parsed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Of a squared norm relative to its target's: below it, a map is as good as constant.
NOTHING = 1e-6


class Form(ABC):
    """Similarity of a map a of the generator and a map b of a target, both standardised.

    Attributes:
        words: The formula.
        centred: Whether both are taken about their own means on the image.
        normalised: Whether b is divided by its norm before.
        needs_norm: Whether the squared norm of a is needed, which costs a product.
    """

    words: str
    centred = False
    normalised = False
    needs_norm = True

    @abstractmethod
    def parts(
        self, product: Tensor, norm: Tensor | None, square: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of the similarity of each pair on each image, (image, pair).

        Args:
            product: <a, b>.
            norm: |a|^2; None unless needs_norm.
            square: |b|^2, before b was normalised.
            positions: Of the maps, (pair).
        """


class Published(Form):
    """Eq. 6 as written."""

    words = "mean of a b: eq. 6; it is linear in the generator's map, and has no maximum"
    needs_norm = False

    def parts(self, product, norm, square, positions):
        """Of the mean product."""
        return product, positions


class Cosine(Form):
    """The cosine, which the published code uses."""

    words = "<a, b> / (|a| |b|)"
    normalised = True

    def parts(self, product, norm, square, positions):
        """Product with the normalised target, over the norm."""
        return product, norm.maximum(NOTHING * positions).sqrt()


class Pearson(Cosine):
    """The cosine of maps about their own means."""

    words = "the same, with a and b about their own means on this image"
    centred = True


class Distance(Form):
    """Minus half the mean squared difference."""

    words = "minus half the mean of (a - b)^2: at most 0; also places a and b at one level"

    def parts(self, product, norm, square, positions):
        """From the three products."""
        return product - (norm + square) / 2, positions


FORMS: dict[str, Form] = {
    "published": Published(),
    "cosine": Cosine(),
    "pearson": Pearson(),
    "distance": Distance(),
}
