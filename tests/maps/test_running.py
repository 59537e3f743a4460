"""Models that run while they are correlated give what their dumps give, and keep what matched."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from own_configs import with_examples
from PIL import Image

from rosetta_steps.correlation import pieces, step, taken
from rosetta_steps.correlation import plan as plans
from rosetta_steps.correlation.plan import Outline, plan
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.step import correlate
from rosetta_steps.correlation.units import units_of
from rosetta_steps.display.exemplars import Unit
from rosetta_steps.display.reading import read_maps, unit_maxima
from rosetta_steps.maps import moments, running, sources
from rosetta_steps.maps.copying import copy_maps, runs_of_channels
from rosetta_steps.maps.matched import keep_matched, matched_units
from rosetta_steps.maps.running import Stream, describe, provenance_of
from rosetta_steps.maps.sources import open_maps
from rosetta_steps.maps.store import MapReader
from rosetta_steps.maps.streams import write_stream
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import BEST_BUDDIES, write_table
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import check_dataset, remove_store
from rosetta_steps.storage.files import write_json
from rosetta_steps.storage.manifests import manifest_path, read_manifest
from rosetta_steps.testing import Project, dump_maps, made
from rosetta_steps.zoo.entries import check
from rosetta_steps.zoo.generators import sampling

ZOO = "config/models.yaml"
NAMES = {"generator": "all", "one": ["layer1*", "layer2*"]}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A folder with dumps and streams of a tiny generator and a tiny ResNet on ten images."""
    folder = tmp_path_factory.mktemp("streams")
    before = pytest.MonkeyPatch()
    before.chdir(folder)
    torch.set_num_threads(1)
    Project(folder)
    sampling.sample("generator", ZOO, 10, 0, folder / "samples.zarr", device="cpu")
    for name, layers in NAMES.items():
        dump_maps(
            name,
            ZOO,
            folder / "samples.zarr",
            layers,
            dtype="float16",
            images_per_shard=4,
            store=folder / f"{name}.zarr",
        )
        write_stream(Stream(describe_of(folder, name)), folder / f"{name}.json")
        for kind in ("zarr", "json"):
            moments.measure(f"{name}.{kind}", folder / f"moments-{kind}" / f"{name}.zarr", 2, 2)
    yield folder
    before.undo()


def describe_of(folder, name):
    return describe(
        name, ZOO, folder / "samples.zarr", NAMES[name], dtype="float16", images_per_shard=4
    )


@pytest.fixture(autouse=True)
def here(both, monkeypatch):
    monkeypatch.chdir(both)


def correlation(both, kind, output, **settings):
    maps = [f"{name}.{kind}" for name in NAMES]
    measured = [both / f"moments-{kind}" / f"{name}.zarr" for name in NAMES]
    own = {name: settings.pop(name) for name in ("nearest", "workers") if name in settings}
    chosen = Correlation(splits=2, **settings)
    correlate(*maps, *measured, output, settings=chosen, threads=1, **own)
    return xr.open_zarr(output)


def test_a_stream_reads_what_a_dump_holds_and_says_of_it_what_the_dump_says(both):
    for name in NAMES:
        stored, stream = open_maps(both / f"{name}.zarr"), open_maps(both / f"{name}.json")
        assert isinstance(stored, MapReader) and isinstance(stream, Stream)
        for what in ("attrs", "layers", "sizes", "channels", "dtype", "images"):
            assert getattr(stream, what) == getattr(stored, what), what
        for layer in stored.layers:
            assert stream.layer_attrs(layer) == stored.layer_attrs(layer)
            for block in (slice(0, 4), slice(8, 10)):
                found = stream.read(layer, block)
                assert found.dtype == torch.float16
                np.testing.assert_array_equal(found, stored.read(layer, block))


