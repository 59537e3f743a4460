"""Units that guide an inversion: best buddies of a generator, and their mean and deviation."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.maps.resampling import Size
from rosetta_steps.maps.statistics import mean_and_variance
from rosetta_steps.matching.tables import read_best_buddies
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_tree
from rosetta_steps.storage.manifests import refuse_other_models

COLUMNS = ["generator_layer", "generator_channel", "model", "layer", "channel", "correlation"]


class NoMatches(UserError):
    """No best buddies of the generator are strong enough to guide an inversion."""


def read_matches(
    tables: Mapping[str, Path],
    neighbours: int,
    min_correlation: float,
    generator: str | None = None,
) -> pd.DataFrame:
    """Read the best buddies of a generator with some models, above a minimum correlation.

    Args:
        tables: Path of the table of best buddies with each model, mined with K at least
            `neighbours`.
        neighbours: K of eq. 3. With a smaller K than that of a table, only pairs whose two ranks
            are at most K are taken.
        min_correlation: Minimum correlation of a pair.
        generator: Name of the generator that the tables must describe; None accepts any.

    Returns:
        One row for each pair, with columns generator_layer, generator_channel, model, layer,
        channel, correlation.

    Raises:
        ValueError: K is below 1.
        StoreError: A table is not finished, is damaged, or describes other models.
    """
    if neighbours < 1:
        raise UserError(f"neighbours: {neighbours} must be at least 1, or no pair is left.")
    parts = []
    for model, path in tables.items():
        table = read_best_buddies(path, None if generator is None else [generator, model])
        near = table[["rank_a", "rank_b"]].max(axis=1) <= neighbours
        table = table[near & (table["correlation"] >= min_correlation)].copy()
        table.columns = [
            {"layer_a": "generator_layer", "channel_a": "generator_channel"}.get(
                name, name.removesuffix("_b")
            )
            for name in table.columns
        ]
        table["model"] = model
        parts.append(table[COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def refuse_no_matches(
    matches: pd.DataFrame, tables: Mapping[str, Path], neighbours: int, min_correlation: float
) -> None:
    """Raise NoMatches if there are no matches.

    Args:
        matches: Matches as read_matches returns them.
        tables: Paths of the tables they were read from.
        neighbours: K of eq. 3.
        min_correlation: Minimum correlation of a pair.

    Raises:
        NoMatches: There are no matches; the message names the strongest pair below the minimum.
    """
    if len(matches):
        return
    strongest = [
        (float(table["correlation"].max()), model)
        for model, path in tables.items()
        if len(table := read_best_buddies(path))
    ]
    known = (
        "the strongest has r = {:.2f}, with {}".format(*max(strongest))
        if strongest
        else "the tables are empty"
    )
    raise NoMatches(
        f"no best buddies with r of at least {min_correlation} at K = {neighbours} in "
        f"{', '.join(str(path) for path in tables.values())}: {known}. Lower "
        "inversion.min_correlation, raise inversion.neighbours (--min-correlation and "
        "--neighbours by hand), or mine more images."
    )


def open_moments(path: Path, model: str) -> xr.DataTree:
    """Open the moments of a model.

    Args:
        path: Path of the store.
        model: Name of the model that they must describe.

    Raises:
        ValueError: They describe another model.
    """
    moments = open_tree(path)
    refuse_other_models(path, [model])
    return moments


def layer_of(moments: xr.DataTree, layer: str) -> xr.Dataset:
    """Return the moments of one layer, whose arrays are read lazily.

    Raises:
        ValueError: The moments have no such layer.
    """
    if layer not in moments.children:
        raise UserError(
            f"the moments of {moments.attrs.get('model')} have no layer {layer}; they have "
            f"{', '.join(moments.children)}. The best buddies were mined from other layers, or of "
            "another model: give those that belong to these moments."
        )
    return moments[layer].to_dataset()


def mean_and_deviation(
    moments: xr.DataTree, layer: str, channels: Sequence[int], sizes: Iterable[Size]
) -> dict[Size, tuple[np.ndarray, np.ndarray]]:
    """Return mean and standard deviation of units over the mined images (eq. 1), by size.

    The moments of the layer are read once, and not kept.

    Args:
        moments: Moments of the model.
        layer: Name of the layer.
        channels: Channel numbers of the units.
        sizes: Heights and widths at which the units are compared.

    Returns:
        Mean and standard deviation at each size, (unit) float64 each.

    Raises:
        ValueError: The moments have no such layer, or a unit never varies.
    """
    # A copy keeps in memory what is read; the moments themselves would keep it for the whole job.
    of_layer = layer_of(moments, layer).copy()
    chosen = np.asarray(channels)
    found = {}
    for size in sizes:
        mean, variance = (values[chosen] for values in mean_and_variance(of_layer, size))
        if len(still := chosen[~(variance > 0)]):
            raise UserError(
                f"{moments.attrs.get('model')}, layer {layer}: channel {still[0]} never varies "
                "over the mined images, so it guides nothing."
            )
        found[size] = mean, np.sqrt(variance)
    return found


def matches_from(a: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, Path]]:
    """Matches, and moments by name, of a command line.

    Raises:
        NoMatches: No pair is left.
        ValueError: The numbers of models, tables and moments differ.
    """
    if len(a.models) != len(a.buddies) or (a.models and len(a.moments) != len(a.models) + 1):
        raise UserError(
            f"{len(a.models)} models, {len(a.buddies)} tables and {len(a.moments)} moments: give "
            "one table a model, and the moments of the generator and of every model."
        )
    tables = dict(zip(a.models, a.buddies, strict=True))
    matches = read_matches(tables, a.neighbours, a.min_correlation, a.generator)
    if tables:
        refuse_no_matches(matches, tables, a.neighbours, a.min_correlation)
    return matches, dict(zip([a.generator, *a.models], a.moments, strict=False))
