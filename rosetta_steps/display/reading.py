"""Opening, checking and lazy reading of the inputs of the dictionary page and the figures."""

import argparse
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from rosetta_steps.display.exemplars import Concept, Unit, choose_concepts, shown_models
from rosetta_steps.maps.channels import places_of, planes
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.tables import (
    LABEL,
    read_dictionary,
    read_evidence,
    read_evidence_of_units,
    read_labels,
    read_names,
    read_untrained,
    table_of_units,
)
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset, open_each, open_tree
from rosetta_steps.storage.manifests import (
    ingredients,
    manifest_path,
    read_manifest,
    refuse_not_made_of,
)


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """The opened inputs of a dictionary.

    Attributes:
        table: Rows of rosetta.csv, one for each pair of a generator unit and a model unit.
        concepts: Concepts in the order of the table.
        generator: Name of the generator.
        models: Names of the other models that are shown, in the order in which their maps were
            given.
        all_models: Number of the other models; tables and evidence are of all of them.
        samples: Dataset with `image` (image, rgb, y, x) in [0, 1], read lazily.
        maps: Reader of each model's maps, of matched units or of all units.
        moments: Moments of each model, with `minimum` and `maximum` (channel) for each layer.
        evidence: Evidence of the generator's best buddies with each model, by its name; empty where
            none was given.
        evidence_of_units: The generator's units against chance, for each model that has evidence.
        untrained: Best buddies with each model beside those with its untrained copies, by its name.
        names: What units are called that have a label or a plain name, with the score of each.
        made_of: Names and digests of all inputs, as storage.manifests.ingredients returns them.
    """

    table: pd.DataFrame
    concepts: list[Concept]
    generator: str
    models: list[str]
    all_models: int
    samples: xr.Dataset
    maps: Mapping[str, MapReader]
    moments: Mapping[str, xr.DataTree]
    made_of: Mapping[str, str]
    evidence: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    evidence_of_units: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    untrained: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    names: Mapping[Unit, str] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of mined images."""
        return self.samples.sizes["image"]

    @cached_property
    def evidence_of_pairs(self) -> dict[tuple[Unit, Unit], dict]:
        """Row of the evidence of each pair of a generator's and a model's unit."""
        return {
            (
                Unit(self.generator, row["layer_a"], row["channel_a"]),
                Unit(model, row["layer_b"], row["channel_b"]),
            ): row
            for model, table in self.evidence.items()
            for row in table.to_dict("records")
        }

    @cached_property
    def verdicts(self) -> dict[tuple[Unit, Unit], str]:
        """Verdict of each pair of a generator's and a model's unit."""
        return {pair: row["verdict"] for pair, row in self.evidence_of_pairs.items()}

    @cached_property
    def files(self) -> list[str]:
        """File of each image, relative to the common folder; empty unless images are from files."""
        if "file" not in self.samples:
            return []
        return [str(file) for file in self.samples["file"].values]


# --- opening --------------------------------------------------------------------------------------


def open_from_arguments(arguments: argparse.Namespace) -> Dictionary:
    """Open the inputs named by the arguments of add_input_arguments, by open_dictionary."""
    return open_dictionary(
        arguments.table,
        arguments.samples,
        arguments.maps,
        arguments.moments,
        evidence=getattr(arguments, "evidence", ()),
        untrained=getattr(arguments, "untrained", ()),
        names=getattr(arguments, "names", None),
        labels=getattr(arguments, "labels", ()),
    )


def open_dictionary(
    table: Path,
    samples: Path,
    maps: Sequence[Path],
    moments: Sequence[Path],
    *,
    evidence: Sequence[Path] = (),
    untrained: Sequence[Path] = (),
    names: Path | None = None,
    labels: Sequence[Path] = (),
) -> Dictionary:
    """Open and check all inputs of the page and the figures.

    Args:
        table: Path of rosetta.csv.
        samples: Path of the store of images.
        maps: Path of the store of maps of each model, the generator included; each store has at
            least the matched units.
        moments: Path of the store of moments of each model, the generator included.
        evidence: Path of the table of evidence of each model with the generator, beside which
            that of its units lies; may be empty.
        untrained: Path of the table that compares each model with its untrained copies.
        names: Path of the table of plain names of units.
        labels: Path of the table of labels of units; may be empty.

    Returns:
        The opened inputs; arrays are read lazily.

    Raises:
        StoreError: An input is not finished or damaged, or inputs do not belong together.
        ValueError: The store of a model in the table is not given.
    """
    rows = read_dictionary(table)
    images = open_dataset(samples)
    maps_of, moments_of = by_model(maps), by_model(moments)
    refuse_not_made_of([table, *maps, *moments], samples)
    named = [] if names is None else [names]
    of_units = [table_of_units(path) for path in evidence]
    tables = [*evidence, *of_units, *untrained, *named, *labels]
    made_of = ingredients([table, samples, *maps, *moments, *tables])
    generator, *others = read_manifest(table)["models"]
    for kind, paths in (("maps", maps_of), ("moments", moments_of)):
        if absent := sorted({generator, *others} - set(paths)):
            raise UserError(
                f"{table} is of {', '.join(absent)} too, but --{kind} has only "
                f"{', '.join(paths)}: add the stores of the others to --{kind}."
            )
    models = [model for model in maps_of if model in others]
    concepts = choose_concepts(rows, models)
    shown = shown_models(concepts, models)
    if shown != models:
        concepts = [concept.of_models([models.index(one) for one in shown]) for concept in concepts]
    everyone = [generator, *shown]
    found = open_each(MapReader, (maps_of[model] for model in everyone))
    opened = dict(zip(everyone, found, strict=True))
    trees = open_each(open_tree, (moments_of[model] for model in everyone))
    measured = dict(zip(everyone, trees, strict=True))
    _refuse_unknown_units(table, rows[rows["model"].isin(shown)], measured)
    tested = tables_by_model(evidence, generator, read_evidence)
    if evidence and (absent := [model for model in models if model not in tested]):
        raise UserError(
            f"{table} is of {', '.join(absent)} too, but --evidence has only "
            f"{', '.join(tested)}: add the tables of the others to --evidence."
        )
    return Dictionary(
        table=rows,
        concepts=concepts,
        generator=generator,
        models=shown,
        all_models=len(models),
        samples=images,
        maps=opened,
        moments=measured,
        made_of=made_of,
        evidence=tested,
        evidence_of_units=tables_by_model(of_units, generator, read_evidence_of_units),
        untrained=tables_by_model(untrained, generator, read_untrained),
        names=named_units(map(read_labels, labels), map(read_names, named)),
    )


def named_units(labels: Iterable[pd.DataFrame], names: Iterable[pd.DataFrame]) -> dict[Unit, str]:
    """Return what units are called, each label and plain name with its score.

    Args:
        labels: Tables of labels; only what is found to be one is a label.
        names: Tables of plain names.

    Returns:
        Such as "dog (r 0.61)" or "dog (r 0.61), brightness (r 0.70)", of units that have one.
    """
    found: dict[Unit, list[str]] = defaultdict(list)
    for table in labels:
        for row in table[table["verdict"] == LABEL].itertuples(index=False):
            unit = Unit(row.model, row.layer, row.channel)
            found[unit].append(f"{row.best_label} (r {row.score:.2f})")
    for table in names:
        for row in table[table["name"] != ""].itertuples(index=False):
            # Of the opposite of a feature, such as darkness, r is that of the opposite.
            unit = Unit(row.model, row.layer, row.channel)
            found[unit].append(f"{row.name} (r {abs(row.r):.2f})")
    return {unit: ", ".join(called) for unit, called in found.items()}


def tables_by_model(
    paths: Iterable[Path], generator: str, read: Callable[[Path, list[str]], pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Return tables by the name of the model that the generator was matched with.

    Args:
        paths: Tables of one kind.
        generator: Name of the generator.
        read: Reads one, given the names of generator and model.

    Raises:
        StoreError: A table is not finished, damaged, or of another generator.
    """
    found = {}
    for path in paths:
        model = read_manifest(path)["models"][-1]
        found[model] = read(path, [generator, model])
    return found


