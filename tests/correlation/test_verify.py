"""A table that was altered is found by computing some pairs once more."""

import numpy as np
import pytest
from brute_force import run

from rosetta_steps.correlation.verification import largest_difference
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.testing import made, write_maps


@pytest.mark.parametrize("kept", ["correlation", "correlation_a", "correlation_b"])
def test_verify_finds_what_was_altered(two_stores, tmp_path, kept):
    a, b, *_ = two_stores
    nearest = {} if kept == "correlation" else {"nearest": 3}
    stored = run(a, b, tmp_path / "out.zarr", **nearest).load()
    assert largest_difference(tmp_path / "out.zarr", a, b, pairs=30, seed=0) < 1e-5
    stored[kept] += 0.01
    write_dataset(stored, tmp_path / "wrong.zarr", made("correlations", "a", "b"))
    assert largest_difference(tmp_path / "wrong.zarr", a, b, pairs=30, seed=0) > 0.009


def test_verify_draws_nearest_partners_whose_maps_are_both_stored(two_stores, tmp_path):
    a, b, maps_a, maps_b = two_stores
    run(a, b, tmp_path / "out.zarr", nearest=2)
    matched = []
    for store, maps, chosen in ((a, maps_a, [1]), (b, maps_b, [0, 1])):
        some = {name: of_layer[:, chosen] for name, of_layer in maps.items()}
        numbers = dict.fromkeys(some, chosen)
        path = tmp_path / "matched" / store.name
        matched.append(write_maps(path, some, channel_numbers=numbers))
    assert largest_difference(tmp_path / "out.zarr", *matched, pairs=30, seed=0) < 1e-5


def test_verify_says_where_no_maps_of_two_partners_are_stored(two_stores, tmp_path):
    a, b, maps_a, maps_b = two_stores
    table = run(a, b, tmp_path / "table.zarr")
    run(a, b, tmp_path / "out.zarr", nearest=1)
    values = table["correlation"].values
    strangers = (values.argmax(1)[0] != np.arange(values.shape[1])) & (values.argmax(0) != 0)
    stores = []
    for path, maps, unit in ((a, maps_a, 0), (b, maps_b, int(strangers.argmax()))):
        layer = str(table[f"layer_{path.stem}"].values[unit])
        channel = int(table[f"channel_{path.stem}"][unit])
        one = {layer: maps[layer][:, [channel]]}
        stores.append(
            write_maps(tmp_path / "m" / path.name, one, channel_numbers={layer: [channel]})
        )
    with pytest.raises(ValueError, match="out.zarr: of no two .*/m/a.zarr and .* first"):
        largest_difference(tmp_path / "out.zarr", *stores, pairs=3, seed=0)
