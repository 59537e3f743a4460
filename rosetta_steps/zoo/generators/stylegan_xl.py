"""StyleGAN-XL (Sauer et al. 2022), a StyleGAN3 for many classes, grown from a stem in stages."""

from functools import partial

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.generators.alias_free_synthesis import BUILT_IN, CLAMP, PUBLISHED, Synthesis
from rosetta_steps.zoo.generators.band_limits import signals, steps
from rosetta_steps.zoo.generators.mapping import FullyConnected, Mapping
from rosetta_steps.zoo.generators.stylegan import StyleGAN, check_resolution


class StyleGANXL(StyleGAN):
    """Network from z (image, latent) and labels (image) to images (image, rgb, y, x).

    Images are in about [-1, 1]. A stage doubles the resolution: it removes the critically sampled
    layers and the one that outputs colours, and appends new layers. The defaults are those of the
    published layout for ImageNet.

    Args:
        resolution: Height and width of the image in pixels.
        classes: Number of classes.
        latent: Number of components of z.
        w: Number of components of w.
        embedding: Number of components of the embedding of a class.
        mapping_layers: Number of fully connected layers from z and class to w.
        channel_base: Number of channels times twice the cutoff frequency of a layer, which
            determines the channels.
        channel_max: Maximum number of channels.
        stem_resolution: Resolution of the stem; equal to `resolution` if there are no stages.
        stem_layers: Number of layers of the stem before the one that outputs colours.
        stage_layers: Number of layers of a stage before the one that outputs colours.
        critical: Number of them, at the end, that are critically sampled.
        margin: Number of pixels outside the image on each side.
        first_cutoff: Cutoff frequency of the Fourier features, in cycles per image.
        first_stopband: Frequency from which they have no content, in cycles per image.
        last_stopband_factor: Last stopband divided by half the resolution.
        clamp: Absolute bound of all maps; null in files trained without float16.

    Raises:
        ValueError: A resolution is no power of two or below that of the stem, or there are no
            classes.
    """

    # Attributes come first, because the keywords of a network grown in stages are its last stage's.
    published = (
        StyleGAN.published
        | PUBLISHED
        | {
            "channel_base": ("synthesis:channel_base", "channel_base"),
            "channel_max": ("synthesis:channel_max", "channel_max"),
            "stem_layers": ("num_layers",),
            "stage_layers": ("head_layers",),
        }
    )
    built_in = StyleGAN.built_in | BUILT_IN

    def __init__(
        self,
        resolution: int,
        *,
        classes: int = 1000,
        latent: int = 64,
        w: int = 512,
        embedding: int = 320,
        mapping_layers: int = 2,
        channel_base: int = 65536,
        channel_max: int = 1024,
        stem_resolution: int = 16,
        stem_layers: int = 10,
        stage_layers: int = 7,
        critical: int = 2,
        margin: int = 10,
        first_cutoff: float = 2,
        first_stopband: float = 2**2.1,
        last_stopband_factor: float = 2**0.3,
        clamp: float | None = CLAMP,
    ):
        check_resolution(stem_resolution, 16)
        check_resolution(resolution, stem_resolution)
        if classes < 1:
            raise UserError(
                f"StyleGAN-XL with classes: {classes}, but it has a mean of w for each class: give "
                "their number in `architecture` of the entry."
            )
        signals_of = partial(
            signals,
            critical=critical,
            margin=margin,
            last_stopband_factor=last_stopband_factor,
            channel_base=channel_base,
            channel_max=channel_max,
        )
        found = signals_of(
            stem_resolution, stem_layers, cutoff=first_cutoff, stopband=first_stopband
        )
        first = found[0]
        layers = list(enumerate(steps(found, critical)))
        while stem_resolution < resolution:
            stem_resolution *= 2
            layers = layers[: -critical - 1]
            end = layers[-1][1].after
            found = signals_of(
                stem_resolution,
                stage_layers,
                cutoff=end.cutoff,
                stopband=end.cutoff + end.half_width,
                after=end,
            )
            # In published names a stage numbers its layers after the kept ones plus the Fourier
            # features, so that one number is skipped at the first stage.
            layers += enumerate(steps(found, critical), len(layers) + 1)
        synthesis = Synthesis(w, first, layers, kernel=3, radial=False, clamp=clamp)
        mapping = ClassMapping(
            latent, w, synthesis.rows, mapping_layers, classes=classes, embedding=embedding
        )
        super().__init__(synthesis, mapping, latent, classes)


class ClassMapping(Mapping):
    """Mapping network with the mean of w of each class, which embeds classes in two steps."""

    def __init__(
        self, latent: int, w: int, rows: int, layers: int, *, classes: int, embedding: int
    ):
        super().__init__(latent, w, rows, layers, classes=classes, class_components=latent)
        self.w_avg = torch.zeros(classes, w)
        self.embed = nn.Embedding(classes, embedding)
        self.embed_proj = FullyConnected(embedding, latent, activate=True)

    def of_class(self, labels: Tensor) -> Tensor:
        """Return the components that classes append to z, (image, component)."""
        return self.embed_proj(self.embed(labels))

    def mean(self, labels: Tensor | None) -> Tensor:
        """Return the mean of w of each image's class, (image, component)."""
        assert labels is not None, "there are classes"
        return self.w_avg[labels]
