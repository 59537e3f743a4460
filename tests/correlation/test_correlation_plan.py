"""What a correlation takes is planned, printed and refused before anything is computed."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brute_force import run

from rosetta_steps.correlation.plan import BUDGETS, FIXED_BYTES, GIGABYTE, Outline, plan
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.step import correlate
from rosetta_steps.correlation.tiles import Tile, tiles_of
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.testing import moments_of, random_maps, write_maps

SIZE = (7, 7)


def outline(name, *channels):
    layers = {f"layer{index}": count for index, count in enumerate(channels)}
    return Outline(name, layers, dict.fromkeys(layers, SIZE), 2)


def planned(a, b, budget, **changes):
    machine = {"cores": 2, "free": 1e12, "rate": 1e11, "device": "cpu", "measures_b": False}
    machine |= {name: changes.pop(name) for name in machine.keys() & changes.keys()}
    memory = dict.fromkeys(BUDGETS.values(), budget / GIGABYTE)
    chosen = {"images_per_strip": 100, "decoys": 0} | memory | changes
    return plan(a, b, 1000, Correlation(**chosen), **machine)


def cells(tiles, channels):
    """How often each pair of layers is computed."""
    return [sum(a in t.a and b in t.b for t in tiles) for a in channels[0] for b in channels[1]]


@pytest.mark.parametrize("budget", [30 * 40, 30 * 100, 70 * 90, 1000 * 1000])
def test_tiles_cover_every_pair_of_layers_once_within_the_budget(budget):
    a = {"a0": 10, "a1": 30, "a2": 30, "a3": 5}
    b = {"b0": 40, "b1": 40, "b2": 20}
    tiles = tiles_of((a, b), (a, b), budget)
    assert cells(tiles, (a, b)) == [1] * 12
    assert all(sum(map(a.get, t.a)) * sum(map(b.get, t.b)) <= budget for t in tiles)


def test_what_fits_is_one_tile_and_of_two_cuts_the_one_that_reads_less_is_made():
    channels = {"x": 10, "y": 10}
    assert tiles_of((channels, channels), (channels, channels), 20 * 20) == [
        Tile(["x", "y"], ["x", "y"])
    ]
    heavy = {"x": 5000, "y": 5000}  # values of an image: to read these twice costs more
    assert tiles_of((channels, channels), (heavy, channels), 20 * 10) == [
        Tile(["x"], ["x", "y"]),
        Tile(["y"], ["x", "y"]),
    ]


def test_the_plan_says_bytes_passes_and_time():
    text = planned(outline("a", 1000, 1000), outline("b", 3000), 4 * FIXED_BYTES["cpu"]).text
    assert "a x b: 2000 x 3000 units, 1000 images" in text
    assert "the images pass once, 0.49 GB of maps are read" in text  # 5000 units x 49 x 2 bytes
    assert "10 pieces a tile, 32 images at once; 2 workers" in text
    assert "0.588 TFLOP of products" in text  # 2 x 2000 x 3000 x 49 x 1000


def test_a_small_budget_means_more_passes_and_fewer_images_at_once():
    a, b = outline("a", *[8_000] * 8), outline("b", *[8_000] * 8)
    whole = planned(a, b, 30e9)
    cut = planned(a, b, 1.5e9)
    assert len(whole.tiles) == 1 and whole.block == 32
    assert len(cut.tiles) > 1 and cut.block < 32
    assert cut.worker_bytes <= 1.5e9
    assert f"the images pass {len(cut.tiles)} times" in cut.text


def test_models_that_run_take_fewer_images_at_once_before_they_run_twice():
    a, b = outline("a", 1000), outline("b", *[9000] * 10)
    stored = planned(a, b, 2.1e9)
    assert len(stored.tiles) == 1 and stored.block == 32
    running = planned(a, replace(b, on_the_fly=True), 2.1e9)
    assert len(running.tiles) == 1 and 4 <= running.block < 32


def test_a_gpu_holds_the_model_with_more_to_hold_where_that_takes_no_second_tile():
    a, b = outline("a", 1000), outline("b", 20_000, 20_000)
    held, fixed = 32 * 49 * 4, FIXED_BYTES["cuda"]  # bytes of a unit
    large = planned(a, b, 16e9, device="cuda")
    assert large.holds_larger and len(large.tiles) == 1
    assert large.worker_bytes == fixed + held * 40_000 + 4 * 1000 * 40_000
    small = planned(a, b, large.worker_bytes - 1e8, device="cuda")
    assert not small.holds_larger and len(small.tiles) == 1
    assert not planned(a, b, 16e9).holds_larger


def test_a_budget_too_small_for_two_layers_says_the_least_that_would_do():
    a, b = outline("a", 20_000), outline("b", 20_000)
    with pytest.raises(ValueError, match=r"is 1, and a worker needs at least [\d.]+ GB"):
        planned(a, b, 1e9)
    assert len(planned(a, b, 3e9).tiles) == 1


def test_splits_and_precision_count_in_the_plan():
    a, b = outline("a", 10_000), outline("b", 10_000)
    of = {
        key: planned(a, b, 9e9, splits=splits, precision=precision).worker_bytes
        for key, splits, precision in [(1, 1, "float32"), (3, 3, "float32"), (64, 1, "float64")]
    }
    assert of[3] - of[1] == 2 * 4e8  # two more sums of each pair
    assert of[64] - of[1] > 4e8


def test_each_decoy_takes_the_memory_and_the_products_of_another_table():
    a, b = outline("a", 3000), outline("b", 5000)
    none, four = (planned(a, b, 9e9, decoys=decoys) for decoys in (0, 4))
    assert four.worker_bytes - none.worker_bytes == 4 * 4 * 3000 * 5000
    flop = [float(plan.text.partition(" TFLOP")[0].split()[-1]) for plan in (none, four)]
    assert flop[1] == pytest.approx(5 * flop[0], rel=0.01)


def test_sums_for_moments_are_beside_the_budget_and_change_no_tile():
    a, b = outline("a", *[8_000] * 8), outline("b", *[8_000] * 8)
    without, taking = (planned(a, b, 1.5e9, measures_b=takes) for takes in (False, True))
    sums = 8 * 6 * b.units * 7 * 7  # float64: the mean, and products with five neighbours
    assert taking.worker_bytes == without.worker_bytes + sums
    assert (taking.tiles, taking.block) == (without.tiles, without.block)
    assert "moments of b are taken of them" in taking.text


def test_there_are_no_more_workers_than_pieces_cores_or_room():
    a, b = outline("a", 1000), outline("b", 1000)
    assert planned(a, b, 2e9, cores=64).workers == 10
    assert planned(a, b, 2e9, cores=8, threads_per_worker=2).workers == 4
    assert planned(a, b, 2e9, cores=8, free=2.7e9).workers == 2
    assert "1 worker of at most" in planned(a, b, 2e9, free=0).text


def test_tiles_change_no_number(two_stores, tmp_path, capsys, monkeypatch):
    a, b, *_ = two_stores
    whole = run(a, b, tmp_path / "whole.zarr")["correlation"].values
    monkeypatch.setattr("rosetta_steps.correlation.plan.FIXED_BYTES", {"cpu": 0, "cuda": 0})
    # Room for the sums of the two largest layers, and of no more.
    tiled = run(a, b, tmp_path / "tiled.zarr", images_per_block=1, memory_gb=4e-6)
    assert "the images pass" in capsys.readouterr().out
    np.testing.assert_allclose(tiled["correlation"], whole, atol=1e-6)
    assert tiled.attrs["units_b_that_never_vary"] == 0


def test_nothing_is_written_where_the_budget_is_too_small(two_stores, tmp_path):
    a, b, *_ = two_stores
    with pytest.raises(ValueError, match="a x b: correlation.memory_gb is 0.1"):
        little = Correlation(memory_gb=0.1)
        correlate(a, b, moments_of(a), moments_of(b), tmp_path / "x.zarr", settings=little)
    assert not list(tmp_path.glob("*x.zarr*"))


@pytest.mark.parametrize("memory_gb", [2, 4e-6])
def test_best_buddies_without_the_table_are_those_of_the_table(
    two_stores, tmp_path, monkeypatch, memory_gb
):
    a, b, *_ = two_stores
    table = run(a, b, tmp_path / "table.zarr")
    monkeypatch.setattr("rosetta_steps.correlation.plan.FIXED_BYTES", {"cpu": 0, "cuda": 0})
    kept = run(a, b, tmp_path / "kept.zarr", images_per_block=1, memory_gb=memory_gb, nearest=3)
    assert "correlation" not in kept and kept.sizes["neighbour"] == 3
    assert kept.attrs["units_a_that_never_vary"] == 0
    for neighbours in (1, 3):
        expected, found = table_of(table, neighbours), table_of(kept, neighbours)
        pd.testing.assert_frame_equal(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match="K = 4 neighbours, and 3 of each unit were kept"):
        table_of(kept, 4)


PEAK = """
import sys
from pathlib import Path
from rosetta_steps.correlation.step import correlate
correlate(*map(Path, sys.argv[1:]), threads=1)
# Not by getrusage, which counts what the parent had when it started this process.
print(Path("/proc/self/status").read_text())
"""


def peak_bytes(folder: Path, images: int) -> int:
    """Most memory of a process that plans, computes, adds up and writes."""
    units = random_maps(0, images, (512, 4, 4)), random_maps(1, images, (512, 12, 12))
    stores = [
        write_maps(folder / f"{n}.zarr", maps, 32) for n, maps in zip("ab", units, strict=True)
    ]
    paths = [*stores, *map(moments_of, stores), folder / "out.zarr"]
    command = [sys.executable, "-c", PEAK, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_worker_takes_its_sums_and_less_than_a_gibibyte_for_any_number_of_images(tmp_path):
    few, many = (peak_bytes(tmp_path / str(images), images) for images in (64, 192))
    assert many < 4 * 512**2 + 2**30
    assert many - few < 2**26