def test_the_maps_of_a_block_are_made_once_and_those_of_layers_that_nobody_reads_are_not_kept(
    both, monkeypatch
):
    passes, original = [], running.run_into

    def counted(maps, model, role, samples, block):
        passes.append(block.stop - block.start)
        original(maps, model, role, samples, block)

    monkeypatch.setattr(running, "run_into", counted)
    stream = Stream(describe_of(both, "one"))
    stream.select_layers(stream.layers[:2])
    for layer in stream.layers[:2]:
        stream.read(layer, slice(0, 4), slice(1, 3))
    assert passes == [4] and set(stream._maps) == set(stream.layers[:2])
    stream.read(stream.layers[0], slice(4, 10))
    assert passes == [4, 4, 2]  # as many at once as in a file


def test_a_pass_and_a_block_have_as_many_images_as_memory_holds(both, monkeypatch):
    stream = Stream(describe_of(both, "one"))
    stream.select_layers(stream.layers[:1])
    (channels, (y, x)) = stream.channels[stream.layers[0]], stream.sizes[stream.layers[0]]
    values = channels * y * x
    assert stream.at_once == stream.images_per_read(2 * 5.5 * values) == 4
    assert stream.images_per_read(2 * 3.5 * values) == 3
    monkeypatch.setitem(running.PASS_BYTES, "cpu", 2 * 2.5 * values)
    assert stream.at_once == 2
    monkeypatch.setitem(running.PASS_BYTES, "cpu", 1)
    assert stream.at_once == stream.images_per_read(1) == 1


def test_moments_of_a_stream_are_those_of_its_dump(both, monkeypatch, tmp_path):
    # A pass for every layer, image by image.
    monkeypatch.setattr(moments, "budgets", lambda device: (1, 1))
    moments.measure(both / "one.json", tmp_path / "one.zarr", 2)
    for found in (tmp_path / "one.zarr", both / "moments-json/one.zarr"):
        found = xr.open_datatree(found, engine="zarr")
        stored = xr.open_datatree(both / "moments-zarr/one.zarr", engine="zarr")
        for layer in stored.children:
            for name, values in stored[layer].data_vars.items():
                np.testing.assert_allclose(found[layer][name], values, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"images_per_strip": 5, "images_per_block": 3}])
def test_correlations_of_streams_are_those_of_their_dumps(both, tmp_path, settings):
    stored = correlation(both, "zarr", tmp_path / "stored.zarr")
    found = correlation(both, "json", tmp_path / "found.zarr", **settings)
    for name in ("correlation", "split_correlation"):
        np.testing.assert_allclose(found[name], stored[name], atol=1e-5)
    assert found.coords.equals(stored.coords)


def measured_while_correlated(both, output, kind="json", **settings):
    """The table of streams or dumps, and the moments that were taken in the same pass."""
    own = {name: settings.pop(name) for name in ("nearest", "workers") if name in settings}
    of_one = output.with_name(f"moments-{output.stem}") / "one.zarr"
    maps = [both / f"{name}.{kind}" for name in NAMES]
    of_generator = both / f"moments-{kind}" / "generator.zarr"
    chosen = Correlation(splits=2, **settings)
    correlate(
        *maps, of_generator, of_one, output, settings=chosen, threads=1, measure_b=True, **own
    )
    return xr.open_zarr(output), xr.open_datatree(of_one, engine="zarr")


def assert_same_moments(found, expected, kind="zarr"):
    # Passes of other numbers of images differ in the last bits of a model's maps.
    error = {"zarr": (1e-12, 1e-12), "json": (2e-4, 1e-6)}[kind]
    assert list(found.children) == list(expected.children) and found.attrs == expected.attrs
    for layer in expected.children:
        assert found[layer].attrs == expected[layer].attrs
        for name, values in expected[layer].data_vars.items():
            np.testing.assert_allclose(found[layer][name], values, rtol=error[0], atol=error[1])


