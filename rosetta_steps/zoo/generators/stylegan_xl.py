"""StyleGAN-XL (Sauer et al. 2022): StyleGAN3 for many classes, grown from a stem by stages."""

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.generators.alias_free_synthesis import BUILT_IN, CLAMP, PUBLISHED, Synthesis
from rosetta_steps.zoo.generators.band_limits import signals, steps
from rosetta_steps.zoo.generators.mapping import FullyConnected, Mapping
from rosetta_steps.zoo.generators.stylegan import StyleGAN, check_resolution


class StyleGANXL(StyleGAN):
    """z (image, latent) and labels (image) to images (image, rgb, y, x) in about [-1, 1].

    A stage doubles the resolution: it takes the critically sampled layers and the one that makes
    the colours away, and puts layers of its own behind the others. The defaults are the published
    layout for ImageNet.

    Args:
        resolution: Of the image, in pixels.
        classes: Number of classes.
        latent: Components of z.
        w: Components of w.
        embedding: Components of the embedding of a class.
        mapping_layers: Fully connected layers from z and class to w.
        channel_base: Channels times twice the cutoff frequency of a layer ...
        channel_max: ... but at most so many channels.
        stem_resolution: Of the image of the stem; resolution where there are no stages.
        stem_layers: Of the stem, before the one that makes the colours.
        stage_layers: Of a stage, before the one that makes the colours.
        critical: How many of them, the last ones, are sampled critically.
        margin: Pixels outside the image on each side.
        first_cutoff: Of the Fourier features, in cycles an image.
        first_stopband: Where they have no content any more, in cycles an image.
        last_stopband_factor: Last stopband over half the resolution.
        clamp: Bound of all maps; null in files trained without float16.

    Raises:
        ValueError: A resolution is no power of two, or below that of the stem, or there are no
            classes.
    """

    # Of a network grown by stages the attributes say what holds: its keywords are the last stage's.
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
        rest = (last_stopband_factor, channel_base, channel_max)
        found = signals(
            stem_resolution, stem_layers, critical, margin, first_cutoff, first_stopband, *rest
        )
        first = found[0]
        layers = list(enumerate(steps(found, critical)))
        while stem_resolution < resolution:
            stem_resolution *= 2
            layers = layers[: -critical - 1]
            end = layers[-1][1].after
            stopband = end.cutoff + end.half_width
            found = signals(
                stem_resolution, stage_layers, critical, margin, end.cutoff, stopband, *rest, end
            )
            # The published names leave out one number at the first stage: it counts the layers
            # kept, and the Fourier features.
            layers += enumerate(steps(found, critical), len(layers) + 1)
        synthesis = Synthesis(w, first, layers, kernel=3, radial=False, clamp=clamp)
        mapping = ClassMapping(latent, w, synthesis.rows, mapping_layers, classes, embedding)
        super().__init__(synthesis, mapping, latent, classes)


class ClassMapping(Mapping):
    """A mapping network that knows the mean of w of each class, and embeds classes in two steps."""

    def __init__(self, latent: int, w: int, rows: int, layers: int, classes: int, embedding: int):
        super().__init__(latent, w, rows, layers, classes, class_components=latent)
        self.w_avg = torch.zeros(classes, w)
        self.embed = nn.Embedding(classes, embedding)
        self.embed_proj = FullyConnected(embedding, latent, activate=True)

    def of_class(self, labels: Tensor) -> Tensor:
        """What classes add to z, (image, component)."""
        return self.embed_proj(self.embed(labels))

    def mean(self, labels: Tensor | None) -> Tensor:
        """Mean of w of each class, (image, component)."""
        assert labels is not None, "there are classes"
        return self.w_avg[labels]
