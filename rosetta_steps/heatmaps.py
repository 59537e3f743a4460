"""What the dictionary page and the figures share: representatives, example images, heatmaps.

A concept is shown by one generator unit, its representative, and by that unit's strongest buddy in
each model. Every unit has one colour scale for all images: its least stored value over all images
maps to 0 and its greatest to 1, so a weak response looks weak.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import colormaps
from PIL import Image
from tqdm import tqdm

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
COLOURS = colormaps["inferno"]
# the map's first colours are black: over a grey image they only darken it, and read as shadow
FIRST_COLOUR = 0.15
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Rec. 601, as pillow's mode "L"
EMPTY_REASON = (
    "No concepts: no unit of the generator has a best buddy in every model, so there is nothing to "
    "show. Fewer models, a larger K (best buddies are mutual among the K nearest neighbours) or "
    "more images make it likelier that some unit has one."
)


@dataclass(frozen=True)
class Unit:
    """One channel of one layer of one model (the generator is a model too)."""

    model: str
    layer: str
    channel: int


@dataclass(frozen=True)
class Concept:
    """One cluster of Rosetta units, with the units that stand for it.

    Attributes:
        number: Place in the dictionary, 1 the strongest.
        strength: Mean over the models of the representative's strongest correlation.
        generator_unit: The representative: the generator unit of highest strength.
        model_units: Its strongest buddy in each model, in the order of the models.
        correlations: Pearson r of generator_unit with each of model_units.
        members: All rows of the concept in rosetta.csv.
        generator_units: Number of different generator units among the members.
    """

    number: int
    strength: float
    generator_unit: Unit
    model_units: tuple[Unit, ...]
    correlations: tuple[float, ...]
    members: pd.DataFrame
    generator_units: int

    @property
    def units(self) -> tuple[Unit, ...]:
        """The generator unit, then the models' units: the columns of every picture grid."""
        return (self.generator_unit, *self.model_units)


@dataclass(frozen=True)
class Example:
    """One image on which a concept is shown.

    Attributes:
        group: "top", "middle" or "low".
        image: Index of the image in the samples.
        rank: Place among all images by the generator unit's maximum over positions, from 1.
        peak: That maximum on the unit's colour scale, in [0, 1].
    """

    group: str
    image: int
    rank: int
    peak: float


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


# --- inputs ---------------------------------------------------------------------------------------


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
        tree = xr.open_datatree(path, engine="zarr")
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
        activations: Zarr stores of the maps, one a model, the generator's among them.
        moments: Zarr stores of the moments, one a model, the generator's among them.

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


# --- choices --------------------------------------------------------------------------------------


def choose_concepts(table: pd.DataFrame, models: Sequence[str]) -> list[Concept]:
    """Choose the units that stand for each concept.

    The representative is the generator unit whose strongest correlation, averaged over the models,
    is highest; with it goes its strongest buddy in each model. Equal ones: the first in the table.

    Args:
        table: As rosetta.csv.
        models: Names in the order wanted.

    Returns:
        Concepts by number.

    Raises:
        ValueError: No generator unit of a concept has a buddy in every model.
    """
    if table.empty:
        return []
    unit = ["concept", "generator_layer", "generator_channel"]
    best = table.groupby([*unit, "model"], sort=False)["correlation"].idxmax()
    best = best.unstack("model").reindex(columns=list(models))
    # unstack sorts its index; the table's own order decides between equals
    best = best.reindex(pd.MultiIndex.from_frame(table[unit].drop_duplicates())).dropna()
    correlation = table["correlation"].to_numpy()
    rows_of = table.groupby("concept", sort=True).indices
    strength = best.apply(lambda rows: correlation[rows.astype(int)]).mean(axis="columns")
    representative = strength.groupby("concept").idxmax()
    concepts = []
    for number, rows in rows_of.items():
        if number not in representative.index:
            raise ValueError(
                f"concept {number}: none of its generator units has a buddy in every one of "
                f"{', '.join(models)}. Give the models that the table was mined with."
            )
        chosen = representative[number]
        buddies = table.iloc[best.loc[chosen].astype(int)]
        members = table.iloc[rows]
        concepts.append(
            Concept(
                number=int(number),
                strength=float(strength[chosen]),
                generator_unit=Unit(members["generator"].iloc[0], chosen[1], int(chosen[2])),
                model_units=tuple(
                    Unit(b.model, b.layer, int(b.channel)) for b in buddies.itertuples()
                ),
                correlations=tuple(map(float, buddies["correlation"])),
                members=members,
                generator_units=len(members[unit].drop_duplicates()),
            )
        )
    return concepts