@pytest.mark.parametrize("kind", ["json", "zarr"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"images_per_strip": 5, "images_per_block": 3},
        {"images_per_strip": 1, "images_per_block": 1, "workers": 2},
    ],
)
def test_moments_taken_while_a_model_is_correlated_are_those_of_a_pass_of_their_own(
    both, tmp_path, kind, settings
):
    table, of_one = measured_while_correlated(both, tmp_path / "x.zarr", kind, **settings)
    expected = correlation(both, kind, tmp_path / "y.zarr", **settings)
    error = {"zarr": 1e-6, "json": 1e-5}[kind]
    for name in ("correlation", "split_correlation", "decoy_correlation"):
        np.testing.assert_allclose(table[name], expected[name], atol=error)
    own = xr.open_datatree(both / f"moments-{kind}/one.zarr", engine="zarr")
    assert_same_moments(of_one, own, kind)
    made_of = [list(read_manifest(tmp_path / f"{name}.zarr")["made_of"]) for name in "xy"]
    assert made_of[0] == made_of[1]


def images_that_pass(monkeypatch):
    """Numbers of images in each pass from now on, by the role of the model that runs."""
    passes, original = {"generator": [], "model": []}, running.run_into

    def counted(maps, model, role, samples, block):
        passes[role].append(block.stop - block.start)
        original(maps, model, role, samples, block)

    monkeypatch.setattr(running, "run_into", counted)
    pieces._stream.cache_clear()
    return passes


def test_a_model_runs_once_for_its_moments_and_its_correlation(both, tmp_path, monkeypatch):
    monkeypatch.setattr(taken, "RUNS", 1)
    passes = images_that_pass(monkeypatch)
    measured_while_correlated(both, tmp_path / "x.zarr")
    # Besides the images, a few whose means centre the units.
    assert sum(passes["model"]) == 10 + taken.IMAGES_A_RUN and sum(passes["generator"]) == 10


def test_moments_are_taken_once_whatever_the_tiles_are(both, tmp_path, monkeypatch, capsys):
    whole, own = measured_while_correlated(both, tmp_path / "whole.zarr", "zarr")
    monkeypatch.setattr(plans, "FIXED_BYTES", {"cpu": 0})
    little = {"images_per_block": 1, "memory_gb": 1e-5}
    tiled, of_tiles = measured_while_correlated(both, tmp_path / "tiled.zarr", "zarr", **little)
    said = capsys.readouterr().out
    assert " times, " in said and "moments of one are taken of them" in said
    np.testing.assert_allclose(tiled["correlation"], whole["correlation"], atol=1e-6)
    assert_same_moments(of_tiles, own)


