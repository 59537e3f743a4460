"""The inputs of the dictionary page and the figures: opened, and read no more than is shown."""

import argparse
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from rosetta_steps.representatives import Concept, Unit, choose_concepts

# those of rosetta_steps.concepts, whose import would bring scipy, and reruns of the page
COLUMNS = [
    "concept",
    "generator",
    "generator_layer",
    "generator_channel",
    "model",
    "layer",
    "channel",
    "correlation",
]


@dataclass(frozen=True)
class Dictionary:
    """The opened inputs of a dictionary.

    Attributes:
        table: rosetta.csv, one row per (generator unit, model unit) pair.
        concepts: In the order of the table.
        generator: Name of the generator.
        models: Names of the other models, in the order their activation stores were given.
        samples: `image` (image, rgb, y, x) in [0, 1]; not in memory.
        activations: Per model a tree with `activation` (image, channel, y, x) per layer.
        moments: Per model a tree with `minimum`, `maximum` (channel) per layer.
    """

    table: pd.DataFrame
    concepts: list[Concept]
    generator: str
    models: list[str]
    samples: xr.Dataset
    activations: Mapping[str, xr.DataTree]
    moments: Mapping[str, xr.DataTree]

    @property
    def images(self) -> int:
        """Number of images mined."""
        return self.samples.sizes["image"]

    @cached_property
    def files(self) -> list[str]:
        """Of photos the file of each image, below the folder they share; else empty."""
        if "file" not in self.samples:
            return []
        return [str(file) for file in self.samples["file"].values]


# --- opening --------------------------------------------------------------------------------------


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the inputs that the page and the figures share to a command line."""
    parser.add_argument("--table", type=Path, required=True, help="rosetta.csv")
    parser.add_argument("--samples", type=Path, required=True, help="Zarr store of the images")
    for name, what in (("activations", "activation maps"), ("moments", "moments")):
        parser.add_argument(
            f"--{name}",
            type=Path,
            nargs="+",
            required=True,
            metavar="ZARR",
            help=f"Zarr stores of the {what}, one a model, the generator's among them, any order",
        )


def open_from_arguments(arguments: argparse.Namespace) -> Dictionary:
    """Open what the arguments of add_input_arguments name; errors as open_dictionary."""
    return open_dictionary(
        arguments.table, arguments.samples, arguments.activations, arguments.moments
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read rosetta.csv.

    Args:
        path: One row per (generator unit, model unit) pair; zero rows are allowed.

    Returns:
        The columns of COLUMNS; names as strings, so that a layer called "5" stays a name.

    Raises:
        ValueError: A column is missing.
    """
    names = ["generator", "generator_layer", "model", "layer"]
    table = pd.read_csv(path, dtype=dict.fromkeys(names, str), keep_default_na=False)
    if missing := [column for column in COLUMNS if column not in table.columns]:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; its columns are "
            f"{', '.join(table.columns)}. Write it again with the step that clusters best buddies."
        )
    return table[COLUMNS]


def open_stores(paths: Iterable[Path]) -> dict[str, xr.DataTree]:
    """Open stores of activations or moments, none of their arrays in memory.

    Args:
        paths: Zarr stores, one a model.

    Returns:
        Trees by model: the root attribute `model`, or the file's stem where there is none.

    Raises:
        ValueError: Two stores are of the same model.
    """
    stores: dict[str, xr.DataTree] = {}
    origin: dict[str, Path] = {}
    for path in paths:
        # As they are stored: decoding float16 to float64 would only take memory here.
        tree = xr.open_datatree(path, engine="zarr", mask_and_scale=False)
        model = str(tree.attrs.get("model", path.stem))
        if model in stores:
            raise ValueError(
                f"{path} and {origin[model]} are both of model {model!r}: give one store a model."
            )
        stores[model], origin[model] = tree, path
    return stores


