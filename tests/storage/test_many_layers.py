"""A store of a hundred layers is opened by its consolidated metadata, to the same contents."""

import numpy as np
import pytest
import xarray as xr

from rosetta_steps.maps.store import MapReader
from rosetta_steps.storage.files import files_under, is_hidden
from rosetta_steps.testing import made, random_maps, write_maps
from rosetta_steps.workflow.results import open_results

LAYERS = 100


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with the results of a sample set, and the maps that its stores were written of."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "results/samples/many.zarr").mkdir(parents=True)
    maps = random_maps(0, 6, *[(2, 3, 4)] * LAYERS)
    of_kind = made("activations", "one")
    write_maps(folder / "results/activations/many/one.zarr", maps, provenance=of_kind)
    write_maps(
        folder / "results/matched_maps/many/one.zarr",
        maps,
        channel_numbers={name: [3, 7] for name in maps},
        provenance=made("matched maps", "one"),
    )
    return folder, maps


def test_every_layer_reads_as_it_was_written(project):
    folder, maps = project
    reader = MapReader(folder / "results/activations/many/one.zarr")
    assert reader.layers == list(maps)
    for name, written in maps.items():
        np.testing.assert_array_equal(reader.read(name, slice(1, 6)), written[1:6])
        assert reader.layer_attrs(name)["layer"] == name


@pytest.mark.parametrize("kind", ["activations", "matched_maps"])
def test_results_are_what_xarray_alone_opens_in_the_chunks_of_the_store(project, kind):
    folder, maps = project
    opened = getattr(open_results("many", folder), kind)("one")
    alone = xr.open_datatree(folder / f"results/{kind}/many/one.zarr", engine="zarr", chunks={})
    xr.testing.assert_identical(opened, alone)
    for name, written in maps.items():
        layer = opened[name]["activation"]
        assert layer.chunks == ((4, 2), (2,), (3,), (4,)) == alone[name]["activation"].chunks
        np.testing.assert_array_equal(layer.values, written)


def test_files_are_listed_as_paths_are_sorted_and_links_to_folders_are_not_followed(tmp_path):
    store = tmp_path / "store"
    for file in ("a/zarr.json", "a.b/c/0", "a-1", ".hidden", "a/.left/x", "é/0"):
        (store / file).parent.mkdir(parents=True, exist_ok=True)
        (store / file).touch()
    (store / "empty").mkdir()
    (store / "linked").symlink_to(store / "a")
    (store / "lost").symlink_to(tmp_path / "nothing")
    by_pathlib = sorted(path for path in store.rglob("*") if path.is_file())
    assert files_under(store) == [path.relative_to(store).as_posix() for path in by_pathlib]
    assert [file for file in files_under(store) if is_hidden(file)] == [".hidden"]
    assert files_under(tmp_path / "nothing") == []
