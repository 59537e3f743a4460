"""Tests that the outputs read from a model are spatial maps, run before a store or a stream.

Determinism: maps must be the same in two passes and the same for an image alone and in a batch, and
a pass must not change a parameter or buffer. Position: an image is changed in one block after the
other, and the place where a map changes is compared with the place of the block. A layer that
changes elsewhere (attention, unfolded patches, tokens in another order, swapped axes) is left out,
with the reason.

The result depends on entry, weights, layers and code, and is kept in the cache.
"""

import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from math import ceil

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.digests import digest_of
from rosetta_steps.storage.files import write_json
from rosetta_steps.storage.revisions import revision
from rosetta_steps.zoo.entries import entry_digest, layer_patterns
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.hooks import ANY_MODULE, Layer
from rosetta_steps.zoo.loaders import LOADERS
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.models.torch_models import Model
from rosetta_steps.zoo.protocols import ImageGenerator, ImageModel
from rosetta_steps.zoo.textures import textured
from rosetta_steps.zoo.weights import cache_folder, sha256_of_weights, weights_file

# Maximum differences, relative to the largest value of a layer. Two passes over one image differ at
# most by the order of sums. Another batch size changes the kernels (a dynamically quantised network
# differs by 4e-3 and more). On a GPU products are rounded to TF32, under autocast to bfloat16.
TWICE, IN_A_BATCH, IN_A_BATCH_ROUNDED = 1e-4, 1e-3, 1e-2
IN_A_BATCH_OF_AUTOCAST = 5e-2

# The image is changed in BLOCKS x BLOCKS blocks. Measured on 640 layers of 57 timm architectures
# with random weights: spatial maps scored above 0.56, 19 of 20 of them above 0.9. The same maps
# with shuffled positions or swapped axes scored at most 0.42, with heads or tokens read as rows 0.
BLOCKS, LEAST_SCORE = 4, 0.5
# A layer is refused if another order of its positions scores better than the order as read, by more
# than BETTER plus BETTER_SHARE times what the better score lacks to 1. The share allows for layers
# that change everywhere, whose scores are noisy.
BETTER, BETTER_SHARE = 0.01, 0.25
# Difference, relative to the largest value of a layer, below which it counts as float32 rounding.
ROUNDING = 3e-6
# Bytes of the maps of one forward pass.
PASS_BYTES = 0.25e9
# Whose versions may change the maps of some model.
LIBRARIES = ("torch", *dict.fromkeys(name for loader in LOADERS for name in loader.libraries))


def prove_layers(
    name: str, entry: Entry, chosen: Sequence[Layer], layers: str | list[str], device: str = "cpu"
) -> tuple[list[Layer], dict[str, str]]:
    """Return the layers of a model that pass the tests, and the reasons why others do not.

    Args:
        name: Name of the model.
        entry: Entry of the model.
        chosen: Layers to be stored or streamed.
        layers: The setting that chose them: "all", a preset of the entry, or patterns.
        device: Device to compute on.

    Returns:
        The layers that pass, and the reason for every other layer by name. Maps of one position,
        which no plain pattern matches, are not listed.

    Raises:
        ValueError: The weights cannot be used; maps of an image differ between two passes or
            between alone and in a batch; a pass changes the module; or no layer of a pattern
            passes.
    """
    patterns = layer_patterns(entry, layers, name)
    left_out = _kept_or_new(name, entry, chosen, patterns, device)
    for layer, reason in left_out.items():
        print(f"{name}: {layer} is left out, it {reason}.")
    for pattern in patterns:
        matched = [one.name for one in chosen if _matches(one.name, pattern)]
        if matched and all(layer in left_out for layer in matched):
            reasons = [f"{layer} {left_out[layer]}" for layer in matched]
            more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
            raise UserError(
                f"{name}: layer pattern '{pattern}' has no layer that is a map: "
                f"{'; '.join(reasons[:3])}{more}. Leave the pattern out of `layers`, or name other "
                "layers in it."
            )
    return [one for one in chosen if one.name not in left_out], left_out


def _matches(layer: str, pattern: str) -> bool:
    return fnmatchcase(layer, pattern.removeprefix(ANY_MODULE))