def open_dictionary(
    table: Path, samples: Path, activations: Sequence[Path], moments: Sequence[Path]
) -> Dictionary:
    """Open everything that the page and the figures are made of.

    Args:
        table: rosetta.csv.
        samples: Zarr store of the images.
        activations: One Zarr store a model, the generator's among them.
        moments: Likewise.

    Returns:
        The opened inputs; no array is in memory.

    Raises:
        ValueError: A store the table needs is not given, or a store is of other images.
    """
    rows = read_table(table)
    images = xr.open_zarr(samples)
    maps, statistics = open_stores(activations), open_stores(moments)
    generators = list(rows["generator"].unique()) or [str(images.attrs.get("generator", ""))]
    if len(generators) > 1:
        raise ValueError(
            f"{table} is of {len(generators)} generators ({', '.join(generators)}): "
            "write one table a generator."
        )
    generator = generators[0]
    models = [model for model in maps if model != generator]
    needed = {generator, *rows["model"].unique()} if len(rows) else set()
    for kind, stores in (("activations", maps), ("moments", statistics)):
        if absent := sorted(needed - set(stores)):
            raise ValueError(
                f"{table} names {', '.join(absent)}, but --{kind} has only "
                f"{', '.join(stores)}: add the stores of the others to --{kind}."
            )
    models = [model for model in models if model in needed] if len(rows) else models
    for model in (generator, *models) if len(rows) else ():
        for layer, node in maps[model].children.items():
            if node.dataset.sizes["image"] != images.sizes["image"]:
                raise ValueError(
                    f"{samples} has {images.sizes['image']} images, the activations of {model} at "
                    f"{layer} {node.dataset.sizes['image']}: extract both from the same samples."
                )
    return Dictionary(
        rows, choose_concepts(rows, models), generator, models, images, maps, statistics
    )


# --- reading --------------------------------------------------------------------------------------


def layer_maps(stores: Mapping[str, xr.DataTree], model: str, layer: str) -> xr.DataArray:
    """The maps of one layer, (image, channel, y, x), not in memory.

    Raises:
        ValueError: The store has no such layer.
    """
    return _layer(stores, model, layer)["activation"].transpose("image", "channel", "y", "x")


def places_of(maps: xr.DataArray, channels: Iterable[int]) -> dict[int, int]:
    """Where channels stand among those that are stored: of a matched store, these are not all.

    Args:
        maps: Of a layer, as layer_maps gives them.
        channels: Their numbers in the layer.

    Raises:
        ValueError: One is not stored.
    """
    if "channel" not in maps.coords:
        return {channel: channel for channel in channels}
    kept = {number: place for place, number in enumerate(maps["channel"].values.tolist())}
    if absent := [str(channel) for channel in channels if channel not in kept]:
        raise ValueError(
            f"channel {', '.join(absent[:5])}: the store holds maps of matched units only (keep: "
            "matched), and not of these. Give the store that goes with this table."
        )
    return {channel: kept[channel] for channel in channels}


def unit_maxima(
    stores: Mapping[str, xr.DataTree], units: Sequence[Unit], images: int
) -> dict[Unit, np.ndarray]:
    """Maximum over positions of some units on every image.

    Reads a chunk of images at a time and only the channels asked for.

    Args:
        stores: Activation stores by model.
        units: Of any models and layers.
        images: Number of images.

    Returns:
        Per unit its maxima, (image) float32; -inf where no value of the map is a number.

    Raises:
        ValueError: A store has no such layer or unit.
    """
    maxima = {unit: np.empty(images, dtype=np.float32) for unit in units}
    layers = _by(maxima, lambda unit: (unit.model, unit.layer))
    for (model, layer), group in tqdm(layers.items(), desc="maxima", unit="layer"):
        data = layer_maps(stores, model, layer)
        channels = sorted({unit.channel for unit in group})
        places = list(places_of(data, channels).values())
        step = _chunk_sizes(data)["image"]
        for start in range(0, images, step):
            block = data.isel(image=slice(start, start + step), channel=places).values
            # fmax passes over NaN, which a float16 overflow may have left in a map
            peaks = np.fmax.reduce(block.reshape(*block.shape[:2], -1), axis=-1)
            for unit in group:
                values = peaks[:, channels.index(unit.channel)].astype(np.float32)
                maxima[unit][start : start + step] = np.nan_to_num(
                    values, nan=-np.inf, posinf=np.inf, neginf=-np.inf
                )
    return maxima


