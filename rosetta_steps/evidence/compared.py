"""Sizes at which units of two models are compared, and covariances that were taken at them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import xarray as xr

from rosetta_steps.maps.resampling import Size, comparison_size, size_of
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import open_tree
from rosetta_steps.storage.manifests import manifest_path, refuse_other_models, step_that_writes


def sizes_in(moments: xr.DataTree) -> list[Size]:
    """Map sizes of a model's layers, each once, in the order of the forward pass."""
    return list(dict.fromkeys(sizes_of_layers(moments).values()))


def sizes_of_layers(moments: xr.DataTree) -> dict[str, Size]:
    """Map size of each of a model's layers, in the order of the forward pass."""
    return {
        name: size_of(layer.to_dataset()["mean_map"]) for name, layer in moments.children.items()
    }


def sizes_of_comparison(own: Size, others: Iterable[Size]) -> list[Size]:
    """Sizes at which units of one map size are compared with units of others, each once."""
    return list(dict.fromkeys(comparison_size(own, other) for other in others))


def open_covariances(
    store: Path, models: Sequence[str], moments: Sequence[xr.DataTree], sample_set: str
) -> xr.DataTree:
    """Open the covariances of the second of two models, compared with the first.

    Args:
        store: X.zarr.
        models: Names of both models.
        moments: Moments of both.
        sample_set: Name of the sample set on which they were correlated.

    Raises:
        StoreError: The store is damaged; or it is of another model or sample set, or of other
            layers, or compared with layers of other sizes.
    """
    state = refuse_other_models(store, models[1:])
    tree = open_tree(store)
    remedy = step_that_writes(manifest_path(store))
    if state["sample_set"] != sample_set:
        raise StoreError(
            f"{store} is on {state['sample_set']}, and the correlations are on {sample_set}. Give "
            "the covariances on that sample set (--covariances)."
        )
    others = sizes_in(moments[0])
    for name, layer in moments[1].children.items():
        channels, *own = layer.to_dataset()["mean_map"].shape
        if name not in tree.children:
            raise StoreError(
                f"{store} has no layer {name} of {models[1]}: it is of other layers. {remedy}."
            )
        held = tree[name].to_dataset()
        if held.sizes["channel"] != channels:
            raise StoreError(
                f"{store}, layer {name}: {held.sizes['channel']} units of {channels}. {remedy}."
            )
        kept = set(zip(held["height"].values.tolist(), held["width"].values.tolist(), strict=True))
        for size in sizes_of_comparison((own[0], own[1]), others):
            if size not in kept:
                raise StoreError(
                    f"{store}, layer {name}: not at {size[0]} x {size[1]} positions, where it is "
                    f"compared with {models[0]}. It was made for layers of other sizes. {remedy}."
                )
    return tree
