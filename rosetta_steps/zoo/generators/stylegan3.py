"""StyleGAN3 (Karras et al. 2021), equivariant to translation (t) or also to rotation (r)."""

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.generators.alias_free_synthesis import BUILT_IN, CLAMP, PUBLISHED, Synthesis
from rosetta_steps.zoo.generators.band_limits import signals, steps
from rosetta_steps.zoo.generators.mapping import Mapping
from rosetta_steps.zoo.generators.stylegan import StyleGAN, check_resolution

# By kind: channel_base, channel_max, size of the convolution kernels, radial filters.
KINDS = {"t": (32768, 512, 3, False), "r": (65536, 1024, 1, True)}


class StyleGAN3(StyleGAN):
    """Network from z (image, latent) to images (image, rgb, y, x) in about [-1, 1].

    The defaults are those of the published layout; files for 256 pixels have half the channel_base.

    Args:
        resolution: Height and width of the image in pixels.
        kind: "t" or "r".
        latent: Number of components of z.
        w: Number of components of w.
        classes: Number of classes; 0 if it is unconditional.
        mapping_layers: Number of fully connected layers from z to w.
        channel_base: Number of channels times twice the cutoff frequency of a layer, which
            determines the channels; None for the value of the kind.
        channel_max: Maximum number of channels; None for the value of the kind.
        layers: Number of layers before the one that outputs colours.
        critical: Number of them, at the end, that are critically sampled.
        margin: Number of pixels outside the image on each side.
        first_cutoff: Cutoff frequency of the Fourier features, in cycles per image.
        first_stopband: Frequency from which they have no content, in cycles per image.
        last_stopband_factor: Last stopband divided by half the resolution.
        clamp: Absolute bound of all maps; null in files trained without float16.

    Attributes:
        by_kind: Values of the keywords whose default depends on the kind.

    Raises:
        ValueError: There is no such kind, or the resolution is no power of two.
    """

    published = StyleGAN.published | PUBLISHED | {"layers": ("synthesis:num_layers", "num_layers")}
    built_in = StyleGAN.built_in | BUILT_IN

    def __init__(
        self,
        resolution: int,
        *,
        kind: str,
        latent: int = 512,
        w: int = 512,
        classes: int = 0,
        mapping_layers: int = 2,
        channel_base: int | None = None,
        channel_max: int | None = None,
        layers: int = 14,
        critical: int = 2,
        margin: int = 10,
        first_cutoff: float = 2,
        first_stopband: float = 2**2.1,
        last_stopband_factor: float = 2**0.3,
        clamp: float | None = CLAMP,
    ):
        if kind not in KINDS:
            raise UserError(
                f"no StyleGAN3 of kind '{kind}': give kind: t (3 x 3 convolutions) or kind: r "
                "(1 x 1 convolutions and radial filters) in `architecture` of the entry."
            )
        check_resolution(resolution, 16)
        base, most, kernel, radial = KINDS[kind]
        base = base if channel_base is None else channel_base
        most = most if channel_max is None else channel_max
        found = signals(
            resolution,
            layers,
            critical=critical,
            margin=margin,
            cutoff=first_cutoff,
            stopband=first_stopband,
            last_stopband_factor=last_stopband_factor,
            channel_base=base,
            channel_max=most,
        )
        numbered = list(enumerate(steps(found, critical)))
        synthesis = Synthesis(w, found[0], numbered, kernel=kernel, radial=radial, clamp=clamp)
        mapping = Mapping(latent, w, synthesis.rows, mapping_layers, classes=classes)
        super().__init__(synthesis, mapping, latent, classes)
        self.by_kind = {"channel_base": base, "channel_max": most}