def _kept_or_new(
    name: str, entry: Entry, chosen: Sequence[Layer], patterns: list[str], device: str
) -> dict[str, str]:
    # Returns the reasons, read from the cache or computed and written there.
    path = weights_file(name, entry)
    weights = sha256_of_weights(name, entry)
    kind = torch.device(device).type
    follows_from = [
        revision("zoo.proof"),
        entry_digest(entry),
        weights,
        [one.name for one in chosen],
        patterns,
        kind,
        {one: _version(one) for one in LIBRARIES},
    ]
    file = cache_folder() / "proofs" / f"{digest_of(follows_from)}.json"
    # Weights that a user's function loads have no digest, so their result is not cached.
    if weights and file.is_file():
        try:
            return json.loads(file.read_text())["left_out"]
        except (ValueError, KeyError, TypeError):
            pass  # the file is damaged, so the tests run again
    begin = time.perf_counter()
    model = load(name, entry, path, device)
    if entry.role == "generator":
        refuse_unsteady_generator(model, [one.name for one in chosen])
        left_out: dict[str, str] = {}
    else:
        left_out = {}
        if isinstance(model, Model):
            model.layers(patterns, left_out)
        left_out |= prove(model, [one.name for one in chosen], device)
    if weights:
        file.parent.mkdir(parents=True, exist_ok=True)
        seconds = round(time.perf_counter() - begin, 2)
        write_json(file, {"model": name, "left_out": left_out, "seconds": seconds})
    return left_out


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def prove(model: ImageModel, layers: Sequence[str], device: str = "cpu") -> dict[str, str]:
    """Return the reasons why layers of a discriminative model are no maps, by name.

    Args:
        model: Model of the zoo, with its weights.
        layers: Names of the layers.
        device: Device of the model.

    Raises:
        ValueError: Maps of an image differ between two passes or between alone and in a batch; or a
            pass changes the module.
    """
    if not layers:
        return {}
    refuse_unsteady_model(model, layers, device)
    return misplaced(model, layers)


# Determinism


def refuse_unsteady_model(model: ImageModel, layers: Sequence[str], device: str = "cpu") -> None:
    """Raise a ValueError if maps of an image differ between passes or depend on the batch.

    Args:
        model: Model of the zoo, with its weights.
        layers: Names of the layers.
        device: Device of the model.
    """
    height, width = model.preprocessing.size
    # The other images have a larger range, so that a scale or mean of the batch would change.
    image = 0.35 + 0.3 * textured((height, width), 0)
    others = [torch.zeros_like(image), (image > image.mean()).float()]

    def maps(images: list[Tensor]) -> dict[str, Tensor]:
        return model.activations(torch.cat(images), layers)

    _refuse_unsteady(model, "image", maps, one=image, others=others, tolerance=_tolerance(device))


def refuse_unsteady_generator(generator: ImageGenerator, layers: Sequence[str]) -> None:
    """Raise a ValueError if maps of a latent differ between passes or depend on the batch.

    Args:
        generator: Generator of the zoo, with its weights.
        layers: Names.
    """
    values = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 1, generator.latent_size, generator=values)

    def maps(z: list[Tensor]) -> dict[str, Tensor]:
        labels = torch.zeros(len(z), dtype=torch.long) if generator.classes else None
        with torch.inference_mode():
            return generator.activations(torch.cat(z), list(layers), labels)

    tolerance = _tolerance(generator.device)
    if generator.autocast:
        tolerance = IN_A_BATCH_OF_AUTOCAST
    _refuse_unsteady(generator, "z", maps, one=latents[0], others=[latents[1]], tolerance=tolerance)


def _tolerance(device: str) -> float:
    return IN_A_BATCH if torch.device(device).type == "cpu" else IN_A_BATCH_ROUNDED


def _refuse_unsteady(
    model: ImageModel | ImageGenerator,
    what: str,
    maps: Callable[[list[Tensor]], dict[str, Tensor]],
    *,
    one: Tensor,
    others: list[Tensor],
    tolerance: float,
) -> None:
    module = getattr(model, "module", None) or getattr(model, "network", None)
    before = checksums(module)
    once, again = maps([one]), maps([one])
    after = checksums(module)
    if changed := [key for key, value in before.items() if after.get(key) != value]:
        raise UserError(
            f"{model.name}: a pass changes its state, first {changed[0]}, though the module is in "
            "eval mode: maps would depend on the images before. Update nothing in forward unless "
            "self.training."
        )
    if different := first_difference(once, again, TWICE):
        raise UserError(
            f"{model.name}: two passes over an {what} differ, first in layer {different}, though "
            "the module is in eval mode: something in it is random (a functional dropout without "
            "training=self.training, noise). Its maps could not be compared."
            if what == "image"
            else f"{model.name}: two passes over a {what} differ, first in layer {different}: "
            "something in the network is random. Samples and maps would be of different images."
        )
    together = maps([others[0], one, *others[1:]])
    if different := first_difference(
        once, {name: found[1:2] for name, found in together.items()}, tolerance
    ):
        raise UserError(
            f"{model.name}: the maps of an image depend on the other images of its batch, first in "
            f"layer {different}: a normalisation by the statistics of the batch, in eval mode too "
            "(BatchNorm with track_running_stats=False or in training mode), a scale of dynamic "
            "quantisation, or a mean over images. Make it depend on one image alone."
        )