def choose_examples(
    maxima: np.ndarray,
    unit_range: tuple[float, float],
    *,
    top: int = 3,
    middle: int = 2,
    low: int = 1,
) -> list[Example]:
    """Choose images where a unit responds most, about as much as usual, and least.

    Args:
        maxima: The unit's maximum over positions, (image).
        unit_range: Least and greatest value of the unit over all images.
        top: Number of images of the greatest maxima.
        middle: Number of images around the median.
        low: Number of images of the least maxima.

    Returns:
        Different images by rank; fewer than asked for if there are fewer images.
    """
    order = np.argsort(-maxima, kind="stable")  # equal maxima: the earlier image first
    count = len(order)
    centre = max((count - middle) // 2, 0)
    places = (
        [("top", place) for place in range(top)]
        + [("low", place) for place in range(count - low, count)]
        + [("middle", place) for place in range(centre, centre + middle)]
    )
    peaks = scale(maxima, unit_range)
    group_of: dict[int, str] = {}
    for group, place in places:
        if 0 <= place < count:
            group_of.setdefault(place, group)
    return [
        Example(group_of[place], int(order[place]), place + 1, float(peaks[order[place]]))
        for place in sorted(group_of)
    ]


# --- reading maps ---------------------------------------------------------------------------------


def layer_maps(stores: Mapping[str, xr.DataTree], model: str, layer: str) -> xr.DataArray:
    """The maps of one layer, (image, channel, y, x), not in memory.

    Raises:
        ValueError: The store has no such layer.
    """
    return _layer(stores, model, layer)["activation"].transpose("image", "channel", "y", "x")


def unit_maxima(
    stores: Mapping[str, xr.DataTree], units: Sequence[Unit], images: int
) -> dict[Unit, np.ndarray]:
    """Maximum over positions of some units on every image.

    Reads a chunk of images at a time and only the channels asked for.

    Args:
        stores: Activation stores by model.
        units: The units, of any models and layers.
        images: Number of images.

    Returns:
        Per unit its maxima, (image) float32; -inf where no value of the map is a number.
    """
    maxima = {unit: np.empty(images, dtype=np.float32) for unit in units}
    layers = _by(maxima, lambda unit: (unit.model, unit.layer))
    for (model, layer), group in tqdm(layers.items(), desc="maxima", unit="layer"):
        data = layer_maps(stores, model, layer)
        channels = sorted({unit.channel for unit in group})
        step = _chunk_sizes(data)["image"]
        for start in range(0, images, step):
            block = data.isel(image=slice(start, start + step), channel=channels).values
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
    """
    layers = _by(set(wanted), lambda pair: (pair[0].model, pair[0].layer))
    maps: dict[tuple[Unit, int], np.ndarray] = {}
    for (model, layer), pairs in tqdm(sorted(layers.items()), desc="maps", unit="layer"):
        data = layer_maps(stores, model, layer)
        chunk = _chunk_sizes(data)
        blocks = _by(
            pairs,
            lambda pair, chunk=chunk: (
                pair[1] // chunk["image"],
                pair[0].channel // chunk["channel"],
            ),
        )
        for _, members in sorted(blocks.items()):
            images = sorted({image for _, image in members})
            channels = sorted({unit.channel for unit, _ in members})
            block = data.isel(image=images, channel=channels).values
            for unit, image in members:
                # a copy, so that the block does not stay in memory behind one of its maps
                maps[unit, image] = block[images.index(image), channels.index(unit.channel)].copy()
    return maps


def read_images(samples: xr.Dataset, indices: Iterable[int]) -> dict[int, np.ndarray]:
    """Read some of the images, those of one chunk at a time.

    Args:
        samples: `image` (image, rgb, y, x) in [0, 1].
        indices: Which.

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

    Args:
        moments: Moments stores by model.
        units: The units, of any models and layers.

    Returns:
        Per unit (minimum, maximum), in the unit's own scale.
    """
    ranges = {}
    for (model, layer), group in _by(set(units), lambda unit: (unit.model, unit.layer)).items():
        dataset = _layer(moments, model, layer)
        minimum, maximum = dataset["minimum"].values, dataset["maximum"].values
        for unit in group:
            ranges[unit] = (float(minimum[unit.channel]), float(maximum[unit.channel]))
    return ranges


# --- colour ---------------------------------------------------------------------------------------


def scale(values: np.ndarray, unit_range: tuple[float, float]) -> np.ndarray:
    """Put values of a unit on its colour scale.

    Args:
        values: In the unit's own scale, any shape.
        unit_range: The values that map to 0 and to 1.

    Returns:
        In [0, 1], float32; 0 where a value is not a number or the unit never varies.
    """
    minimum, maximum = unit_range
    if not maximum > minimum:
        return np.zeros(np.shape(values), dtype=np.float32)
    scaled = (np.asarray(values, dtype=np.float32) - minimum) / (maximum - minimum)
    return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)


def colour(scaled: np.ndarray) -> np.ndarray:
    """Colour and opacity of values on the colour scale.

    Opacity grows with the value: where a unit is silent the image shows, where it is at its
    greatest only colour does. It depends on the value alone, so the scale is the same everywhere.

    Args:
        scaled: In [0, 1], any shape.

    Returns:
        (..., rgba) float32 in [0, 1].
    """
    place = FIRST_COLOUR + (1.0 - FIRST_COLOUR) * scaled
    rgba = COLOURS(place).astype(np.float32)
    rgba[..., 3] = opacity(scaled)
    return rgba


def opacity(scaled: np.ndarray) -> np.ndarray:
    """Opacity of a value on the colour scale: 0 at 0, steep at first, 0.95 at 1."""
    return 0.95 * np.power(scaled, 0.6)


def display_size(shape: tuple[int, int], longest: int) -> tuple[int, int]:
    """Height and width in pixels of a picture whose longer side is to be `longest`."""
    height, width = shape
    factor = longest / max(height, width)
    return max(round(height * factor), 1), max(round(width * factor), 1)


def resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample a plane bilinearly, its corners the image's corners (align_corners false).

    Args:
        plane: (y, x), any float dtype.
        size: Height and width wanted.

    Returns:
        (height, width) float32.
    """
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample an image bicubically.

    Args:
        image: (y, x, rgb) in [0, 1].
        size: Height and width wanted.

    Returns:
        (height, width, rgb) float32 in [0, 1].
    """
    planes = [
        Image.fromarray(np.ascontiguousarray(image[..., band], dtype=np.float32)).resize(
            size[::-1], Image.Resampling.BICUBIC
        )
        for band in range(image.shape[-1])
    ]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0.0, 1.0)


def grey_image(image: np.ndarray, longest: int) -> np.ndarray:
    """An image in grey, as heatmaps are laid over it.

    Args:
        image: (y, x, rgb) in [0, 1].
        longest: Longer side of the picture in pixels.

    Returns:
        (height, width) float32 in [0, 1].
    """
    return resize_image(image, display_size(image.shape[:2], longest)) @ LUMA


def overlay(
    activation: np.ndarray, unit_range: tuple[float, float], grey: np.ndarray
) -> np.ndarray:
    """Draw a map over its image.

    Args:
        activation: One map, (y, x), in the unit's own scale and at its own size.
        unit_range: Least and greatest value of the unit over all images.
        grey: The image as `grey_image` gives it, (height, width).

    Returns:
        (height, width, rgb) uint8.
    """
    # scaled before resampling: a value that is not a number would spread to its neighbours
    scaled = resize(scale(activation, unit_range), grey.shape)
    return blend(colour(np.clip(scaled, 0.0, 1.0)), grey)


def blend(rgba: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Lay colours over a grey image.

    Args:
        rgba: (..., rgba) in [0, 1].
        grey: (...) in [0, 1].

    Returns:
        (..., rgb) uint8.
    """
    # a narrower range of greys, so that no highlight of the image passes for a strong response
    ground = (0.12 + 0.7 * grey)[..., np.newaxis]
    alpha = rgba[..., 3:]
    return to_bytes(alpha * rgba[..., :3] + (1.0 - alpha) * ground)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Round values in [0, 1] to uint8."""
    return np.round(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)


def colour_key(height: int, width: int) -> np.ndarray:
    """The colour scale from 0 (left) to 1 over middle grey, (height, width, rgb) uint8."""
    ramp = np.broadcast_to(np.linspace(0.0, 1.0, width, dtype=np.float32), (height, width))
    return blend(colour(ramp), np.full((height, width), 0.5, dtype=np.float32))


# --- files ----------------------------------------------------------------------------------------


def temporary_beside(target: Path) -> Path:
    """A name beside a target to build it under; hidden, and of this process only."""
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


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


def _by(items: Iterable, key) -> dict:
    """Group items by a key, in the order they come."""
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
