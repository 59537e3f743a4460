"""What the StyleGANs have in common: a mapping and a synthesis network, one after the other."""

from torch import Tensor, nn


class StyleGAN(nn.Module):
    """z (image, latent) to images (image, rgb, y, x) in about [-1, 1].

    Attributes:
        mapping: z, labels and truncation to w (image, layer, component).
        synthesis: w to images; its rows may differ (the space W+).
        latent_size: Components of z.
        classes: Number of classes, 0 where it is unconditional.
        truncates: It knows the mean of w.
    """

    truncates = True

    def __init__(self, synthesis: nn.Module, mapping: nn.Module, latent: int, classes: int):
        super().__init__()
        self.latent_size, self.classes = latent, classes
        self.synthesis, self.mapping = synthesis, mapping

    def forward(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Generate.

        Args:
            z: (image, latent), normal.
            labels: Class indices (image), where there are classes.
            truncation: psi: 1 keeps w, 0 gives the image of the mean w.

        Raises:
            ValueError: There are classes, and no labels.
        """
        return self.synthesis(self.mapping(z, labels, truncation))


def check_w(w: Tensor, rows: int, components: int) -> None:
    """Refuse a w that is not (image, layer, component) of a synthesis network.

    Raises:
        ValueError: It has another shape.
    """
    if w.ndim != 3 or tuple(w.shape[1:]) != (rows, components):
        raise ValueError(
            f"w has shape {tuple(w.shape)}, expected (image, layer, component) with {rows} layers "
            f"of {components} components: the mapping network gives such a w."
        )


def check_resolution(resolution: int, smallest: int) -> None:
    """Refuse an image size that no published layout has.

    Raises:
        ValueError: It is no power of two, or too small.
    """
    if resolution < smallest or resolution & (resolution - 1):
        raise ValueError(
            f"resolution {resolution} is no power of two from {smallest} on. Correct `resolution` "
            "in `architecture` of the entry."
        )