def by_model(paths: Iterable[Path]) -> dict[str, Path]:
    """Return stores by the name of their model.

    Raises:
        StoreError: A store is not finished.
        ValueError: Two stores belong to the same model.
    """
    found: dict[str, Path] = {}
    for path in paths:
        (model,) = read_manifest(path)["models"] or [path.stem]
        if model in found:
            raise UserError(
                f"{path} and {found[model]} are both of model {model!r}: give one store a model."
            )
        found[model] = path
    return found


def _refuse_unknown_units(
    table: Path, rows: pd.DataFrame, moments: Mapping[str, xr.DataTree]
) -> None:
    own = rows[["generator", "generator_layer", "generator_channel"]].drop_duplicates()
    others = rows[["model", "layer", "channel"]].drop_duplicates()

    @cache
    def channels(model: str, layer: str) -> int:
        return _layer(moments, model, layer).sizes["channel"]

    for part in (own, others):
        for model, layer, channel in part.itertuples(index=False, name=None):
            if channel >= channels(model, layer):
                raise UserError(
                    f"{table} names channel {channel} of {model}, {layer}, which has fewer: it is "
                    f"not of these models. Delete {manifest_path(table)}, and make it again."
                )


# --- reading --------------------------------------------------------------------------------------


def unit_maxima(
    stores: Mapping[str, MapReader], units: Sequence[Unit], images: int
) -> dict[Unit, np.ndarray]:
    """Return the maximum over positions of some units on every image.

    One block of images is read at a time, and only chunks that hold requested channels.

    Args:
        stores: Matched maps of each model by its name.
        units: Units of any models and layers.
        images: Number of images.

    Returns:
        Maxima of each unit, (image) float32; -inf where all values of a map are NaN.

    Raises:
        ValueError: A store has no such layer or unit, or is damaged.
    """
    maxima = {unit: np.empty(images, dtype=np.float32) for unit in units}
    layers = _by(maxima, lambda unit: (unit.model, unit.layer))
    for (model, layer), group in tqdm(layers.items(), desc="maxima", unit="layer"):
        maps = stores[model]
        places = places_of(maps, layer, sorted({unit.channel for unit in group}))
        column = {channel: number for number, channel in enumerate(places)}
        for block in image_blocks(images, maps.images_per_shard):
            found = planes(maps, layer, block, list(places.values()))
            # fmax ignores NaN.
            peaks = np.fmax.reduce(found.reshape(*found.shape[:2], -1), axis=-1)
            for unit in group:
                values = peaks[:, column[unit.channel]].astype(np.float32)
                maxima[unit][block] = np.nan_to_num(
                    values, nan=-np.inf, posinf=np.inf, neginf=-np.inf
                )
    return maxima


