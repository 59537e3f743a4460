"""A source of maps that is neither a store nor a stream: it is checked, and mined like them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from brute_force import brute_force, run

from rosetta_steps.correlation import pieces, step
from rosetta_steps.maps import moments
from rosetta_steps.maps.copying import copy_maps
from rosetta_steps.maps.sources import open_maps
from rosetta_steps.maps.store import MapReader
from rosetta_steps.storage.manifests import read_manifest
from rosetta_steps.testing import check_source, made, moments_of, random_maps


class Arrays:
    """Maps that lie in memory: of each layer (image, channel, y, x)."""

    device = "cpu"

    def __init__(self, name, maps, provenance):
        self.maps, self.layers = maps, list(maps)
        self.images = len(next(iter(maps.values())))
        self.sizes = {layer: array.shape[2:] for layer, array in maps.items()}
        self.channels = {layer: array.shape[1] for layer, array in maps.items()}
        self.dtype = next(iter(maps.values())).dtype
        self.attrs = {"model": name, "samples": "samples.zarr"}
        self.state = provenance | {"key": "arrays"}

    def layer_attrs(self, layer):
        return {"layer": layer, "nonlinearity": "ReLU"}

    def channels_per_read(self, layer):
        return 1

    def images_per_read(self, max_bytes):
        return 3

    def select_layers(self, layers):
        """All lie there."""

    def prefetch(self, block):
        """All lie there."""

    def read(self, layer, block, channels=slice(None)):
        return self.maps[layer][block, channels]


def arrays(name, maps):
    return Arrays(name, maps, made("activations", name).state(f"{name}.zarr"))


@pytest.fixture
def small():
    return arrays("a", random_maps(1, 10, (3, 4, 4), (2, 12, 30)))


def test_arrays_and_a_store_of_them_are_sources(small, two_stores):
    check_source(small)
    check_source(MapReader(two_stores[0]))


def changed(source, name, value):
    setattr(source, name, value)
    return source


def reading(change):
    """Another `read`, that changes what is read."""

    def broken(source):
        read = source.read
        return changed(source, "read", lambda *given: change(read(*given), *given))

    return broken


WRONG = {
    "it has no layer_attrs": lambda s: SimpleNamespace(**vars(s), device="cpu"),
    "its state has no 'sample_set'": lambda s: changed(s, "state", {"name": "a"}),
    "its attrs do not name the model": lambda s: changed(s, "attrs", {}),
    r"device 'gpu' is neither cpu nor cuda": lambda s: changed(s, "device", "gpu"),
    r"is not NumPy's float16 or float32": lambda s: changed(s, "dtype", np.dtype("float64")),
    r"sizes are of \['layer1', 'layer0'\], layers are \['layer0', 'layer1'\]": lambda s: changed(
        s, "sizes", dict(reversed(s.sizes.items()))
    ),
    r"layer layer0: the size 4 is no tuple \(y, x\)": lambda s: changed(
        s, "sizes", s.sizes | {"layer0": 4}
    ),
    r"layer layer0: channels_per_read gives 0": lambda s: changed(
        s, "channels_per_read", lambda layer: 0
    ),
    r"has the shape \(10, 3, 4, 4\), not \(10, 5, 4, 4\)": lambda s: changed(
        s, "channels", s.channels | {"layer0": 5}
    ),
    r"has the shape \(9, 3, 4, 4\), not \(10, 3, 4, 4\)": reading(lambda maps, *_: maps[1:]),
    r"layer layer0, images 0 to 10, all channels: is float32, not float16": reading(
        lambda maps, *_: maps.astype(np.float32)
    ),
    "has values that are not finite": reading(lambda maps, *_: maps * np.float16("nan")),
    r"read gives list, not an array or a tensor": reading(lambda maps, *_: maps.tolist()),
    r"lies on meta, not on cpu": reading(lambda maps, *_: torch.tensor(maps, device="meta")),
    # What only a second look finds: the blocks of another beginning, and slices of channels.
    r"images 3 to 6: other values than the same ones read of all images": reading(
        lambda maps, layer, block, *_: maps if block.start == 0 else maps[::-1]
    ),
    r"layer layer0, images 0 to 3: other values .* read channels 1 to 3 of all": lambda s: changed(
        s,
        "read",
        lambda layer, block, channels=slice(None): s.maps[layer][block][
            :, : len(range(s.channels[layer])[channels])
        ],
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_disagrees_with_what_a_source_says_is_named(small, message):
    with pytest.raises(AssertionError, match=message):
        check_source(WRONG[message](small))


def test_a_copy_of_arrays_is_the_store_of_the_same_maps(small, two_stores, tmp_path):
    store, _, maps, _ = two_stores
    copy_maps(small, 4, tmp_path / "copy" / "a.zarr", made("activations", "a"))
    copied = open_maps(tmp_path / "copy" / "a.zarr")
    check_source(copied)
    for layer, expected in maps.items():
        np.testing.assert_array_equal(copied.read(layer, slice(0, 10)), expected)
        np.testing.assert_array_equal(MapReader(store).read(layer, slice(0, 10)), expected)


def test_units_that_are_kept_of_arrays_are_theirs(small, tmp_path):
    copy_maps(small, 4, tmp_path / "m.zarr", made("matched maps", "a"), {"layer0": [2, 0]})
    kept = MapReader(tmp_path / "m.zarr")
    assert kept.layers == ["layer0"] and kept.channel_numbers("layer0").tolist() == [0, 2]
    found = kept.read("layer0", slice(0, 10))
    np.testing.assert_array_equal(found, small.maps["layer0"][:, [0, 2]])


def test_arrays_are_mined_as_a_store_of_them_is(two_stores, tmp_path, monkeypatch):
    """Steps take paths: behind those of the two stores there are arrays now."""
    a, b, maps_a, maps_b = two_stores
    expected = run(a, b, tmp_path / "stored.zarr", images_per_block=4).load()
    of_stores = [xr.open_datatree(moments_of(store)).load() for store in (a, b)]
    behind = {
        str(store): Arrays(store.stem, maps, read_manifest(store))
        for store, maps in ((a, maps_a), (b, maps_b))
    }
    opened = []

    def open_arrays(path):
        opened.append(str(path))
        return behind[str(path)]

    for module in (moments, step, pieces):
        monkeypatch.setattr(module, "open_maps", open_arrays)
    for store, stored in zip((a, b), of_stores, strict=True):
        moments.measure(store, moments_of(store))
        found = xr.open_datatree(moments_of(store)).load()
        for layer in stored.children:
            for name, values in stored[layer].data_vars.items():
                np.testing.assert_allclose(found[layer][name], values, rtol=1e-6, err_msg=name)
    found = run(a, b, tmp_path / "found.zarr", images_per_block=4)
    assert set(opened) == set(behind)
    np.testing.assert_allclose(found["correlation"], expected["correlation"], atol=1e-6)
    np.testing.assert_allclose(found["correlation"], brute_force(maps_a, maps_b), atol=1e-5)
    assert found.coords.equals(expected.coords)
