"""On a CUDA device every number is that of the processor, to the rounding that its name says."""

import numpy as np
import pytest
import torch
import xarray as xr
from brute_force import brute_force, run
from conftest import plain_settings

from rosetta_steps.correlation.precision import add_product, rounded_to_tf32
from rosetta_steps.correlation.step import correlate
from rosetta_steps.inversion.inverter import Inverter
from rosetta_steps.inversion.matches import read_matches
from rosetta_steps.inversion.objective import TERMS
from rosetta_steps.maps import moments
from rosetta_steps.maps.activations import dump
from rosetta_steps.maps.moment_sums import MomentSums
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.maps.sources import open_maps
from rosetta_steps.maps.splits import split_of
from rosetta_steps.maps.streams import write_stream
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import write_table
from rosetta_steps.storage.manifests import ingredients
from rosetta_steps.testing import Project, made, moments_of, random_maps, write_maps
from rosetta_steps.zoo.generators import sampling

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ZOO = "config/models.yaml"
ERRORS = [("float64", 1e-7), ("float32", 1e-6), ("tf32", 1e-3), ("bfloat16", 5e-3)]


@pytest.mark.parametrize(("precision", "error"), ERRORS)
def test_products_keep_the_error_of_their_precision(precision, error):
    torch.manual_seed(0)
    a, b = torch.randn(2, 300, 4000, dtype=torch.float64)
    kept = torch.float64 if precision == "float64" else torch.float32
    total = torch.zeros(300, 300, dtype=kept, device="cuda")
    right = b.to(torch.bfloat16 if precision == "bfloat16" else kept).cuda()
    for _ in range(2):
        add_product(total, a.to(kept).cuda(), right, precision)
    scale = (a.norm(dim=1)[:, None] * b.norm(dim=1)).numpy()
    np.testing.assert_allclose(
        total.cpu().numpy() / scale, 2 * (a @ b.T).numpy() / scale, atol=error
    )
    assert total.dtype == kept


def test_tf32_on_the_processor_shows_the_error_of_the_device():
    torch.manual_seed(0)
    a, b = torch.randn(2, 256, 8192)
    exact = a.double() @ b.double().T
    shown = rounded_to_tf32(a).double() @ rounded_to_tf32(b).double().T - exact
    total = torch.zeros(256, 256, device="cuda")
    add_product(total, a.cuda(), b.cuda(), "tf32")
    seen = total.cpu().double() - exact
    assert 0.5 < seen.square().mean().sqrt() / shown.square().mean().sqrt() < 3


@pytest.mark.parametrize(("precision", "error"), ERRORS)
def test_correlations_are_those_of_upsampling_in_float64(two_stores, tmp_path, precision, error):
    a, b, maps_a, maps_b = two_stores
    settings = {"images_per_strip": 4, "images_per_block": 3}
    table = run(a, b, tmp_path / "out.zarr", precision=precision, **settings)
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=10 * error)


def test_splits_are_the_correlations_of_their_images(two_stores, tmp_path):
    a, b, maps_a, maps_b = two_stores
    for store in (a, b):
        moments.measure(store, moments_of(store), 2)
    table = run(a, b, tmp_path / "out.zarr", splits=2, images_per_block=5)
    for split in (0, 1):
        inside = split_of(10, 2) == split
        halves = [{n: m[inside] for n, m in maps.items()} for maps in (maps_a, maps_b)]
        found = table["split_correlation"][split]
        np.testing.assert_allclose(found, brute_force(*halves), atol=1e-5)


def test_where_the_memory_is_full_fewer_images_give_the_same(tmp_path, capfd):
    shapes = [(256, 56, 56), (512, 28, 28)]
    a = write_maps(tmp_path / "a.zarr", random_maps(1, 64, *shapes), 32)
    b = write_maps(tmp_path / "b.zarr", random_maps(2, 64, *shapes), 32)
    settings = {"images_per_block": 64, "images_per_strip": 64}
    whole = run(a, b, tmp_path / "whole.zarr", **settings)["correlation"].values
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.6e9 / total)
    try:
        halved = run(a, b, tmp_path / "halved.zarr", **settings)["correlation"].values
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "GPU memory is full: going on with" in capfd.readouterr().err
    np.testing.assert_allclose(halved, whole, atol=1e-6)


