"""The parts of every correlation: `where` and what is left from moments, `amount` from the maps."""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from rosetta_steps.correlation.similarities import MEAN, similarity_of
from rosetta_steps.evidence.compared import sizes_in, sizes_of_comparison
from rosetta_steps.evidence.image_means import Means, image_means
from rosetta_steps.evidence.parts import parts_of_variance, sizes_compared
from rosetta_steps.maps.moments import refuse_other_moments
from rosetta_steps.maps.resampling import Size, size_of
from rosetta_steps.maps.sources import MapSource, open_maps, prepare
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import open_dataset, open_each, open_tree, write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest, refuse_mixed

KIND = "parts"


def write_parts(
    correlations: Path,
    maps: Sequence[Path],
    moments: Sequence[Path],
    output: Path,
    *,
    identity: str | None = None,
) -> None:
    """Write the parts of every pair of units of two models.

    Args:
        correlations: Correlations of the models, with every pair.
        maps: Activations, or streams, of both models; they are read once.
        moments: Moments of both models.
        output: Store to write.
        identity: Identity of the result, as Provenance takes it.

    Raises:
        StoreError: A store is damaged or belongs to others, or the correlations are those of the
            nearest partners only, or have no mean maps to take out.
    """
    made_of = ingredients([correlations, *maps, *moments])
    table = open_dataset(correlations)
    if "correlation" not in table:
        raise StoreError(
            f"{correlations} has the nearest partners only, not every pair. In the config, "
            "correlation: keep: table would do."
        )
    similarity = similarity_of(table.attrs)
    if similarity.about != MEAN:
        raise StoreError(
            f"{correlations} holds {similarity.title}, which has no part that is favourite places. "
            "In the config, correlation: similarity: pearson would do."
        )
    models = [table.attrs["model_a"], table.attrs["model_b"]]
    refuse_mixed({correlations: models, moments[0]: models[:1], moments[1]: models[1:]})
    trees, sources = open_each(open_tree, moments), open_each(open_maps, maps)
    for path, source, of in zip(maps, sources, moments, strict=True):
        refuse_other_moments(of, source, path)
    found = parts_of(table, trees, means_of(sources, trees))
    provenance = Provenance(
        KIND, models, read_manifest(correlations)["sample_set"], made_of, identity
    )
    write_dataset(found.assign_attrs(model_a=models[0], model_b=models[1]), output, provenance)


def carry_out(a: argparse.Namespace) -> None:
    """Write the parts that a command line asks for."""
    maps, moments = (a.maps_a, a.maps_b), (a.moments_a, a.moments_b)
    prepare(maps, a.threads)
    write_parts(a.correlations, maps, moments, a.output, identity=a.identity)


def means_of(sources: Sequence[MapSource], moments: Sequence[xr.DataTree]) -> list[Means]:
    """Image means of both models at every size at which their layers meet.

    Args:
        sources: Maps of both models, of which the layers of the moments are read.
        moments: Moments of both models.
    """
    return [
        image_means(
            source,
            {
                layer: sizes_of_comparison(source.sizes[layer], sizes_in(other))
                for layer in own.children
            },
        )
        for source, own, other in zip(sources, moments, moments[::-1], strict=True)
    ]


def parts_of(
    correlations: xr.Dataset, moments: Sequence[xr.DataTree], means: Sequence[Means]
) -> xr.Dataset:
    """The parts of r, and what is left of it without favourite places, of every pair of units.

    Args:
        correlations: Pearson correlations of every pair.
        moments: Moments of both models.
        means: Image means of both models.

    Returns:
        By (unit_a, unit_b) float32: `where` and `amount`, of r (the rest of r is `place`), and
        `left`, r about both mean maps, 0 where nothing is left; NaN where a unit never varies.
        By unit: `where_share_a`, `_b`, the share that the mean map has in the unit's own variance,
        at its own size.
    """
    compared = sizes_compared(moments)
    r = correlations["correlation"].values
    where, amount, left = (np.full_like(r, np.nan) for _ in range(3))
    layers = [
        {str(name): np.flatnonzero(correlations[f"layer_{side}"].values == name) for name in names}
        for side in "ab"
        for names in [pd.unique(correlations[f"layer_{side}"].values.astype(str))]
    ]

    @cache
    def parts(side: int, layer: str, size: Size) -> dict[str, np.ndarray]:
        return parts_of_variance(moments[side][layer].to_dataset(), size)

    shares = [np.full(len(of), np.nan) for of in (r, r.T)]
    for side, of_model in enumerate(layers):
        for layer, units in of_model.items():
            own = parts(side, layer, size_of(moments[side][layer].to_dataset()["mean_map"]))
            with np.errstate(invalid="ignore", divide="ignore"):
                shares[side][units] = own["where"] / own["variance"]
    for layer_a, units_a in tqdm(layers[0].items(), "parts", unit="layer"):
        for layer_b, units_b in layers[1].items():
            size = compared(layer_a, layer_b)
            a, b = parts(0, layer_a, size), parts(1, layer_b, size)
            here = np.ix_(units_a, units_b)
            covariance = a["mean_map"] @ b["mean_map"].T / a["mean_map"].shape[1]
            means_a, means_b = means[0][layer_a, size], means[1][layer_b, size]
            of_amounts = means_a @ means_b.T / means_a.shape[1]
            deviations = np.sqrt(np.outer(a["variance"], b["variance"]))
            rest = [np.maximum(of["variance"] - of["where"], 0) for of in (a, b)]
            of_left = np.sqrt(np.outer(*rest))
            with np.errstate(invalid="ignore", divide="ignore"):
                where[here], amount[here] = covariance / deviations, of_amounts / deviations
                without = (r[here] - covariance / deviations) * deviations / of_left
            left[here] = np.clip(np.where(of_left > 0, without, 0.0), -1, 1)
            for values in (where, amount, left):
                values[here] = np.where(np.isnan(r[here]), np.nan, values[here])
    pairs = ("unit_a", "unit_b")
    variables: dict = {
        name: (pairs, values)
        for name, values in (("where", where), ("amount", amount), ("left", left))
    }
    variables |= {
        f"where_share_{side}": (f"unit_{side}", share)
        for side, share in zip("ab", shares, strict=True)
    }
    names = [f"{what}_{side}" for side in "ab" for what in ("layer", "channel")]
    return xr.Dataset(variables, {name: correlations[name] for name in names})
