"""The common structure of the StyleGANs, a mapping network followed by a synthesis network."""

from typing import Any

from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.generators.mapping import LEARNING_RATE_FACTOR


class StyleGAN(nn.Module):
    """Network from z (image, latent) to images (image, rgb, y, x) in about [-1, 1].

    Attributes:
        mapping: Module from z, labels and truncation to w (image, layer, component).
        synthesis: Module from w to images; the rows of w may differ (the space W+).
        latent_size: Number of components of z.
        classes: Number of classes; 0 if it is unconditional.
        truncates: Whether it has the mean of w, which truncation needs.
        no_truncation: Reason why it cannot be truncated, if so.
        published: Places where published files state the value of each of our keywords, in the
            notation of zoo.generators.published_settings.
        built_in: Settings that have a fixed value here: the value, and such places.
    """

    truncates = True
    no_truncation = "its checkpoint has no mapping.w_avg, the mean of w (use one that has)"
    published: dict[str, tuple[str, ...]] = {
        "resolution": (":img_resolution", "img_resolution"),
        "latent": (":z_dim", "z_dim"),
        "w": (":w_dim", "w_dim"),
        "classes": (":c_dim", "c_dim"),
        "mapping_layers": ("mapping:num_layers", "mapping_kwargs.num_layers"),
        "channel_base": ("channel_base",),
        "channel_max": ("channel_max",),
    }
    built_in: dict[str, tuple[Any, tuple[str, ...]]] = {
        "learning rate factor of the mapping": (
            LEARNING_RATE_FACTOR,
            ("mapping.fc*:bias_gain", "mapping_kwargs.lr_multiplier", "mapping_lrmul"),
        ),
        "activation of the mapping": (
            "lrelu",
            ("mapping.fc*:activation", "mapping_kwargs.activation", "mapping_nonlinearity"),
        ),
    }

    def __init__(self, synthesis: nn.Module, mapping: nn.Module, latent: int, classes: int):
        super().__init__()
        self.latent_size, self.classes = latent, classes
        self.synthesis, self.mapping = synthesis, mapping

    def forward(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Return images.

        Args:
            z: Normal latents, (image, latent).
            labels: Class indices (image), if there are classes.
            truncation: Truncation psi: 1 keeps w, 0 gives the image of the mean w.

        Raises:
            ValueError: There are classes but no labels.
        """
        return self.synthesis(self.mapping(z, labels, truncation))


def check_w(w: Tensor, rows: int, components: int) -> None:
    """Refuse a w whose shape is not (image, layer, component) of a synthesis network.

    Raises:
        ValueError: The shape does not fit.
    """
    if w.ndim != 3 or tuple(w.shape[1:]) != (rows, components):
        raise UserError(
            f"w has shape {tuple(w.shape)}, expected (image, layer, component) with {rows} layers "
            f"of {components} components: the mapping network gives such a w."
        )


def clamped(x: Tensor, bound: float | None) -> Tensor:
    """Clamp values to [-bound, bound], or return them unchanged if the bound is None."""
    return x if bound is None else x.clamp(-bound, bound)


def check_resolution(resolution: int, smallest: int) -> None:
    """Refuse a resolution that is no power of two or below the smallest one.

    Raises:
        ValueError: The resolution is no power of two, or too small.
    """
    if resolution < smallest or resolution & (resolution - 1):
        raise UserError(
            f"resolution {resolution} is no power of two from {smallest} on. Correct `resolution` "
            "in `architecture` of the entry."
        )
