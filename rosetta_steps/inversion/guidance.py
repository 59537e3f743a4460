"""Construction of the pairs that L_act compares, from matches and maps of target images."""

from collections.abc import Mapping
from math import prod

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from rosetta_steps.inversion.matches import layer_of, mean_and_deviation
from rosetta_steps.inversion.similarity import Pairs, bytes_of_preparing
from rosetta_steps.maps.resampling import Size, comparison_size, size_of
from rosetta_steps.runtime.errors import UserError

# Columns mean and deviation by channel, for each model, layer and size of comparison.
Statistics = dict[tuple[str, str, Size], pd.DataFrame]


def ordered(matches: pd.DataFrame) -> pd.DataFrame:
    """Return matches sorted by layers, the order that `guidance` requires."""
    names = ["generator_layer", "model", "layer", "generator_channel", "channel"]
    return matches.sort_values(names, kind="stable", ignore_index=True)


def bytes_of_guidance(
    pairs: list[Pairs], maps: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, int]:
    """Return the memory in use while the pairs of one image are built and prepared.

    Args:
        pairs: Pairs as `guidance` returns them.
        maps: Maps of which the pairs were built.

    Returns:
        Values of `preparing`, `working` and `working_at_most` of memory.Needs.
    """
    whole = sum(of.nbytes for layers in maps.values() for of in layers.values())
    # The maps of the pairs exist twice while those of one size are joined; the prepared targets of
    # a layer exist twice while its parts are joined.
    layers: dict[str, int] = {}
    for part in pairs:
        kept = 4 * len(part.channels) * prod(part.size)
        layers[part.layer] = layers.get(part.layer, 0) + kept
    preparing = whole + 2 * sum(part.target.nbytes for part in pairs) + max(layers.values())
    return {"preparing": preparing, **bytes_of_preparing(pairs)}


def statistics_of(
    matches: pd.DataFrame,
    sizes: Mapping[str, Size],
    generator: str,
    moments: Mapping[str, xr.DataTree],
) -> Statistics:
    """Return mean and deviation of all matched units at the sizes at which they are compared.

    Args:
        matches: Matches from read_matches.
        sizes: Height and width of the maps of the generator's layers.
        generator: Name of the generator.
        moments: Moments of the generator and of the models, by name; one layer is read at a time.

    Raises:
        ValueError: The moments lack a layer, or a unit never varies.
    """
    units: dict[tuple[str, str], set[int]] = {}
    compared: dict[tuple[str, str], set[Size]] = {}
    names = ["generator_layer", "model", "layer"]
    for (own, model, layer), group in matches.groupby(names, sort=False):
        size = comparison_size(sizes[own], size_of(layer_of(moments[model], layer)["mean_map"]))
        for of, channel in (((generator, own), "generator_channel"), ((model, layer), "channel")):
            units.setdefault(of, set()).update(group[channel])
            compared.setdefault(of, set()).add(size)
    found: Statistics = {}
    for (name, layer), chosen in units.items():
        channels = sorted(chosen)
        at_sizes = mean_and_deviation(moments[name], layer, channels, compared[name, layer])
        for size, (mean, deviation) in at_sizes.items():
            columns = {"mean": mean, "deviation": deviation}
            found[name, layer, size] = pd.DataFrame(columns, index=channels)
    return found


def guidance(
    matches: pd.DataFrame,
    maps: Mapping[str, Mapping[str, Tensor]],
    sizes: Mapping[str, Size],
    generator: str,
    statistics: Statistics,
) -> list[Pairs]:
    """Return the pairs of L_act for some target images.

    Args:
        matches: Matches from read_matches, sorted by `ordered`; an optional column `weight` has
            their weights.
        maps: Maps of the target images by model and layer, (image, channel, y, x).
        sizes: Height and width of the maps of the generator's layers.
        generator: Name of the generator.
        statistics: Mean and deviation of the units, from `statistics_of`.

    Raises:
        ValueError: A model's maps have another size than those of its moments.
    """
    pairs = []
    for (own, model, layer), group in matches.groupby(
        ["generator_layer", "model", "layer"], sort=False
    ):
        target = maps[model][layer]
        size = comparison_size(sizes[own], size_of(target))
        channels, others = group["generator_channel"].tolist(), group["channel"].tolist()
        if (model, layer, size) not in statistics:
            y, x = size_of(target)
            raise UserError(
                f"{model}, layer {layer}: its maps of the targets have {y} x {x} positions, and "
                "its moments are of maps of another size. Mine again with this model."
            )
        unit, target_unit = (
            statistics[of].loc[numbers]
            for of, numbers in (((generator, own, size), channels), ((model, layer, size), others))
        )
        pairs.append(
            Pairs(
                layer=own,
                channels=channels,
                mean=unit["mean"].to_numpy(),
                deviation=unit["deviation"].to_numpy(),
                size=sizes[own],
                target=target[:, others],
                target_mean=target_unit["mean"].to_numpy(),
                target_deviation=target_unit["deviation"].to_numpy(),
                weight=group["weight"].to_numpy() if "weight" in group else None,
            )
        )
    return _joined(pairs)


def _joined(pairs: list[Pairs]) -> list[Pairs]:
    # Pairs of one layer of the generator and one size of targets are joined into one product.
    groups: dict[tuple, list[Pairs]] = {}
    for part in pairs:
        groups.setdefault((part.layer, tuple(part.target.shape[2:])), []).append(part)

    def all_of(parts, name):
        return np.concatenate([getattr(part, name) for part in parts])

    return [
        Pairs(
            layer=parts[0].layer,
            channels=sum((list(part.channels) for part in parts), []),
            mean=all_of(parts, "mean"),
            deviation=all_of(parts, "deviation"),
            size=parts[0].size,
            target=torch.cat([part.target for part in parts], 1),
            target_mean=all_of(parts, "target_mean"),
            target_deviation=all_of(parts, "target_deviation"),
            weight=None if parts[0].weight is None else all_of(parts, "weight"),
        )
        for parts in groups.values()
    ]
