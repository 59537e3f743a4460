"""Covariances of the units of each layer with each other, at every size at which they are compared.

With B the maps of a layer's d units and U their upsampling to a larger size of s positions, over n
images,

    C = B' (U'U) B / (n s)  -  m m'        (d x d)

where m are the means at that size. U is separable, so that U'U is a small matrix along each axis,
and no map is upsampled. Rotations of the layer's basis and linear readouts of the layer follow from
C and the correlations, without reading a map again (evidence.spread).
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from rosetta_steps.evidence.compared import sizes_in, sizes_of_comparison
from rosetta_steps.maps.moments import budgets, refuse_other_moments
from rosetta_steps.maps.resampling import Size, size_of, upsampling
from rosetta_steps.maps.sources import MapSource, open_maps, prepare
from rosetta_steps.maps.splits import of_split, split_of
from rosetta_steps.maps.statistics import mean_and_variance
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.storage.datasets import open_each, open_tree, whole_store
from rosetta_steps.storage.files import explain_write_errors
from rosetta_steps.storage.manifests import (
    Provenance,
    ingredients,
)
from rosetta_steps.storage.portable import portable

KIND = "covariances"
ROWS = 256  # of a covariance that are summed together; those above the diagonal are left out
CHUNK = 2048  # units in a chunk of the store
MULTIPLIED_BYTES = {"cpu": 2.5e8, "cuda": 2e9}  # of float32 maps that are multiplied at a time


def measure(
    maps: Path,
    moments: Path,
    compared_with: Path,
    output: Path,
    *,
    identity: str | None = None,
) -> None:
    """Write the covariances of a model's layers.

    Args:
        maps: Store of activations, or stream.
        moments: Moments of the same model; covariances have the same splits.
        compared_with: Moments of the generator with which the model is compared.
        output: Store to write.
        identity: Identity of the result, as Provenance takes it.

    Raises:
        StoreError: A store is damaged, the models saw different images, or the moments are not
            those of the maps.
    """
    made_of = ingredients([maps, moments, compared_with])
    source = open_maps(maps)
    own, others = open_each(open_tree, (moments, compared_with))
    refuse_other_moments(moments, source, maps)
    sizes = {
        name: sizes_of_comparison(source.sizes[name], sizes_in(others)) for name in source.layers
    }
    provenance = Provenance(
        KIND, [source.attrs["model"]], source.state["sample_set"], made_of, identity
    )
    attrs = {"model": source.attrs["model"], "compared_with": others.attrs["model"]}
    with whole_store(output, provenance) as folder, explain_write_errors(output):
        portable(xr.Dataset(attrs=attrs)).to_zarr(folder, mode="w", consolidated=False)
        for name, layer in covariances_of(source, own, sizes):
            chunks = tuple(min(CHUNK, size) for size in layer["covariance"].shape[1:])
            encoding = {
                str(variable): {"chunks": (*(1,) * (layer[variable].ndim - 2), *chunks)}
                for variable in layer
            }
            portable(layer).to_zarr(
                folder, group=name, mode="a", consolidated=False, encoding=encoding
            )


def carry_out(a: argparse.Namespace) -> None:
    """Write the covariances that a command line asks for."""
    prepare([a.maps], a.threads)
    measure(a.maps, a.moments, a.compared_with, a.output, identity=a.identity)


def splits_of(moments: xr.DataTree) -> int:
    """Number of splits of the images that moments are kept for; 1: none."""
    return next(iter(moments.children.values())).to_dataset().sizes.get("split", 1)


@dataclass(frozen=True)
class Part:
    """Some rows of a layer's covariance at one size, whose sums are held in memory together.

    Attributes:
        layer: Name of the layer.
        size: Height and width at which its units are compared.
        rows: Units of the rows. Columns begin with the first of them.
    """

    layer: str
    size: Size
    rows: slice


def covariances_of(
    source: MapSource, moments: xr.DataTree, sizes: dict[str, list[Size]]
) -> Iterator[tuple[str, xr.Dataset]]:
    """Covariances of every layer, each as soon as it is there.

    Maps are read once, but for layers whose sums do not fit into memory with those of the others:
    these make a pass of their own.

    Args:
        source: Maps of the model.
        moments: Its moments.
        sizes: For each layer the sizes at which its units are compared, none smaller than its own.

    Yields:
        Name of a layer, and `covariance` (compared, channel, other) float32 about each unit's mean,
        `height` and `width` (compared), with splits also `split_covariance` (split, compared,
        channel, other) about each unit's mean on the split; NaN for a unit that never varies there.
    """
    splits = splits_of(moments)
    most, of_block = budgets(source.device)
    passes = list(_passes(source, sizes, splits, most))
    last = {part.layer: number for number, parts in enumerate(passes) for part in parts}
    found: dict[str, np.ndarray] = {}
    title = f"covariances of {source.attrs['model']}"
    with tqdm(total=source.images * len(passes), desc=title, unit="image") as bar:
        for number, parts in enumerate(passes):
            sums = _sums(source, moments, parts, splits, of_block, bar=bar)
            for part, total in zip(parts, sums, strict=True):
                channels = source.channels[part.layer]
                if part.layer not in found:
                    shape = (splits, len(sizes[part.layer]), channels, channels)
                    found[part.layer] = np.zeros(shape)
                place = sizes[part.layer].index(part.size)
                found[part.layer][:, place, part.rows, part.rows.start :] = total.cpu().numpy()
            del sums
            for layer in dict.fromkeys(part.layer for part in parts if last[part.layer] == number):
                of_layer = moments[layer].to_dataset()
                yield layer, _dataset(found.pop(layer), of_layer, sizes[layer], source.images)


def _passes(
    source: MapSource, sizes: dict[str, list[Size]], splits: int, most: float
) -> Iterator[list[Part]]:
    parts: list[Part] = []
    held = 0
    for layer in source.layers:
        channels = source.channels[layer]
        for size in sizes[layer]:
            for rows in image_blocks(channels, ROWS):
                own = 8 * splits * (rows.stop - rows.start) * (channels - rows.start)
                if parts and held + own > most:
                    yield parts
                    parts, held = [], 0
                parts, held = [*parts, Part(layer, size, rows)], held + own
    yield parts


def _sums(
    source: MapSource,
    moments: xr.DataTree,
    parts: Sequence[Part],
    splits: int,
    of_block: float,
    *,
    bar: tqdm,
) -> list[Tensor]:
    # Sums of products of maps about a constant near each unit's mean, (split, row, column) float64.
    layers = list(dict.fromkeys(part.layer for part in parts))
    source.select_layers(layers)
    totals = [
        torch.zeros(
            splits,
            part.rows.stop - part.rows.start,
            source.channels[part.layer] - part.rows.start,
            dtype=torch.float64,
            device=source.device,
        )
        for part in parts
    ]
    offset = {
        layer: torch.from_numpy(_centre(moments[layer].to_dataset())).to(source.device)
        for layer in layers
    }
    split = split_of(source.images, splits)
    blocks = image_blocks(source.images, source.images_per_read(of_block))
    reads = [(layer, block) for block in blocks for layer in layers]
    for (layer, block), read in zip(reads, _ahead(source, reads), strict=True):
        own = source.sizes[layer]
        here = [(part, total) for part, total in zip(parts, totals, strict=True)
                if part.layer == layer]  # fmt: skip
        of_image = 4 * source.channels[layer] * prod(own)
        most = int(max(1, MULTIPLIED_BYTES[torch.device(source.device).type] // of_image))
        for number in range(splits):
            images = np.flatnonzero(split[block] == number)
            for start in range(0, len(images), most):
                some = torch.from_numpy(images[start : start + most]).to(source.device)
                maps = torch.as_tensor(read).index_select(0, some).transpose(0, 1)
                maps = maps.float().contiguous() - offset[layer][:, None, None, None]
                for size in dict.fromkeys(part.size for part, _ in here):
                    below = through_gram(maps, size).flatten(1)
                    for part, total in here:
                        if part.size == size:
                            rows = maps[part.rows].flatten(1)
                            total[number] += rows @ below[part.rows.start :].T
        if layer == layers[-1]:
            bar.update(block.stop - block.start)
    return totals


def _ahead(source: MapSource, reads: Sequence[tuple[str, slice]]) -> Iterator[np.ndarray | Tensor]:
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(source.read, *reads[0])
        for following in [*reads[1:], None]:
            read = coming.result()
            if following is not None:
                coming = reader.submit(source.read, *following)
            yield read


def _centre(moments: xr.Dataset) -> np.ndarray:
    return moments["mean_map"].mean(("y", "x")).values.astype(np.float32)


def through_gram(maps: Tensor, size: Size) -> Tensor:
    """Maps times U'U: products with them are those of the upsampled maps.

    Args:
        maps: (..., y, x).
        size: Height and width that U upsamples to.
    """
    own = size_of(maps)
    if own == size:
        return maps
    gram_y, gram_x = (
        torch.from_numpy(upsampling(o, s).T @ upsampling(o, s)).to(maps)
        for o, s in zip(own, size, strict=True)
    )
    return gram_y @ (maps.reshape(-1, own[1]) @ gram_x).view(maps.shape)


def _dataset(
    sums: np.ndarray, moments: xr.Dataset, sizes: Sequence[Size], images: int
) -> xr.Dataset:
    splits, centre = len(sums), _centre(moments).astype(np.float64)
    each = [_covariance(sums.sum(0), moments, sizes, centre, images=images)]
    if splits > 1:
        counts = np.bincount(split_of(images, splits), minlength=splits)
        each += [
            _covariance(of_one, of_split(moments, number), sizes, centre, images=int(count))
            for number, (of_one, count) in enumerate(zip(sums, counts, strict=True))
        ]
    dimensions = ("compared", "channel", "other")
    variables: dict[str, tuple] = {
        "covariance": (dimensions, each[0]),
        "height": ("compared", [y for y, _ in sizes]),
        "width": ("compared", [x for _, x in sizes]),
    }
    if splits > 1:
        variables["split_covariance"] = (("split", *dimensions), np.stack(each[1:]))
    return xr.Dataset(variables).set_coords(["height", "width"])


def _covariance(
    sums: np.ndarray, moments: xr.Dataset, sizes: Sequence[Size], centre: np.ndarray, *, images: int
) -> np.ndarray:
    found = np.empty(sums.shape, np.float32)
    for place, size in enumerate(sizes):
        mean = mean_and_variance(moments, size)[0] - centre
        upper = np.triu(sums[place] / (images * prod(size)) - np.outer(mean, mean))
        found[place] = upper + np.triu(upper, 1).T
    return found
