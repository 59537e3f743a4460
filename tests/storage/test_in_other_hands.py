"""Every kind of store in a user's hands: what one types next in xarray, pandas, netCDF or zarr."""

import json
import pickle
import re
import warnings

import matplotlib
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import ROOT, plain_settings
from PIL import Image

from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.step import correlate
from rosetta_steps.editing import edit
from rosetta_steps.inversion import inverter as inverting
from rosetta_steps.inversion.matches import read_matches
from rosetta_steps.maps import moments
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import write_table
from rosetta_steps.stimuli import image_folder
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import ingredients
from rosetta_steps.storage.portable import fixed_width, listed, plain_attrs, portable
from rosetta_steps.testing import Project, dump_maps, made, write_maps
from rosetta_steps.zoo.generators import sampling

matplotlib.use("Agg")
ZOO = "config/models.yaml"
DATASETS = ["samples", "photos", "correlations", "nearest", "inversion", "edit"]
TREES = ["activations", "moments"]
CHUNKS = {"no option": {}, "chunks={}": {"chunks": {}}, "chunks=auto": {"chunks": "auto"}}
FILES = ["a.png", "b/café, 2.png", "b/with a far longer name than the others.png"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A folder with one store of every kind that the workflow writes, by the steps themselves."""
    folder = tmp_path_factory.mktemp("stores")
    before = pytest.MonkeyPatch()
    before.chdir(folder)
    Project(folder)
    sampling.sample("generator", ZOO, 8, 0, folder / "samples.zarr", device="cpu")
    (folder / "pictures/b").mkdir(parents=True)
    for number, file in enumerate(FILES):
        values = np.random.default_rng(number).integers(0, 256, (6, 9, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / "pictures" / file)
    (folder / "pictures/damaged.png").write_text("no image")
    before.setattr(image_folder, "IMAGES_PER_BLOCK", 1)  # a block a file, the longest name last
    image_folder.gather(["pictures"], (6, 9), folder / "photos.zarr", unreadable="skip")
    for name, layers in (("generator", "all"), ("one", ["layer1*"])):
        maps = folder / f"activations/{name}.zarr"
        dump_maps(
            name,
            ZOO,
            folder / "samples.zarr",
            layers,
            dtype="float16",
            images_per_shard=4,
            store=maps,
        )
        moments.measure(maps, folder / f"moments/{name}.zarr")
        moments.measure(maps, folder / f"split/{name}.zarr", splits=2)
    maps, whole, split = (
        [folder / kind / f"{name}.zarr" for name in NAMES]
        for kind in ("activations", "moments", "split")
    )
    correlate(*maps, *split, folder / "correlations.zarr", settings=Correlation(splits=2))
    correlate(*maps, *whole, folder / "nearest.zarr", threads=1, nearest=3)
    buddies = made("best buddies", *NAMES, of=ingredients([folder / "nearest.zarr"]))
    write_table(table_of(xr.open_zarr(folder / "nearest.zarr"), 2), folder / "buddies.csv", buddies)
    guides = {name: folder / f"moments/{name}.zarr" for name in NAMES}
    matches = read_matches({"one": folder / "buddies.csv"}, 2, -1.0)
    settings = plain_settings(steps=2, reconstruction="l2", frames=2)
    inverter = inverting.Inverter(
        "generator", ZOO, matches, guides, settings=settings, device="cpu"
    )
    inverting.invert(inverter, folder / "samples.zarr", folder / "inversion.zarr", memory=1.0)
    options = {"generator": "generator", "models": "one", "buddies": "buddies.csv", "steps": 2}
    options |= {"neighbours": 2, "min-correlation": -1, "edit": "zoom_in"}
    options |= {"source": "samples.zarr", "output": "edit.zarr"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    moments_of = ["--moments", *map(str, guides.values()), "--images", "0", "2"]
    before.setattr("sys.argv", ["edit", *words, *moments_of])
    edit.main()
    write_dataset(xr.open_datatree("split/one.zarr"), folder / "moments.zarr", made("moments"))
    (folder / "activations.zarr").symlink_to(folder / "activations/one.zarr")
    yield folder
    before.undo()


NAMES = ["generator", "one"]


def opened(folder, kind, **options) -> dict[str, xr.Dataset]:
    """The datasets of a store by the group they are in."""
    if kind in DATASETS:
        return {"": xr.open_zarr(folder / f"{kind}.zarr", **options)}
    tree = xr.open_datatree(folder / f"{kind}.zarr", **options)
    return {name: node.to_dataset() for name, node in tree.children.items()}


def floats(dataset):
    return [name for name, array in dataset.data_vars.items() if array.dtype.kind == "f"]


kinds = pytest.mark.parametrize("kind", DATASETS + TREES)
chunked = pytest.mark.parametrize("options", CHUNKS.values(), ids=CHUNKS)


@kinds
@chunked
def test_a_store_opens_and_loads_without_a_word(stores, kind, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dataset in opened(stores, kind, **options).values():
            dataset.load()


@kinds
@chunked
def test_means_deviations_and_sums_are_those_of_the_stored_values(stores, kind, options):
    for group, dataset in opened(stores, kind, **options).items():
        for name in floats(dataset):
            path = "/".join(part for part in (group, name) if part)
            stored = zarr.open_array(stores / f"{kind}.zarr", path=path)[...].astype(np.float64)
            for how in ("mean", "std", "sum"):
                expected = getattr(np, f"nan{how}")(stored)
                actual = float(getattr(dataset[name], how)())
                np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)


@chunked
def test_sums_over_many_float16_values_are_right(tmp_path, options):
    values = np.full((6, 4, 80, 90), 7, np.float16)  # 172 800 values: their sum is no float16
    values[0, 0, 0, 0] = 9
    store = write_maps(tmp_path / "a.zarr", {"layer0": values})
    maps = xr.open_datatree(store, **options)["layer0"]["activation"]
    exact = values.astype(np.float64)
    for how in ("mean", "std", "sum", "var"):
        assert float(getattr(maps, how)()) == pytest.approx(getattr(exact, how)(), rel=1e-9)
    of_unit = exact.mean((0, 2, 3))
    np.testing.assert_allclose(maps.mean(("image", "y", "x")), of_unit, rtol=1e-9)
    coarse = maps.coarsen(y=2, x=3).mean()
    assert coarse.shape == (6, 4, 40, 30) and float(coarse[0, 0, 0, 0]) == pytest.approx(44 / 6)


def test_what_is_stored_of_maps_stays_float16_and_reads_so_without_xarray(stores):
    store = stores / "activations.zarr"
    for layer, group in zarr.open_group(store, mode="r").groups():
        raw = group["activation"]
        assert raw.dtype == np.float16
        as_stored = xr.open_datatree(store, mask_and_scale=False)[layer]["activation"]
        assert as_stored.dtype == np.float16
        shown = xr.open_datatree(store)[layer]["activation"]
        assert shown.dtype == np.float64
        np.testing.assert_array_equal(shown.values.astype(np.float16), raw[...])
        narrow = xr.open_datatree(store, chunks={})[layer]["activation"].astype("float32")
        np.testing.assert_array_equal(narrow.values, raw[...])


def test_maps_that_are_missing_are_not_a_number_in_xarray_either(tmp_path):
    store = write_maps(tmp_path / "a.zarr", {"layer0": np.ones((6, 4, 3, 3), np.float16)})
    (store / "layer0/activation/c/1/0/0/0").unlink()
    maps = xr.open_datatree(store, chunks={})["layer0"]["activation"]
    assert maps[:4].notnull().all() and maps[4:].isnull().all()


@kinds
def test_attributes_are_text_numbers_or_lists_of_numbers(stores, kind):
    tree = xr.open_datatree(stores / f"{kind}.zarr", engine="zarr")
    for node in tree.subtree:
        for holder in (node, *node.variables.values()):
            for name, value in holder.attrs.items():
                several = value if isinstance(value, list) else [value]
                assert isinstance(value, str | int | float | list), name
                assert not isinstance(value, bool), name
                plain = (int, float) if isinstance(value, list) else (str, int, float)
                assert several and all(isinstance(one, plain) for one in several), name


@kinds
def test_a_store_becomes_netcdf(stores, kind, tmp_path):
    for dataset in opened(stores, kind).values():
        dataset.drop_encoding().to_netcdf(tmp_path / "x.nc", engine="scipy")  # the strictest
        again = xr.open_dataset(tmp_path / "x.nc", engine="scipy").load()
        for name, variable in dataset.variables.items():
            if variable.dtype.kind == "f":
                np.testing.assert_array_equal(again[name], variable)
            else:
                assert (again[name].astype(variable.dtype) == variable).all(), name


@kinds
def test_a_whole_tree_becomes_netcdf_with_its_float16(stores, kind, tmp_path):
    pytest.importorskip("h5netcdf")
    tree = xr.open_datatree(stores / f"{kind}.zarr", engine="zarr")
    tree.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    again = xr.open_datatree(tmp_path / "x.nc", engine="h5netcdf")
    assert set(again.groups) == set(tree.groups)


@kinds
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.filterwarnings("ignore:.*Zarr V3 spec", "ignore:Consolidated metadata")
def test_a_copy_is_the_same_in_either_format_of_zarr(stores, kind, tmp_path, zarr_format):
    for dataset in opened(stores, kind).values():
        dataset.drop_encoding().to_zarr(tmp_path / "x", mode="w", zarr_format=zarr_format)
        xr.testing.assert_identical(xr.open_zarr(tmp_path / "x").load(), dataset.load())


@kinds
def test_a_store_is_pickled_and_goes_into_a_table_of_pandas(stores, kind):
    for dataset in opened(stores, kind, chunks={}).values():
        xr.testing.assert_identical(pickle.loads(pickle.dumps(dataset)).load(), dataset.load())
        small = dataset.isel({dim: slice(2) for dim in dataset.dims})
        # Arrays of different dimensions would be crossed with each other: one at a time.
        for name in small.data_vars:
            if small[name].ndim:
                assert len(small[name].to_dataframe()) == small[name].size


@kinds
def test_two_stores_are_concatenated_and_opened_together(stores, kind):
    dim = {"moments": "channel", "correlations": "unit_a", "nearest": "unit_a"}.get(kind, "image")
    for group, dataset in opened(stores, kind).items():
        twice = xr.concat([dataset, dataset], dim, data_vars="minimal", coords="minimal")
        assert twice.sizes[dim] == 2 * dataset.sizes[dim]
        several = xr.open_mfdataset(
            [stores / f"{kind}.zarr"] * 2,
            engine="zarr",
            group=group or None,
            combine="nested",
            concat_dim=dim,
            data_vars="minimal",
            coords="minimal",
            compat="override",
        )
        for name in twice.variables:
            np.testing.assert_array_equal(several[name].values, twice[name].values)


@pytest.mark.parametrize("options", [{}, {"chunks": None}, {"chunks": "auto"}])
def test_a_unit_is_selected_by_its_layer_and_channel(stores, options):
    table = xr.open_zarr(stores / "correlations.zarr", **options)
    layers, channels = table["layer_a"].values, table["channel_a"].values
    place = 7
    expected = table["correlation"].values[place]
    one = {"layer_a": layers[place], "channel_a": channels[place]}
    by_index = table.set_xindex(["layer_a", "channel_a"]).sel(one)
    np.testing.assert_array_equal(by_index["correlation"], expected)
    pair = (layers[place], channels[place])
    by_level = table.set_index(unit_a=["layer_a", "channel_a"]).sel(unit_a=pair)
    np.testing.assert_array_equal(by_level["correlation"], expected)
    of_layer = table.set_xindex("layer_a").sel(layer_a=layers[place])
    assert of_layer.sizes["unit_a"] == (layers == layers[place]).sum()


def test_names_of_layers_are_text_to_numpy_pandas_and_xarray(stores):
    table = xr.open_zarr(stores / "correlations.zarr", chunks=None)
    names = table["layer_a"]
    assert names.dtype.kind == "U"
    np.testing.assert_array_equal(names.astype(str), names)
    assert (names.values.astype(str) == names.values).all()
    layer, count = np.unique(names, return_counts=True)
    assert table["correlation"].groupby("layer_a").max().sizes["layer_a"] == len(layer)
    chosen = table["correlation"].where(names == layer[0], drop=True)
    assert chosen.sizes["unit_a"] == names.isin([layer[0]]).sum() == count[0]
    assert table.query(unit_a=f"layer_a == '{layer[0]}'").sizes["unit_a"] == count[0]
    assert names.str.startswith(layer[0][:3]).any()
    frame = table["correlation"].to_dataframe()
    assert set(frame["layer_a"]) == set(layer)
    assert names.to_series().value_counts()[layer[0]] == count[0]


def test_names_are_text_to_zarr_alone(stores):
    raw = zarr.open_group(stores / "photos.zarr", mode="r")["file"]
    assert raw[:].tolist() == FILES
    assert xr.open_zarr(stores / "photos.zarr")["file"].values.tolist() == FILES
    assert listed(xr.open_zarr(stores / "photos.zarr").attrs["unreadable"])[0].startswith("damaged")


def test_the_example_of_the_docs_runs(stores, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/stores.md").read_text(), re.DOTALL)[1]
    of_docs = {
        "results/activations/faces/efficientnet-lite0.zarr": "activations.zarr",
        "results/correlations/faces/dcgan-digiface--efficientnet-lite0.zarr": "correlations.zarr",
    }
    for path, store in of_docs.items():
        assert path in code
        code = code.replace(path, str(stores / store))
    layer, unit = "layer1.0.act1", ("main.2", 1)
    code = code.replace('"bn1.act"', repr(layer)).replace('("main.2", 17)', repr(unit))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    names = xr.open_dataset("table.nc", engine="scipy")["layer_b"].astype(str)
    assert layer in names


def test_images_and_maps_are_plotted(stores):
    samples, edited = (xr.open_zarr(stores / f"{kind}.zarr") for kind in ("samples", "edit"))
    samples["image"][0].plot.imshow(rgb="rgb")
    edited["after"].plot.imshow(col="image", rgb="rgb")
    for dataset in opened(stores, "activations", chunks={}).values():
        dataset["activation"][0, 0].plot()
        dataset["activation"].plot.hist()
    xr.open_zarr(stores / "inversion.zarr")["loss"].isel(start=0, image=0).plot(hue="term")
    matplotlib.pyplot.close("all")


def test_terms_of_a_loss_are_selected_by_name(stores):
    for kind in ("inversion", "edit"):
        loss = xr.open_zarr(stores / f"{kind}.zarr")["loss"]
        np.testing.assert_array_equal(loss.sel(term="total"), loss[..., 0])


# --- portable -------------------------------------------------------------------------------------


def test_attributes_become_plain_and_come_back():
    attrs = {
        "text": "a",
        "numbers": [1, 2.5],
        "shape": (2, np.int64(3)),
        "array": np.array([1.5, 2.0]),
        "whole": np.int32(4),
        "yes": True,
        "nothing": None,
        "names": ["é", "b"],
        "none of them": [],
        "nested": {"a": {"b": [1, None, True]}, "c": np.float32(0.5)},
        "mixed": [1, "a"],
        "truths": [True, False],
    }
    plain = plain_attrs(attrs)
    assert plain.pop("numbers") == [1, 2.5] and plain.pop("shape") == [2, 3]
    assert plain.pop("array") == [1.5, 2.0] and plain.pop("text") == "a"
    assert plain.pop("whole") == 4 and plain.pop("yes") == 1 and "nothing" not in plain
    assert {name: listed(value) for name, value in plain.items()} == {
        "names": ["é", "b"],
        "none of them": [],
        "nested": {"a": {"b": [1, None, True]}, "c": 0.5},
        "mixed": [1, "a"],
        "truths": [True, False],
    }
    assert json.loads(json.dumps(plain)) == plain
    assert listed(["a"]) == ["a"] and listed(None) == []


@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType()])
def test_strings_of_a_dataset_and_of_a_tree_get_a_fixed_width(dtype):
    names = np.array([["a", ""], ["é" * 5, "b"]], dtype=dtype)
    dataset = xr.Dataset({"name": (("x", "y"), names, {"of": ["a"]})}, {"y": names[0]})
    before = dataset.copy(deep=True)
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"a": {}}), "/group": dataset})
    for found in (portable(dataset), portable(tree)["group"].to_dataset()):
        assert found["name"].dtype == "U5" and found["name"].attrs == {"of": '["a"]'}
        assert found["name"].values.tolist() == names.tolist()
        assert found.sel(y="")["name"].values.tolist() == ["", "b"]
    assert portable(tree).attrs == {"a": "{}"}
    xr.testing.assert_identical(dataset, before)


def test_strings_that_are_none_are_refused():
    assert fixed_width(np.array([], dtype=object)).dtype == "U1"
    with pytest.raises(TypeError, match="None is a NoneType, expected text"):
        fixed_width(np.array(["a", None], dtype=object))