def first_difference(
    one: Mapping[str, Tensor], other: Mapping[str, Tensor], tolerance: float
) -> str | None:
    """Describe the first layer, in the order of the forward pass, in which maps differ.

    Args:
        one: Maps of each layer.
        other: Maps of each layer that should be the same.
        tolerance: Maximum difference relative to the largest value of a layer.
    """
    for name, maps in one.items():
        scale = maps.nan_to_num().abs().amax().item()
        same_shape = maps.shape == other[name].shape
        if not same_shape or not torch.allclose(
            maps, other[name].to(maps), 0, tolerance * scale, equal_nan=True
        ):
            return name
    return None


def checksums(module: nn.Module | None) -> dict[str, int]:
    """Return a checksum of each parameter and buffer of a module; empty if it is None."""
    if module is None:
        return {}
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        name: zlib.crc32(tensor.detach().reshape(-1).view(torch.uint8).cpu().numpy().data)
        for name, tensor in tensors.items()
        if tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    }


# Position


def misplaced(model: ImageModel, layers: Sequence[str]) -> dict[str, str]:
    """Return the layers whose maps do not change where the image is changed, with reasons.

    Args:
        model: Model of the zoo, with its weights.
        layers: Names.
    """
    answers, silent = responses(model, layers)
    found = {name: verdict(answers[name]) for name in layers}
    return {name: silent.get(name, reason) for name, reason in found.items() if reason}


