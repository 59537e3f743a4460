"""What a GPU's kernel projects is the projection in float64, by Triton's interpreter here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moments_of, random_maps, write_maps
from kernel import DEVICE, SIZES, error_of, projection
from test_correlation import brute_force, run

from rosetta_steps import moments
from rosetta_steps.benchmarks import projection as projection_benchmark
from rosetta_steps.correlation import products
from rosetta_steps.correlation.projection import Memory, Projection, Unusable
from rosetta_steps.maps.splits import split_of

pytest.importorskip("triton", reason="needs Triton")


@pytest.fixture
def fused(monkeypatch, capfd):
    """The module of the kernel, which is new, and used as if this device had tensor cores."""
    from rosetta_steps.correlation import fused

    monkeypatch.setattr(products, "TENSOR_CORES", ("cpu", "cuda"))
    fused.fused_projection.cache_clear()
    products.say_once.cache_clear()
    yield fused
    fused.fused_projection.cache_clear()


@pytest.mark.parametrize(("size", "meetings"), SIZES)
def test_stored_maps_are_projected_as_in_float64(size, meetings):
    assert error_of(size, meetings) < 5e-7


@pytest.mark.parametrize("scale", [2.0**-9, 2.0**11])
def test_small_and_large_values_are_projected_as_well(scale):
    assert error_of((64, 64), [(7, 7), (14, 14)], scale=scale) < 5e-7


def test_of_values_with_few_bits_hardly_more_are_lost():
    assert error_of((256, 256), [(7, 7)], scale=2.0**-22) < 1e-5


def test_the_kernel_can_be_built_for_cards_that_are_not_here(tmp_path):
    # Compute capability, and kilobytes of shared memory, of an A100, RTX 4090, H100 and RTX 5090.
    cards = {80: 163, 89: 99, 90: 227, 120: 99}
    sizes = [
        ((256, 256), [(56, 56), (28, 28), (14, 14), (7, 7)]),
        ((276, 276), [(100, 100), (14, 14)]),
    ]
    cases = [(card, *maps) for card in cards for maps in sizes]
    script = Path(__file__).with_name("compile_kernel.py")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, str(script), json.dumps(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (card, size, _), taken in zip(cases, json.loads(done.stdout), strict=True):
        assert 0 < taken <= cards[card] * 1024, (card, size)


def test_a_unit_far_from_zero_keeps_its_correlation(tmp_path, fused, capfd):
    maps = {}
    for seed, name in enumerate("ab"):
        random = np.random.default_rng(seed)
        shape = (12, 2, 24, 24) if name == "a" else (12, 2, 7, 7)
        maps[name] = {"x": random.normal(100, 1, shape).astype(np.float16)}
    stores = [write_maps(tmp_path / f"{name}.zarr", of) for name, of in maps.items()]
    table = run(*stores, tmp_path / "out.zarr", workers=1)["correlation"]
    np.testing.assert_allclose(table, brute_force(*maps.values()), atol=2e-6)
    assert "widened" not in capfd.readouterr().err


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-5), ("bfloat16", 5e-3)])
@pytest.mark.parametrize("holds_larger", [False, True])
def test_correlations_of_stored_maps_keep_their_error(
    two_stores, tmp_path, monkeypatch, fused, capfd, precision, error, holds_larger
):
    first = products.holds_first
    monkeypatch.setattr(products, "holds_first", lambda a, b, _: first(a, b, holds_larger))
    a, b, maps_a, maps_b = two_stores
    settings = {"precision": precision, "images_per_block": 3, "workers": 1}
    table = run(a, b, tmp_path / "out.zarr", **settings)
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=error)
    assert fused.fused_projection.cache_info().currsize
    assert "widened" not in capfd.readouterr().err


def test_layers_of_one_size_stand_in_their_order_in_every_split(tmp_path, fused, capfd):
    stores, maps = {}, {}
    for seed, name in enumerate("ab"):
        maps[name] = random_maps(seed, 7, (2, 12, 12), (3, 12, 12), (2, 5, 5))
        stores[name] = write_maps(tmp_path / f"{name}.zarr", maps[name])
        moments.measure(stores[name], moments_of(stores[name]), 2)
    settings = {"splits": 2, "images_per_block": 4, "workers": 1}
    table = run(*stores.values(), tmp_path / "out.zarr", **settings)
    np.testing.assert_allclose(table["correlation"], brute_force(*maps.values()), atol=1e-5)
    inside = split_of(7, 2) == 1
    halves = [{n: m[inside] for n, m in of.items()} for of in maps.values()]
    np.testing.assert_allclose(table["split_correlation"][1], brute_force(*halves), atol=1e-5)
    assert "widened" not in capfd.readouterr().err


def test_maps_that_meet_others_at_too_many_positions_are_left_out(fused):
    device, memory = torch.device(DEVICE), Memory(DEVICE, torch.float32)
    meetings = {(130, 130): [(130, 130), (7, 7)], (256, 256): [(128, 128), (7, 7)]}
    projections = {size: Projection(size, of, memory) for size, of in meetings.items()}
    assert list(products.fused_projections(projections, device)) == [(256, 256)]


def test_where_a_device_projects_wrongly_maps_are_widened_first(
    two_stores, tmp_path, monkeypatch, fused, capfd
):
    right = fused.FusedProjection._launch

    def wrong_at_one_size(self, maps, offset, into):
        right(self, maps, offset, into)
        if self.size == (12, 30):
            into[12, 9] *= 1 + 1e-3

    monkeypatch.setattr(fused.FusedProjection, "_launch", wrong_at_one_size)
    a, b, maps_a, maps_b = two_stores
    table = run(a, b, tmp_path / "out.zarr", workers=1, images_per_strip=5)
    said = capfd.readouterr().err
    assert said.count("maps of 12 x 30 projected to 12 x 9 differ on this device") == 1
    assert "maps of 20 x 9" not in said
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=1e-5)


def test_where_no_kernel_can_be_built_maps_are_widened_first(
    two_stores, tmp_path, monkeypatch, fused, capfd
):
    def fails(*_):
        raise FileNotFoundError("gcc")

    monkeypatch.setattr(fused.FusedProjection, "_launch", fails)
    a, b, maps_a, maps_b = two_stores
    table = run(a, b, tmp_path / "out.zarr", workers=1)
    assert capfd.readouterr().err.count("Triton's kernel does not run here (gcc)") == 1
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=1e-5)


def test_a_full_device_is_no_reason_to_take_more_memory(monkeypatch, fused):
    def full(*_):
        raise RuntimeError("Triton Error [CUDA]: out of memory")

    monkeypatch.setattr(fused.FusedProjection, "_launch", full)
    made = projection((16, 16), [(7, 7)])
    with pytest.raises(torch.OutOfMemoryError):
        made(torch.zeros(1, 1, 16, 16).half(), torch.zeros(1), {(7, 7): torch.empty(1, 49)})
    assert made.unusable is None


@pytest.mark.parametrize("image", [0, -1])
@pytest.mark.parametrize("unit", [0, -1])
def test_a_device_is_held_to_maps_from_the_first_to_the_last(image, unit, monkeypatch):
    project = projection((16, 16), [(7, 7)])
    right = project._launch

    def wrong_once(maps, offset, into):
        right(maps, offset, into)
        into[7, 7].unflatten(1, (6, 49))[unit, image, 5] += 1

    monkeypatch.setattr(project, "_launch", wrong_once)
    maps = torch.rand(6, 40, 16, 16, device=DEVICE).half()
    into = {(7, 7): torch.empty(40, 6 * 49, device=DEVICE)}
    with pytest.raises(Unusable, match="16 x 16 projected to 7 x 7 differ"):
        project(maps, torch.zeros(40, device=DEVICE), into)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("image", [0, 4])  # 4: in none of those that are held against it
@pytest.mark.parametrize("mean", [0.0, torch.inf, torch.nan])
def test_a_unit_with_infinities_says_nothing_against_a_device(image, mean):
    maps = torch.rand(10, 3, 16, 16, device=DEVICE).half()
    maps[image, 1, 2, 3] = torch.inf
    into = {(7, 7): torch.empty(3, 10 * 49, device=DEVICE)}
    projection((16, 16), [(7, 7)])(maps, torch.tensor([0, mean, 0], device=DEVICE), into)
    assert into[7, 7][::2].isfinite().all()
    assert not into[7, 7][1].isfinite().all()


def test_the_benchmark_times_every_size_that_the_kernel_projects():
    a = (("x", 2, 16, 16), ("y", 3, 8, 4), ("z", 1, 300, 300), ("w", 2, 16, 16))
    b = (("u", 4, 7, 7), ("v", 4, 200, 200))
    found = projection_benchmark.measure(a, b, 2, 1)  # 300 pixels meet 200, which are too many
    assert found["size"].tolist() == ["16 x 16", "8 x 4"] and found["units"].tolist() == [4, 3]
    assert found["meetings"].tolist() == ["7, 16", "7 x 4, 8 x 4"]
    assert (found[["kernel", "widened", "copied"]] > 0).all(axis=None)
