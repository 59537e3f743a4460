"""What the StyleGANs have in common: a mapping and a synthesis network, one after the other."""

from typing import Any

from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.generators.mapping import LEARNING_RATE_FACTOR


class StyleGAN(nn.Module):
    """z (image, latent) to images (image, rgb, y, x) in about [-1, 1].

    Attributes:
        mapping: z, labels and truncation to w (image, layer, component).
        synthesis: w to images; its rows may differ (the space W+).
        latent_size: Components of z.
        classes: Number of classes, 0 where it is unconditional.
        truncates: It knows the mean of w.
        no_truncation: Why not, where it does not.
        published: Our keywords to the places where published files state their values, as
            zoo.generators.published_settings reads them.
        built_in: What has one value here and is no keyword: the value, and such places.
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
        raise UserError(
            f"w has shape {tuple(w.shape)}, expected (image, layer, component) with {rows} layers "
            f"of {components} components: the mapping network gives such a w."
        )


def clamped(x: Tensor, bound: float | None) -> Tensor:
    """Values within -bound and bound, or as they are where there is none."""
    return x if bound is None else x.clamp(-bound, bound)


def check_resolution(resolution: int, smallest: int) -> None:
    """Refuse an image size that no published layout has.

    Raises:
        ValueError: It is no power of two, or too small.
    """
    if resolution < smallest or resolution & (resolution - 1):
        raise UserError(
            f"resolution {resolution} is no power of two from {smallest} on. Correct `resolution` "
            "in `architecture` of the entry."
        )