def test_moments_are_those_of_the_processor_and_count_what_is_not_finite():
    maps = torch.from_numpy(random_maps(0, 6, (5, 7, 9))["layer0"])
    maps[2, 1, 3, 4], maps[4, 2, 0, 0], maps[0, 3, 1, 1] = torch.nan, torch.inf, -torch.inf
    found = []
    for device in ("cpu", "cuda"):
        sums = MomentSums(5, (7, 9), device)
        sums.add(maps[:4].to(device))
        sums.add(maps[4:].to(device))
        found.append(sums.dataset())
    xr.testing.assert_allclose(*found, rtol=1e-12)
    assert found[1]["nonfinite"].values.tolist() == [0, 1, 1, 1, 0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a tiny generator and a tiny ResNet, ten images, and streams of both."""
    folder = tmp_path_factory.mktemp("cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Project(folder)
        samples = folder / "samples.zarr"
        sampling.sample("generator", ZOO, 10, 0, samples, device="cuda")
        for name in ("generator", "one"):
            state = describe(name, ZOO, samples, "all", dtype="float16", images_per_shard=4)
            write_stream(Stream(state, "cuda"), folder / f"{name}.json")
        yield folder


def test_running_models_on_the_device_are_mined_as_their_dumps_are(tiny, tmp_path):
    tables = {}
    for kind in ("zarr", "json"):
        paths = []
        for name in ("generator", "one"):
            if kind == "zarr":
                store = tmp_path / f"{name}.zarr"
                state = describe(
                    name, ZOO, tiny / "samples.zarr", "all", dtype="float16", images_per_shard=4
                )
                dump(Stream(state, "cuda"), 4, store)
            paths.append(tmp_path / f"{name}.zarr" if kind == "zarr" else tiny / f"{name}.json")
            moments.measure(paths[-1], tmp_path / f"moments-{name}-{kind}.zarr")
        measured = [tmp_path / f"moments-{name}-{kind}.zarr" for name in ("generator", "one")]
        correlate(*paths, *measured, tmp_path / f"{kind}-table.zarr")
        tables[kind] = xr.open_zarr(tmp_path / f"{kind}-table.zarr")["correlation"].values
    taken = tmp_path / "taken/one.zarr"
    of_generator = tmp_path / "moments-generator-json.zarr"
    correlate(*paths, of_generator, taken, tmp_path / "taken-table.zarr", measure_b=True)
    found = xr.open_zarr(tmp_path / "taken-table.zarr")["correlation"].values
    np.testing.assert_allclose(found, tables["json"], atol=1e-4)
    own = xr.open_datatree(tmp_path / "moments-one-json.zarr", engine="zarr")
    for layer, of_layer in xr.open_datatree(taken, engine="zarr").children.items():
        np.testing.assert_allclose(of_layer["mean_map"], own[layer]["mean_map"], atol=1e-3)
    assert open_maps(tiny / "one.json").device == "cuda"
    np.testing.assert_allclose(tables["json"], tables["zarr"], atol=1e-3)


def test_maps_of_the_device_are_those_of_the_processor(tiny):
    state = describe("one", ZOO, tiny / "samples.zarr", "all", dtype="float32", images_per_shard=4)
    for layer in state["layers"]:
        own, other = (
            Stream(state, device).read(layer, slice(0, 4)).cpu() for device in ("cpu", "cuda")
        )
        error = (own - other).square().mean().sqrt() / own.std().clamp(min=1e-6)
        assert error < 2e-3, layer


def test_an_inversion_on_the_device_goes_the_way_of_the_processor(tiny, tmp_path):
    names = ("generator", "one")
    measured = {name: tmp_path / f"moments-{name}.zarr" for name in names}
    for name in names:
        moments.measure(tiny / f"{name}.json", measured[name])
    streams = [tiny / f"{name}.json" for name in names]
    correlate(*streams, *measured.values(), tmp_path / "table.zarr")
    buddies = made("best buddies", *names, of=ingredients([tmp_path / "table.zarr"]))
    found = table_of(xr.open_zarr(tmp_path / "table.zarr"), 2)
    write_table(found, tmp_path / "buddies.csv", buddies)
    matches = read_matches({"one": tmp_path / "buddies.csv"}, 1, -1.0)
    settings = plain_settings(steps=5, learning_rate=0.05, reconstruction="l2")
    targets = torch.rand(2, 3, 16, 16)
    losses = []
    for device in ("cpu", "cuda"):
        inverter = Inverter("generator", ZOO, matches, measured, settings=settings, device=device)
        found = inverter.invert(targets, [0, 1], None, 2)
        losses.append(found["loss"][:, 0, :, TERMS.index("total")])
    np.testing.assert_allclose(*losses, rtol=1e-2)
