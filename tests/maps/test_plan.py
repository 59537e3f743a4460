"""What a plan refuses, and what it takes for there already."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from rosetta_steps.maps import plan as module
from rosetta_steps.maps.plan import existing_folder, lies_there, plan
from rosetta_steps.runtime.needs import FEWEST_MINUTES
from rosetta_steps.storage.manifests import manifest_path

MODELS = ["dcgan-digiface", "efficientnet-lite0"]
UNITS = 960  # of dcgan-digiface: 512 + 256 + 128 + 64


def planned(folder=Path("nowhere"), images=10, per_file=4, **settings):
    return planned_with_needs(folder, images, per_file, **settings)[0]


def planned_with_needs(folder=Path("nowhere"), images=10, per_file=4, **settings):
    return plan(
        MODELS,
        "config/models.yaml",
        "block",
        images,
        dtype="float16",
        maps=folder,
        images_per_shard=per_file,
        **settings,
    )


@pytest.mark.parametrize("neighbours", [0, UNITS + 1, 10**6])
def test_more_neighbours_than_a_model_has_units_are_refused_with_the_model(neighbours):
    with pytest.raises(
        ValueError, match=f"K = {neighbours} neighbours, and dcgan-digiface has 960"
    ):
        planned(neighbours=neighbours)


def test_as_many_neighbours_as_units_are_planned():
    assert "dcgan-digiface" in planned(neighbours=UNITS)


def test_what_the_plan_says_of_a_models_memory_is_what_its_job_asks_for():
    text, needs = planned_with_needs(per_file=32)
    assert needs["dcgan-digiface"]["units"] == UNITS
    for model, of_model in needs.items():
        (line,) = (line for line in text.split("\n") if line.startswith(f"{model} "))
        assert line.endswith(f" {of_model['memory_mb'] / 1000:.1f} GB")
        assert of_model["minutes"] >= FEWEST_MINUTES
    smaller, larger = (planned_with_needs(per_file=n)[1][MODELS[1]]["memory_mb"] for n in (4, 64))
    assert smaller < larger


@pytest.mark.parametrize("splits", [0, 6, 10**6])
def test_splits_that_the_images_do_not_allow_are_refused(splits):
    with pytest.raises(ValueError, match=f"{splits} splits of 10 images"):
        planned(splits=splits)


def test_the_memory_that_sums_of_splits_take_counts(monkeypatch):
    monkeypatch.setattr(module, "available_bytes", lambda: 1e9)
    assert "sums of moments" not in planned()
    with pytest.raises(ValueError, match="memory cannot hold this: .* or fewer splits") as error:
        planned(images=100, splits=50)
    assert "GB for sums of moments" in str(error.value)


def test_a_file_that_no_image_fills_takes_its_memory(monkeypatch):
    monkeypatch.setattr(module, "available_bytes", lambda: 1e9)
    with pytest.raises(
        ValueError, match="memory cannot hold this: .* or a smaller images_per_shard"
    ):
        planned(per_file=65536)


LAYERS = {"a": (16, 3, 4, 4), "b": (16, 2, 8, 8)}


def dumped(folder, layers, dtype="float16", **more):
    state = {"layers": {n: {"shape": list(s), "dtype": dtype} | more for n, s in layers.items()}}
    store = folder / "net.zarr"
    manifest_path(store).write_text(json.dumps(state))
    return store


def test_maps_of_the_same_images_layers_and_dtype_lie_there(tmp_path):
    assert lies_there(dumped(tmp_path, LAYERS), LAYERS, "float16")
    matched = {"b": (16, 1, 8, 8)}
    store = dumped(tmp_path, matched, channels=[1])
    assert lies_there(store, LAYERS, "float16", "matched")
    assert not lies_there(store, LAYERS, "float16", "all")


@pytest.mark.parametrize(
    ("layers", "dtype"),
    [
        ({n: (10**7, *s[1:]) for n, s in LAYERS.items()}, "float16"),
        ({"a": LAYERS["a"]}, "float16"),
        (LAYERS | {"c": (16, 1, 1, 1)}, "float16"),
        (LAYERS | {"b": (16, 3, 8, 8)}, "float16"),
        (LAYERS, "float32"),
    ],
)
def test_maps_of_other_images_layers_or_dtype_do_not(tmp_path, layers, dtype):
    store = dumped(tmp_path, LAYERS)
    assert not lies_there(store, layers, dtype)
    if layers.keys() != {"a", "b", "c"} and dtype == "float16":
        assert not lies_there(dumped(tmp_path, LAYERS), {"a": layers["a"]}, dtype, "matched")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layers": 3}', '{"layers": {"a": {}}}', "\0"])
def test_a_manifest_that_says_nothing_counts_as_none(tmp_path, text):
    manifest_path(tmp_path / "net.zarr").write_text(text)
    assert not lies_there(tmp_path / "net.zarr", LAYERS, "float16")
    assert not lies_there(tmp_path / "missing.zarr", LAYERS, "float16")


def test_images_by_the_million_are_not_nothing_where_maps_of_a_few_lie(tmp_path, monkeypatch):
    for name in MODELS:
        manifest_path(tmp_path / f"{name}.zarr").write_text(
            json.dumps({"layers": {"main.2": {"shape": [16, 512, 4, 4], "dtype": "float16"}}})
        )
    with pytest.raises(ValueError, match="The disk cannot hold this"):
        planned(tmp_path, images=10**7)


def test_free_space_is_that_of_the_disk_on_which_the_results_lie(tmp_path, monkeypatch):
    other = tmp_path / "other-disk"
    (other / "results").mkdir(parents=True)
    here = tmp_path / "project"
    here.mkdir()
    (here / "results").symlink_to(other / "results")
    monkeypatch.chdir(here)
    activations = Path("results/activations/tiny")
    assert existing_folder(activations) == other / "results"
    assert existing_folder(Path("elsewhere/x")) == here
    usage = shutil.disk_usage(here)._replace(free=10**12)
    full = {str(other / "results"): usage._replace(free=0)}
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: full.get(str(path), usage))
    shutil.copytree(ROOT / "config", here / "config")
    with pytest.raises(ValueError, match="The disk cannot hold this: .* 0.0 GB there"):
        planned(activations)