def test_without_room_for_sums_of_all_moments_a_model_runs_for_them_first(
    both, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(step, "SUM_BYTES", 1)
    passes = images_that_pass(monkeypatch)
    apart, of_one = measured_while_correlated(both, tmp_path / "apart.zarr")
    assert "moments of one first, for whose sums there is no room" in capsys.readouterr().out
    assert sum(passes["model"]) == 2 * 10
    expected = correlation(both, "json", tmp_path / "expected.zarr")["correlation"]
    np.testing.assert_allclose(apart["correlation"], expected, atol=1e-5)
    assert_same_moments(
        of_one, xr.open_datatree(both / "moments-json/one.zarr", engine="zarr"), "json"
    )


def test_moments_of_a_model_with_itself_are_those_that_are_given(both, tmp_path, monkeypatch):
    one, of_one = both / "one.json", tmp_path / "moments/one.zarr"
    own, halves = both / "moments-json/one.zarr", Correlation(splits=2)
    passes = images_that_pass(monkeypatch)
    correlate(one, one, own, of_one, tmp_path / "x.zarr", settings=halves, measure_b=True)
    assert sum(passes["model"]) == 10
    assert manifest_path(of_one).read_bytes() == manifest_path(own).read_bytes()
    check_dataset(of_one)


def test_a_tile_whose_moments_are_damaged_is_computed_again(both, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise StoreError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(step, "write_moments", interrupted)
        with pytest.raises(StoreError, match="interrupted"):
            measured_while_correlated(both, tmp_path / "x.zarr", "zarr")
    (kept,) = (tmp_path / ".x.zarr.pieces").glob("*-moments-0.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(StoreError, match=f"{kept.name} is damaged .* and was removed"):
        measured_while_correlated(both, tmp_path / "x.zarr", "zarr")
    _, found = measured_while_correlated(both, tmp_path / "x.zarr", "zarr")
    assert_same_moments(found, xr.open_datatree(both / "moments-zarr/one.zarr", engine="zarr"))


def test_a_model_with_itself_runs_once(both, tmp_path):
    halves = Correlation(splits=2)
    one, measured = both / "one.json", both / "moments-json/one.zarr"
    correlate(one, one, measured, measured, tmp_path / "x.zarr", settings=halves)
    stored, own = both / "one.zarr", both / "moments-zarr/one.zarr"
    correlate(stored, stored, own, own, tmp_path / "y.zarr", settings=halves)
    found, expected = (xr.open_zarr(tmp_path / f"{n}.zarr")["correlation"] for n in "xy")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_two_workers_give_what_one_gives(both, tmp_path):
    one = correlation(both, "json", tmp_path / "one.zarr", images_per_strip=4)
    two = correlation(both, "json", tmp_path / "two.zarr", images_per_strip=4, workers=2)
    np.testing.assert_array_equal(one["correlation"], two["correlation"])


def test_the_plan_says_that_models_run_and_takes_fewer_images_for_their_maps(both):
    state = describe_of(both, "one") | {"seconds_an_image": 100.0, "weights_bytes": 5}
    generator, one = (Outline.of(open_maps(both / f"{name}.zarr")) for name in NAMES)
    running = Outline.of(Stream(state))
    settings = Correlation(images_per_strip=100, memory_gb=2.0, decoys=0)
    read, made = (
        plan(generator, other, 1000, settings, cores=1, free=20e9, rate=1e9)
        for other in (one, running)
    )
    assert "made by running one" in made.text and " are read" in read.text
    assert made.worker_bytes > read.worker_bytes
    assert "27.8 hours" in made.text and "second" in read.text


def test_changed_weights_or_images_are_refused(both, tmp_path):
    stream = Stream(describe_of(both, "one") | {"key": "of others"})
    write_stream(stream, tmp_path / "one.json")
    with pytest.raises(StoreError, match="weights, the code or the images of one have changed"):
        open_maps(tmp_path / "one.json")
    state = json.loads((tmp_path / "one.json").read_text())
    write_json(tmp_path / "one.json", state | {"dtype": "float32"})
    with pytest.raises(StoreError, match="one.json is damaged, or was written under another name"):
        open_maps(tmp_path / "one.json")
    assert not (tmp_path / "one.json").exists()
    (tmp_path / "one.json").write_text("{")
    with pytest.raises(StoreError, match="one.json cannot be read"):
        open_maps(tmp_path / "one.json")
    with pytest.raises(StoreError, match="no.json cannot be read"):
        open_maps(tmp_path / "no.json")


def test_seconds_and_bytes_are_no_part_of_what_maps_follow_from(both, tmp_path):
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_stream(Stream(describe_of(both, "one")), folder / "one.json")
        found.append(json.loads((folder / "one.json").read_text())["seconds_an_image"])
    assert found[0] != found[1] and min(found) > 0
    same = [sources.identity_of(tmp_path / name / "one.json") for name in "ab"]
    assert same[0] == same[1] != ""
    assert sources.identity_of(tmp_path / "none.json") == ""


def some_of(stream, units, output):
    copy_maps(stream, 4, output, provenance_of(stream, "matched maps", {}, None), units)


def test_channels_are_read_by_runs_of_what_is_stored_together():
    assert list(runs_of_channels([0, 3, 9], 2)) == [
        (slice(0, 4), [0, 3]),
        (slice(8, 10), [9]),
    ]
    assert list(runs_of_channels([1, 2], 8)) == [(slice(0, 8), [1, 2])]
    assert list(runs_of_channels([], 8)) == []


@pytest.mark.parametrize("kind", ["json", "zarr"])
def test_maps_of_matched_units_are_the_same_from_a_dump_and_from_the_running_model(
    both, tmp_path, kind
):
    layers = list(open_maps(both / "one.zarr").layers)
    rows = [("g", 0, layers[1], 7), ("g", 1, layers[1], 2), ("g", 2, layers[3], 0)]
    rows = [(*row, 0.5, 1, 1) for row in rows[:3]]
    write_table(
        pd.DataFrame(rows, columns=list(BEST_BUDDIES)), tmp_path / "t.csv", made("t", of={})
    )
    tables = [tmp_path / "t.csv"]
    units = matched_units(tables, "b")
    assert units == {layers[1]: [2, 7], layers[3]: [0]}
    assert matched_units(tables * 2, "a") == {"g": [0, 1, 2]}
    matched = tmp_path / "matched.zarr"
    keep_matched(both / f"one.{kind}", tables, side="b", images_per_shard=4, output=matched)
    found = xr.open_datatree(matched, engine="zarr")
    stored = xr.open_datatree(both / "one.zarr", engine="zarr")
    assert list(found.children) == [layers[1], layers[3]]
    for layer, channels in units.items():
        maps = found[layer]["activation"]
        assert maps["channel"].values.tolist() == channels
        np.testing.assert_array_equal(maps, stored[layer]["activation"][:, channels])
    units = [Unit("one", layers[1], 7), Unit("one", layers[3], 0)]
    for path in (matched, both / "one.zarr"):
        stores = {"one": MapReader(path)}
        maxima, maps = unit_maxima(stores, units, 10), read_maps(stores, [(u, 6) for u in units])
        assert [float(maxima[u][6]) for u in units] == [float(maps[u, 6].max()) for u in units]
    measured = xr.open_datatree(both / "moments-zarr/one.zarr", engine="zarr")
    with pytest.raises(ValueError, match="Maps of matched units cannot be correlated: give its st"):
        units_of(MapReader(matched), measured)
    with pytest.raises(ValueError, match="channel 3 is not there; it holds maps of matched"):
        unit_maxima({"one": MapReader(matched)}, [Unit("one", layers[1], 3)], 10)
    with pytest.raises(ValueError, match="holds maps of matched units already"):
        keep_matched(matched, tables, side="b", images_per_shard=4, output=tmp_path / "again.zarr")


def test_a_matched_unit_that_is_not_there_is_refused_by_name(both, tmp_path):
    with pytest.raises(ValueError, match="one has no unit none:3: no such layer. The tables of"):
        some_of(Stream(describe_of(both, "one")), {"none": [3]}, tmp_path / "m.zarr")


def test_other_matched_units_are_kept_anew(both, tmp_path):
    stream, output = Stream(describe_of(both, "one")), tmp_path / "m.zarr"
    layer = stream.layers[0]
    some_of(stream, {layer: [1, 2]}, output)
    before = manifest_path(output).read_bytes()
    some_of(stream, {layer: [1, 3]}, output)
    assert manifest_path(output).read_bytes() != before
    assert MapReader(output).channel_numbers(layer).tolist() == [1, 3]


def test_without_any_match_a_store_without_layers_is_written(both, tmp_path):
    some_of(Stream(describe_of(both, "one")), {}, tmp_path / "none.zarr")
    assert MapReader(tmp_path / "none.zarr").layers == []
    assert not xr.open_datatree(tmp_path / "none.zarr", engine="zarr").children


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two models mined while they run."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.config(lambda config: config["activations"].update(store="matched"))
    project.make("results/dictionary/tiny/index.html")
    return project


def test_the_workflow_finds_what_dumps_give_and_keeps_the_maps_of_best_buddies(
    project, tmp_path, monkeypatch
):
    monkeypatch.chdir(project.folder)
    assert len(Path("results/dictionary/tiny/index.html").read_text()) > 1000
    paths = {}
    for name in ("generator", "one"):
        maps, measured = paths[name] = [tmp_path / f"{kind}-{name}.zarr" for kind in "am"]
        dump_maps(
            name,
            ZOO,
            Path("results/samples/tiny.zarr"),
            "all",
            dtype="float16",
            images_per_shard=8,
            store=maps,
        )
        moments.measure(maps, measured)
    (a, moments_a), (b, moments_b) = paths.values()
    correlate(a, b, moments_a, moments_b, tmp_path / "r.zarr", threads=1)
    expected = table_of(xr.open_zarr(tmp_path / "r.zarr"), 5)
    pairs = pd.read_csv("results/best_buddies/tiny/generator--one.csv")
    pd.testing.assert_frame_equal(pairs, expected, atol=1e-5, rtol=0, check_dtype=False)
    for (name, (maps, _)), side in zip(paths.items(), "ab", strict=True):
        matched = xr.open_datatree(f"results/matched_maps/tiny/{name}.zarr", engine="zarr")
        kept = {(n, c) for n, g in matched.children.items() for c in g["channel"].values.tolist()}
        assert kept == set(zip(pairs[f"layer_{side}"], pairs[f"channel_{side}"], strict=True))
        whole = xr.open_datatree(maps, engine="zarr")
        for layer, group in matched.children.items():
            same = whole[layer]["activation"][:, group["channel"].values]
            np.testing.assert_array_equal(group["activation"], same)


def test_a_new_model_runs_no_other_model(project):
    def add(config):
        config["sample_sets"]["tiny"]["models"] = ["one", "two"]

    before = (project.folder / "config/config.yaml").read_text()
    try:
        project.config(add)
        planned = project.snakemake("-n", "dictionary")
    finally:
        (project.folder / "config/config.yaml").write_text(before)
    jobs = [block for block in planned.split("\n\n") if "rule " in block]
    of_one = [job for job in jobs if "model=one" in job or "b=one" in job]
    assert not of_one
    of_two = {line for job in jobs if "two" in job for line in job.splitlines() if "rule " in line}
    for rule in ("streams", "correlation_and_moments", "best_buddies", "matched_maps"):
        assert f"rule {rule}:" in of_two


def test_another_sample_set_changes_nothing_of_this_one(project):
    def add(config):
        photos = {"photos": "photos/*.png", "size": [64, 64], "layers": "all"}
        config["sample_sets"]["mine"] = photos | {"models": ["one", "two"], "store": "matched"}

    (project.folder / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(project.folder / "photos/black.png")
    before, planned = (project.folder / "config/config.yaml").read_text(), project.planned()
    assert not planned.keys() & {"streams", "correlation", "correlation_and_moments"}
    try:
        project.config(add)
        assert project.planned() == planned
    finally:
        (project.folder / "config/config.yaml").write_text(before)


def test_lost_or_damaged_moments_are_made_again(project):
    of_one = project.folder / "results/moments/tiny/one.zarr"
    remove_store(of_one)
    planned = project.planned()
    assert planned["moments_of_the_pass"] == 1
    assert not planned.keys() & {"streams", "moments", "correlation", "correlation_and_moments"}
    project.make("dictionary")
    # The file is that of the store it was taken to, too.
    os.truncate(next(of_one.glob("*/mean_map/c/0/0/0")), 10)
    with pytest.raises(StoreError, match="is damaged"):
        check_dataset(of_one)
    with pytest.raises(AssertionError, match="moments_taken/tiny/generator/one.zarr is damaged"):
        project.make("dictionary")
    project.make("dictionary")
    check_dataset(of_one)


@pytest.mark.parametrize("store", ["all", "matched"])
def test_what_is_kept_is_one_of_two(store):
    config = with_examples()
    config["activations"]["store"] = config["sample_sets"]["faces"]["store"] = store
    check(config, "config", "config.yaml")
    config["activations"]["store"] = "most"
    with pytest.raises(ValueError, match=r"activations.store: 'most' is not one of"):
        check(config, "config", "config.yaml")
