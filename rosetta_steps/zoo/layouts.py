"""Conversion of module outputs to activation maps (image, channel, y, x), by their layout.

Three layouts occur: channels first (convolutions), channels last (the MLP of a Swin or ConvNeXt
block), and tokens (image, token, channel), which form a grid of patches row by row. An output whose
layout is uncertain is refused as no map, because a wrongly read map would still give correlations.
zoo.proof then tests each layer: its maps must change where the image is changed.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError

FIRST, LAST = 1, -1
# Maximum deviation of a map's side from the proportions of the image, as a share of the side.
# Convolutions without padding crop the same number of pixels from long and short sides.
DRIFT = 1 / 8


@dataclass(frozen=True)
class Tokens:
    """Arrangement of a transformer's tokens on the image.

    Attributes:
        grids: Height and width of the grid of patches; one grid for each stage.
        prefix: Number of tokens before the patches: class, distillation, registers. They may be
            missing in some blocks (CaiT adds the class token late).
    """

    grids: tuple[tuple[int, int], ...] = ()
    prefix: int = 0

    def __str__(self) -> str:
        if not self.grids:
            return "nothing says on which grid they lie"
        grids = " or ".join(f"{y} x {x}" for y, x in self.grids)
        return f"expected {grids} patches, after {self.prefix} prefix tokens or none"

    def fold(self, output: Tensor) -> Tensor | str:
        """Return tokens (image, token, channel) as a map, or the reason why they are none."""
        tokens = output.shape[1]
        for y, x in self.grids:
            for prefix in (0, self.prefix):
                if tokens == y * x + prefix:
                    return output[:, prefix:].transpose(1, 2).unflatten(2, (y, x))
        return f"has {tokens} tokens; {self}"


HOW_TOKENS_LIE = (
    " If these are the tokens of a transformer, say in its entry how they lie: architecture: "
    "{grid: [y, x], prefix_tokens: n}, with a list of grids where there are several stages."
)


def tokens_from(name: str, architecture: dict) -> Tokens:
    """Return the tokens that an entry declares; they must be in row-by-row order.

    Args:
        name: Name of the model, for errors.
        architecture: Mapping of an entry; `grid` is [y, x] or a list of such pairs, and
            `prefix_tokens` is a number.

    Raises:
        ValueError: `grid` or `prefix_tokens` has another form.
    """
    grids, prefix = architecture.get("grid", []), architecture.get("prefix_tokens", 0)
    grids = [grids] if grids and isinstance(grids[0], int) else grids
    pairs = all(
        isinstance(grid, list) and len(grid) == 2 and all(isinstance(n, int) for n in grid)
        for grid in grids
    )
    if not pairs or not isinstance(prefix, int):
        raise UserError(
            f"{name}: architecture.grid is {grids} and prefix_tokens {prefix}, expected [y, x] in "
            "patches, or a list of such, and a number of tokens."
        )
    return Tokens(tuple(tuple(grid) for grid in grids), prefix)


@dataclass(kw_only=True)
class Source:
    """Information about an output's layout, gathered while the modules run.

    Attributes:
        module: Module that returned the output.
        nonlinearity: Name of the nonlinearity, or None for the output of another module.
        axis: Channel axis of the last output in four dimensions: FIRST, LAST or None (unknown).
        shape: Shape of that output.
        axes: All channel axes so far.
        mixed_tokens: in_features of the last linear layer, if it was applied along the tokens.
    """

    module: nn.Module | None = None
    nonlinearity: str | None = None
    axis: int | None = None
    shape: tuple[int, ...] = ()
    axes: set[int] = field(default_factory=set)
    mixed_tokens: int = 0

    def note(self, module: nn.Module, inputs: tuple, output: object) -> None:
        """Record the layout of the output of a module known to channel_axis; a forward hook."""
        if not isinstance(output, Tensor):
            return
        if output.ndim == 4:
            axis = channel_axis(module)
            assert axis is not None, "it is a hook of such modules alone"
            self.axis = axis
            self.axes.add(axis)
            self.shape = tuple(output.shape)
        elif output.ndim == 3 and isinstance(module, nn.Linear):
            transposed = bool(inputs) and inputs[0].stride(-1) != 1
            self.mixed_tokens = module.in_features if transposed else 0

    def declares(self, output: Tensor) -> bool:
        """Whether an output has the last recorded layout.

        A nonlinearity keeps the layout unless the output was reshaped before; a block may end in a
        permutation (ConvNeXt).
        """
        if channel_axis(self.module) is not None:
            return True
        return self.nonlinearity is not None and self.shape == tuple(output.shape)


@dataclass(frozen=True)
class Reader:
    """Conversion of the outputs of a model's modules to maps.

    Attributes:
        tokens: Tokens of a transformer.
        images: Number of images in the batch; an output with another number, such as windows, is no
            map. None if unknown.
        size: Height and width of the images, whose proportions maps must have; None if unknown.
        remedy: Sentence to append to errors, with a leading space.
    """

    tokens: Tokens = Tokens()
    images: int | None = None
    size: tuple[int, int] | None = None
    remedy: str = ""

    def read(self, output: object, source: Source) -> Tensor | str:
        """Return a view of an output as (image, channel, y, x), or the reason why it is no map.

        If a module has the attribute `margin`, so many pixels on each side of its output lie
        outside the image (StyleGAN3) and are cropped.
        """
        if not isinstance(output, Tensor):
            return f"is a {type(output).__name__}"
        shape = tuple(output.shape)
        if output.ndim not in (3, 4):
            return f"has shape {shape}"
        if self.images is not None and shape[0] != self.images:
            return f"has shape {shape} for {self.images} images"
        if output.ndim == 3:
            if source.mixed_tokens == shape[1]:
                return f"has shape {shape} and mixes the tokens, so that none has a place"
            maps = self.tokens.fold(output)
        else:
            maps = self._channels_first(output, source)
        margin = getattr(source.module, "margin", 0)
        if margin and not isinstance(maps, str):
            maps = maps[..., margin:-margin, margin:-margin]
        return maps

    def _channels_first(self, output: Tensor, source: Source) -> Tensor | str:
        first = self._in_proportion(*output.shape[2:])
        last = self._in_proportion(*output.shape[1:3]) and not self._finer_than_patches(output)
        if first and last:
            declared = source.axis if source.declares(output) else None
            axis = FIRST if source.axes <= {FIRST} else declared
        elif first or last:
            axis = FIRST if first else LAST
        else:
            declared = source.axis == FIRST and source.declares(output)
            rows, columns = output.shape[2:]
            axis = FIRST if declared and self._in_proportion(rows, columns, DRIFT) else None
            if axis is None and self.size is not None:
                y, x = self.size
                return (
                    f"has shape {tuple(output.shape)}, of which no axis is surely the channels: "
                    f"none leaves the proportions of the image, {y} x {x}"
                )
        if axis is None:
            return f"has shape {tuple(output.shape)}, of which no axis is surely the channels"
        return output if axis == FIRST else output.permute(0, 3, 1, 2)

    def _in_proportion(self, y: int, x: int, drift: float = 0) -> bool:
        if self.size is None:
            return True
        height, width = self.size
        beside = (abs(y - x * height / width) / y, abs(x - y * width / height) / x)
        return beside[0] < max(1 / y, drift) or beside[1] < max(1 / x, drift)

    def _finer_than_patches(self, output: Tensor) -> bool:
        # Attention weights between all tokens have the shape (image, token, token, head).
        grids = self.tokens.grids
        return bool(grids) and output.shape[1] > max(y for y, _ in grids)


def channel_axis(module: nn.Module | None) -> int | None:
    """Return the channel axis of a module's outputs in four dimensions; None if unknown."""
    convolutional = (
        nn.Conv2d,
        nn.ConvTranspose2d,
        nn.BatchNorm2d,
        nn.GroupNorm,
        nn.InstanceNorm2d,
    )
    if isinstance(module, convolutional):
        return FIRST
    if isinstance(module, nn.Linear):
        return LAST
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
        # In timm and torchvision, LayerNorm2d normalises channels-first outputs.
        return FIRST if "2d" in type(module).__name__ else LAST
    return None