def read_maps(
    stores: Mapping[str, MapReader], wanted: Iterable[tuple[Unit, int]]
) -> dict[tuple[Unit, int], np.ndarray]:
    """Read the maps of some units on some images.

    Every chunk that holds a requested map is read once; no other chunk is read.

    Args:
        stores: Reader of the maps of each model.
        wanted: Pairs of a unit and the index of an image.

    Returns:
        Map (y, x) of each pair, in the dtype of the store.

    Raises:
        ValueError: A store has no such layer or unit, or is damaged.
    """
    layers = _by(set(wanted), lambda pair: (pair[0].model, pair[0].layer))
    found: dict[tuple[Unit, int], np.ndarray] = {}
    for (model, layer), pairs in tqdm(sorted(layers.items()), desc="maps", unit="layer"):
        maps = stores[model]
        places = places_of(maps, layer, {unit.channel for unit, _ in pairs})
        shard, per_read = maps.images_per_shard, maps.channels_per_read(layer)
        blocks = _by(
            pairs,
            lambda pair, shard=shard, per_read=per_read, places=places: (
                pair[1] // shard,
                places[pair[0].channel] // per_read,
            ),
        )
        for (number, _), members in sorted(blocks.items()):
            start = number * shard
            block = slice(start, min(start + shard, maps.images))
            channels = sorted({places[unit.channel] for unit, _ in members})
            read = planes(maps, layer, block, channels)
            for unit, image in members:
                place = channels.index(places[unit.channel])
                # A copy, because a view would keep the whole block in memory.
                found[unit, image] = read[image - start, place].copy()
    return found


def read_images(samples: xr.Dataset, indices: Iterable[int]) -> dict[int, np.ndarray]:
    """Read some images of the samples, one chunk at a time.

    Returns:
        Image (y, x, rgb) float32 in [0, 1] of each index.
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
    """Return minimum and maximum of units over all images and positions, from the moments.

    Returns:
        Pair (minimum, maximum) of each unit.

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
    """Return the base name of a file on one line, shortened in the middle to `letters`."""
    name = "".join(c if c.isprintable() else "?" for c in PurePath(file).name)
    if len(name) <= letters:
        return name
    end = letters // 2
    return f"{name[: letters - end - 1]}…{name[-end:]}"


# --- helpers --------------------------------------------------------------------------------------


def _layer(moments: Mapping[str, xr.DataTree], model: str, layer: str) -> xr.Dataset:
    if model not in moments or layer not in moments[model].children:
        layers = ", ".join(moments[model].children) if model in moments else "nothing"
        raise UserError(
            f"the moments of {model} have no layer {layer!r}; they have {layers}. Give the stores "
            "that the table was mined from."
        )
    return moments[model].children[layer].dataset


def _chunk_sizes(data: xr.DataArray) -> dict[str, int]:
    """Return chunk sizes by dimension; the whole length if the store has no chunk sizes."""
    preferred = data.encoding.get("preferred_chunks", {})
    return {str(name): int(preferred.get(name, length)) for name, length in data.sizes.items()}


def _by(items: Iterable, key: Callable[..., Hashable]) -> dict:
    """Group items by a key and keep their order."""
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