def read_maps(
    stores: Mapping[str, xr.DataTree], wanted: Iterable[tuple[Unit, int]]
) -> dict[tuple[Unit, int], np.ndarray]:
    """Read the maps of some units on some images.

    Every chunk that holds a wanted map is read once, whatever the number of maps in it, and no
    other chunk is read.

    Args:
        stores: Activation stores by model.
        wanted: Pairs of a unit and an image's index.

    Returns:
        Per pair its map, (y, x), in the store's dtype.

    Raises:
        ValueError: A store has no such layer or unit.
    """
    layers = _by(set(wanted), lambda pair: (pair[0].model, pair[0].layer))
    maps: dict[tuple[Unit, int], np.ndarray] = {}
    for (model, layer), pairs in tqdm(sorted(layers.items()), desc="maps", unit="layer"):
        data = layer_maps(stores, model, layer)
        chunk = _chunk_sizes(data)
        places = places_of(data, {unit.channel for unit, _ in pairs})
        blocks = _by(
            pairs,
            lambda pair, chunk=chunk, places=places: (
                pair[1] // chunk["image"],
                places[pair[0].channel] // chunk["channel"],
            ),
        )
        for _, members in sorted(blocks.items()):
            images = sorted({image for _, image in members})
            channels = sorted({places[unit.channel] for unit, _ in members})
            block = data.isel(image=images, channel=channels).values
            for unit, image in members:
                place = channels.index(places[unit.channel])
                # a copy, so that the block does not stay in memory behind one of its maps
                maps[unit, image] = block[images.index(image), place].copy()
    return maps


def read_images(samples: xr.Dataset, indices: Iterable[int]) -> dict[int, np.ndarray]:
    """Read some images of `image` (image, rgb, y, x), those of one chunk at a time.

    Returns:
        Per index the image, (y, x, rgb) float32 in [0, 1].
    """
    data = samples["image"].transpose("image", "y", "x", "rgb")
    step = _chunk_sizes(data)["image"]
    pictures: dict[int, np.ndarray] = {}
    for _, members in sorted(_by(set(indices), lambda index: index // step).items()):
        members = sorted(members)
        block = data.isel(image=members).values.astype(np.float32)
        pictures.update((index, block[place].copy()) for place, index in enumerate(members))
    return pictures


def unit_ranges(
    moments: Mapping[str, xr.DataTree], units: Iterable[Unit]
) -> dict[Unit, tuple[float, float]]:
    """Least and greatest value of units over all images and positions, from the moments.

    Returns:
        Per unit (minimum, maximum), in the unit's own scale.

    Raises:
        ValueError: A store has no such layer.
    """
    ranges = {}
    for (model, layer), group in _by(set(units), lambda unit: (unit.model, unit.layer)).items():
        dataset = _layer(moments, model, layer)
        minimum, maximum = dataset["minimum"].values, dataset["maximum"].values
        for unit in group:
            ranges[unit] = (float(minimum[unit.channel]), float(maximum[unit.channel]))
    return ranges


def file_label(file: str, letters: int) -> str:
    """The base name of a file on one line, its middle left out where it has more letters."""
    name = "".join(c if c.isprintable() else "?" for c in PurePath(file).name)
    if len(name) <= letters:
        return name
    end = letters // 2
    return f"{name[: letters - end - 1]}…{name[-end:]}"


# --- helpers --------------------------------------------------------------------------------------


def _layer(stores: Mapping[str, xr.DataTree], model: str, layer: str) -> xr.Dataset:
    if layer not in stores[model].children:
        raise ValueError(
            f"the store of {model} has no layer {layer!r}; it has "
            f"{', '.join(stores[model].children)}. Give the stores that the table was mined from."
        )
    return stores[model].children[layer].dataset


def _chunk_sizes(data: xr.DataArray) -> dict[str, int]:
    """Chunk sizes by dimension; the whole length where the store does not say."""
    preferred = data.encoding.get("preferred_chunks", {})
    return {name: int(preferred.get(name, length)) for name, length in data.sizes.items()}


def _by(items: Iterable, key: Callable[..., Hashable]) -> dict:
    """Group items by a key, in the order they come."""
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
