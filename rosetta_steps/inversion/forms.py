"""Forms of L_act (eq. 6), which are similarities of two standardised maps a and b.

A form that is a function of <a, b>, |a|^2 and |b|^2 needs only a class here, because these three
are computed at the size of the generator's map. A form that needs the maps themselves needs code in
similarity.py too.

This module does not import torch, because the workflow validates its config with these names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Threshold on a squared norm relative to the target's, below which a map counts as constant.
NOTHING = 1e-6


class Form(ABC):
    """Similarity of a generator's map a and a target map b, both standardised.

    Attributes:
        words: Formula in words.
        centred: Whether the mean of each map on the image is subtracted first.
        normalised: Whether b is divided by its norm beforehand.
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
        """Return numerator and denominator of the similarities, (image, pair) each.

        Args:
            product: Inner products <a, b>, (image, pair).
            norm: Squared norms |a|^2, (image, pair); None unless needs_norm.
            square: Squared norms |b|^2 before b was normalised, (image, pair).
            positions: Number of positions of the maps, (pair).
        """


class Published(Form):
    """Eq. 6 as written."""

    words = "mean of a b: eq. 6; it is linear in the generator's map, and has no maximum"
    needs_norm = False

    def parts(self, product, norm, square, positions):
        """Return the parts of the mean product."""
        return product, positions


class Cosine(Form):
    """The cosine, which the published code uses."""

    words = "<a, b> / (|a| |b|)"
    normalised = True

    def parts(self, product, norm, square, positions):
        """Return the product with the normalised target, and the norm of a."""
        return product, norm.maximum(NOTHING * positions).sqrt()


class Pearson(Cosine):
    """The cosine of maps about their own means."""

    words = "the same, with a and b about their own means on this image"
    centred = True


class Distance(Form):
    """Minus half the mean squared difference."""

    words = "minus half the mean of (a - b)^2: at most 0; also places a and b at one level"

    def parts(self, product, norm, square, positions):
        """Return the parts, computed from all three products."""
        return product - (norm + square) / 2, positions


FORMS: dict[str, Form] = {
    "published": Published(),
    "cosine": Cosine(),
    "pearson": Pearson(),
    "distance": Distance(),
}