def responses(model: ImageModel, layers: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Measure how much each position of a map changes when a block of the image is changed.

    The mean over positions is subtracted from the difference of each channel first, and all
    channels count the same. Otherwise a gate or attention, which changes all positions, would
    mostly outweigh the effect of a position's own part of the image.

    Args:
        model: Model of the zoo, with its weights.
        layers: Names.

    Returns:
        Change of each layer, (block_y, block_x, y, x); and for layers that hardly change, the
        reason.
    """
    size = model.preprocessing.size
    image, other = textured(size, 0), textured(size, 1)
    plain = model.activations(image, layers)
    scale = {name: maps.abs().amax().clamp_min(1e-30) for name, maps in plain.items()}
    before = {name: (maps / scale[name]).flatten(2) for name, maps in plain.items()}
    shapes = {name: tuple(maps.shape[2:]) for name, maps in plain.items()}
    blocks = [min(BLOCKS, side) for side in size]
    values: dict[str, list[Tensor]] = {name: [] for name in layers}
    largest = dict.fromkeys(layers, 0.0)
    kept = sum(4 * maps.numel() for maps in plain.values())
    for images in changed_blocks(image, other, blocks, max(1, min(4, int(PASS_BYTES // kept)))):
        for name, maps in model.activations(images, layers).items():
            change = (maps / scale[name]).flatten(2) - before[name]
            largest[name] = max(largest[name], change.square().mean((1, 2)).max().sqrt().item())
            own = (change - change.mean(2, keepdim=True)).square()
            share = own / (own.mean(2, keepdim=True) + ROUNDING**2)
            values[name].append(share.mean(1).double().cpu())
    answers, silent = {}, {}
    for name in layers:
        answers[name] = torch.cat(values[name]).view(*blocks, *shapes[name])
        own = before[name] - before[name].mean(2, keepdim=True)
        if not torch.isfinite(answers[name]).all() or shapes[name] == (1, 1):
            # Values that are not finite are refused on reading; one position has nothing to test.
            answers[name] = torch.zeros(*blocks, 1, 1, dtype=torch.float64)
        elif own.square().mean().sqrt() < ROUNDING:
            silent[name] = "has the same values at all positions, so that none has a place"
        elif largest[name] < ROUNDING:
            silent[name] = "does not change with the image beyond rounding"
    return answers, silent


def changed_blocks(
    image: Tensor, other: Tensor, blocks: Sequence[int], at_once: int
) -> Iterator[Tensor]:
    """Yield batches of an image in which one block is replaced by that of another, row by row."""
    height, width = image.shape[2:]
    batch = []
    for row in range(blocks[0]):
        for column in range(blocks[1]):
            y = slice(height * row // blocks[0], height * (row + 1) // blocks[0])
            x = slice(width * column // blocks[1], width * (column + 1) // blocks[1])
            changed = image.clone()
            changed[:, :, y, x] = other[:, :, y, x]
            batch.append(changed)
            if len(batch) == at_once:
                yield torch.cat(batch)
                batch = []
    if batch:
        yield torch.cat(batch)


def verdict(answers: Tensor) -> str | None:
    """Return the reason why a layer is no map; None if it is one.

    Args:
        answers: Changes (block_y, block_x, y, x), as `responses` returns them.
    """
    places = centroids(answers)
    score = scores(*places)
    best = max(
        ((min(scores(*(order(one) for one in places))), words) for words, order in orders(places)),
        default=(-1.0, ""),
    )
    as_read = min(score)
    better = as_read + BETTER + BETTER_SHARE * (1 - best[0])
    if best[0] > max(better, LEAST_SCORE):
        return (
            f"answers to changes of the image as if {best[1]} (agreement {best[0]:.2f}, read as it "
            f"is {as_read:.2f})"
        )
    if as_read < LEAST_SCORE:
        return (
            "does not answer where the image is changed (agreement of its rows "
            f"{score[0]:.2f}, of its columns {score[1]:.2f}; a map has {LEAST_SCORE} at least)"
        )
    return None


def centroids(answers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean place in the image to which each position reacts, as its y and its x.

    Args:
        answers: Changes (block_y, block_x, y, x), as `responses` returns them.

    Returns:
        Coordinates y and x in [0, 1], (y, x) each.
    """
    # Normalised, so that blocks and positions that change more do not count more.
    answers = answers / answers.mean((2, 3), keepdim=True).clamp_min(1e-300)
    share = answers / answers.sum((0, 1)).clamp_min(1e-300)
    rows, columns = (
        (torch.arange(count, dtype=share.dtype) + 0.5) / count for count in share.shape[:2]
    )
    return torch.einsum("ijyx,i->yx", share, rows), torch.einsum("ijyx,j->yx", share, columns)


def scores(y: Tensor, x: Tensor) -> tuple[float, float]:
    """Return the correlations of these places with the rows and the columns of the positions.

    Along an axis of one position the score is 1.
    """
    rows, columns = (torch.arange(count, dtype=y.dtype) for count in y.shape)
    return (
        _correlation(y, rows[:, None].expand_as(y)),
        _correlation(x, columns.expand_as(x)),
    )


def _correlation(one: Tensor, other: Tensor) -> float:
    if torch.equal(other, other.flatten()[0].expand_as(other)):
        return 1.0
    one, other = one - one.mean(), other - other.mean()
    scale = one.norm() * other.norm()
    return (one * other).sum().item() / scale.item() if scale > 1e-12 else 0.0


def orders(places: tuple[Tensor, Tensor]) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Yield other orders in which positions may occur, in words, and functions that undo them.

    Args:
        places: Places as `centroids` returns them, of the shape of the maps.
    """
    height, width = places[0].shape

    def of_windows(a: int, b: int, one: Tensor) -> Tensor:
        windows = one.reshape(height // a, width // b, a, b)
        return windows.transpose(1, 2).reshape(height, width)

    def of_pixels(a: int, b: int, one: Tensor) -> Tensor:
        pixels = one.reshape(a, b, height // a, width // b)
        return pixels.permute(2, 0, 3, 1).reshape(height, width)

    def unfolded(a: int, b: int, one: Tensor) -> Tensor:
        patches = one.reshape(a, height // a, b, width // b)
        return patches.permute(1, 0, 3, 2).reshape(height, width)

    def of_neighbours(axis: int, a: int, count: int, one: Tensor) -> Tensor:
        neighbours = one.unflatten(axis, (a, count // a))
        return neighbours.transpose(axis, axis + 1).reshape(height, width)

    if height == width:
        yield "its rows and columns were swapped", lambda one: one.T
    else:
        yield (
            "its positions lay column by column",
            lambda one: one.reshape(width, height).T,
        )
    for a in _divisors(height):
        # Blocks with the proportions of the map, and square blocks.
        for b in {a, a * width // height}:
            if 1 < b < width and width % b == 0:
                yield (
                    f"its positions lay in windows of {a} x {b}",
                    partial(of_windows, a, b),
                )
                yield (
                    f"its positions lay pixel by pixel of patches of {a} x {b}",
                    partial(of_pixels, a, b),
                )
                yield (
                    f"its rows and columns were those of patches of {a} x {b}, unfolded",
                    partial(unfolded, a, b),
                )
    for axis, count in ((0, height), (1, width)):
        kind = ("rows", "columns")[axis]
        for shift in range(1, count, max(1, count // 32)):
            yield (
                f"its {kind} were shifted by {min(shift, count - shift)}",
                partial(torch.roll, shifts=shift, dims=axis),
            )
        for a in _divisors(count):
            yield (
                f"every {ceil(count / a)}th of its {kind} were a neighbour",
                partial(of_neighbours, axis, a, count),
            )


def _divisors(count: int) -> list[int]:
    return [a for a in range(2, count) if count % a == 0]
