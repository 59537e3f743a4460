"""The step that inverts: on a tiny zoo that was really mined, resumed, repeated, and broken."""

import contextlib
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml
from conftest import ROOT, plain_settings
from full_disk import full_disk, message_of

from rosetta_steps.config.options import add_options
from rosetta_steps.correlation.step import correlate
from rosetta_steps.inversion import invert as step
from rosetta_steps.inversion import inverter as inverting
from rosetta_steps.inversion import matches as reading
from rosetta_steps.inversion.arms import read_arm
from rosetta_steps.inversion.comparison import measure
from rosetta_steps.inversion.figures.curves import curves
from rosetta_steps.inversion.matches import read_matches, refuse_no_matches
from rosetta_steps.inversion.metrics import METRICS
from rosetta_steps.maps import moments
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import BEST_BUDDIES, write_table
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import ingredients, manifest_path
from rosetta_steps.testing import Project, dump_maps, made
from rosetta_steps.zoo.generators import sampling

SETTINGS = plain_settings(steps=6, starts=2, reconstruction="l2", similarity="cosine", frames=3)
FOUND = ["latent", "image", "loss", "start", "failed", "frame"]


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A folder with a zoo of a tiny generator and a tiny ResNet, mined on eight images."""
    folder = tmp_path_factory.mktemp("mined")
    before = pytest.MonkeyPatch()
    before.chdir(folder)
    Project(folder)
    zoo = "config/models.yaml"
    for name, seed in (("mined", 0), ("targets", 1)):
        sampling.sample("generator", zoo, 8, seed, folder / f"{name}.zarr", device="cpu")
    for name, layers in (("generator", "all"), ("one", ["layer1*", "layer2*"])):
        store = folder / "activations" / f"{name}.zarr"
        dump_maps(
            name,
            zoo,
            folder / "mined.zarr",
            layers,
            dtype="float16",
            images_per_shard=4,
            store=store,
        )
        moments.measure(store, folder / f"{name}.zarr")
    table = folder / "correlations.zarr"
    stores = [folder / "activations" / f"{name}.zarr" for name in ("generator", "one")]
    both = [folder / f"{name}.zarr" for name in ("generator", "one")]
    correlate(*stores, *both, table, threads=1)
    buddies = made("best buddies", "generator", "one", of=ingredients([table]))
    write_table(table_of(xr.open_zarr(table), 2), folder / "buddies.csv", buddies)
    yield folder
    before.undo()


@pytest.fixture
def inverter(mined, monkeypatch):
    monkeypatch.chdir(mined)
    return make(mined)


def make(folder, settings=SETTINGS, guided=True):
    tables = {"one": folder / "buddies.csv"} if guided else {}
    found = {name: folder / f"{name}.zarr" for name in ("generator", "one")} if guided else {}
    matches = read_matches(tables, 2, -1.0)
    return inverting.Inverter(
        "generator", "config/models.yaml", matches, found, settings=settings, device="cpu"
    )


def test_the_store_opens_in_xarray_and_says_how_it_was_made(inverter, mined, tmp_path):
    inverting.invert(inverter, mined / "targets.zarr", tmp_path / "x.zarr", memory=1.0)
    store = xr.open_zarr(tmp_path / "x.zarr")
    assert store["image"].sizes == {"image": 8, "rgb": 3, "y": 16, "x": 16}
    assert store["latent"].dims == ("image", "latent")
    assert store["loss"].sizes == {"image": 8, "start": 2, "step": 7, "term": 4}
    assert store["frame"].sizes == {"image": 8, "frame": 3, "latent": 5}
    assert store.attrs["generator"] == "generator" and store.attrs["models"] == '["one"]'
    assert store.attrs["steps"] == 6 and store.attrs["pairs"] == len(inverter.matches)
    loss = store["loss"].sel(term="total").isel(step=-1).values
    np.testing.assert_array_equal(store["start"], loss.argmin(1))
    np.testing.assert_array_equal(store["frame"][:, -1], store["latent"])


def test_images_of_the_store_are_those_of_its_latents(inverter, mined, tmp_path):

    inverting.invert(inverter, mined / "targets.zarr", tmp_path / "x.zarr", memory=1.0)
    store = xr.open_zarr(tmp_path / "x.zarr")
    again = inverter.generator.generate(torch.from_numpy(store["latent"].values))
    np.testing.assert_allclose(again, store["image"], atol=1e-6)


def test_a_killed_job_goes_on_with_the_images_not_done_and_gives_the_same_bits(
    inverter, mined, tmp_path, monkeypatch
):
    monkeypatch.setitem(inverting.MOST_AT_ONCE, "cpu", 4)  # two images of two starts
    whole, targets = tmp_path / "whole.zarr", mined / "targets.zarr"
    inverting.invert(inverter, targets, whole, memory=1.0)
    real, done = inverter.invert, []

    def dies_at_the_third(images, numbers, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(numbers)
        return real(images, numbers, *rest)

    monkeypatch.setattr(inverter, "invert", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        inverting.invert(inverter, targets, tmp_path / "x.zarr", memory=1.0)
    assert not manifest_path(tmp_path / "x.zarr").exists()
    left = []
    monkeypatch.setattr(
        inverter,
        "invert",
        lambda images, numbers, *r: left.append(numbers) or real(images, numbers, *r),
    )
    inverting.invert(inverter, targets, tmp_path / "x.zarr", memory=1.0)
    assert left == [[4, 5], [6, 7]]
    for name in FOUND:
        np.testing.assert_array_equal(
            xr.open_zarr(tmp_path / "x.zarr")[name], xr.open_zarr(whole)[name]
        )


def test_a_full_disk_is_named_and_the_next_run_does_the_images_that_are_left(
    inverter, mined, tmp_path, monkeypatch
):
    monkeypatch.setitem(inverting.MOST_AT_ONCE, "cpu", 4)  # two images of two starts
    targets, output = mined / "targets.zarr", tmp_path / "x.zarr"
    real, done = inverter.invert, []

    def counted(images, numbers, *rest):
        done.append(numbers)
        return real(images, numbers, *rest)

    monkeypatch.setattr(inverter, "invert", counted)
    save, room = np.savez, [None, None, 100]  # bytes, for the first three pieces

    def filling_up(file, **found):
        limit = room.pop(0) if room else None
        with full_disk(limit) if limit else contextlib.nullcontext():
            save(file, **found)
            file.flush()

    monkeypatch.setattr(np, "savez", filling_up)
    said = message_of(lambda: inverting.invert(inverter, targets, output, memory=1.0))
    assert str(tmp_path) in said and not manifest_path(output).exists()
    inverting.invert(inverter, targets, output, memory=1.0)
    assert done == [[0, 1], [2, 3], [4, 5], [4, 5], [6, 7]]
    assert xr.open_zarr(output).sizes["image"] == 8


def test_pieces_of_other_settings_are_not_used(inverter, mined, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(inverting.MOST_AT_ONCE, "cpu", 4)
    monkeypatch.setattr(inverting, "write_dataset", killed)
    with pytest.raises(KeyboardInterrupt):
        inverting.invert(inverter, mined / "targets.zarr", tmp_path / "x.zarr", memory=1.0)
    monkeypatch.undo()
    monkeypatch.chdir(mined)
    other = plain_settings(**(SETTINGS.attrs() | {"seed": 5}))
    inverting.invert(make(mined, other), mined / "targets.zarr", tmp_path / "x.zarr", memory=1.0)
    inverting.invert(make(mined, other), mined / "targets.zarr", tmp_path / "y.zarr", memory=1.0)
    np.testing.assert_array_equal(
        xr.open_zarr(tmp_path / "x.zarr")["latent"], xr.open_zarr(tmp_path / "y.zarr")["latent"]
    )


def test_reconstruction_alone_needs_no_matches_and_nothing_at_all_is_refused(mined, monkeypatch):
    monkeypatch.chdir(mined)
    make(mined, guided=False)
    with pytest.raises(ValueError, match="nothing to optimise for"):
        make(mined, plain_settings(reconstruction="none"), guided=False)


def test_moments_in_another_order_than_the_models_are_refused(mined, monkeypatch):
    monkeypatch.chdir(mined)
    matches = read_matches({"one": mined / "buddies.csv"}, 2, -1.0)
    swapped = {"generator": mined / "one.zarr", "one": mined / "generator.zarr"}
    with pytest.raises(
        ValueError, match="one.zarr is moments of one on mined, .* read as that of generator"
    ):
        inverting.Inverter(
            "generator", "config/models.yaml", matches, swapped, settings=SETTINGS, device="cpu"
        )


def test_memory_is_known_in_advance(inverter):
    needs = inverter.needs
    assert needs.row > 4 * (6 * 16 + 4 * 64 + 3 * 256)  # the maps of the generator at least
    assert inverter.rows_at_once(1.0) == inverting.MOST_AT_ONCE["cpu"]
    assert inverter.rows_at_once(1e-9 * (needs.once + 5.2 * needs.of_a_row)) == 5
    with pytest.raises(ValueError, match=r"needs [0-9.e-]+ GB .* budget .* raise memory_gb"):
        inverter.rows_at_once(0.5e-9 * needs.of_a_row)


def test_moments_are_read_once_and_not_kept(mined, monkeypatch):
    monkeypatch.chdir(mined)
    measured, real = [], reading.mean_and_variance

    def mean_and_variance(moments, size):
        measured.append(size)
        return real(moments, size)

    monkeypatch.setattr(reading, "mean_and_variance", mean_and_variance)
    inverter = make(mined)
    at_first = len(measured)
    assert at_first == len(inverter.statistics)
    inverter.rows_at_once(1.0)
    inverter.objective(torch.rand(2, 3, 16, 16))
    assert len(measured) == at_first
    layers = [layer for tree in inverter.moments.values() for layer in tree.children.values()]
    assert layers and not any(layer["mean_product"].variable._in_memory for layer in layers)


def test_maps_of_another_size_than_the_moments_are_refused(inverter):
    maps = {"one": {layer: torch.rand(1, 64, 99, 99) for layer in inverter.models["one"][1]}}
    with pytest.raises(ValueError, match=r"one, layer layer.* 99 x 99 .* Mine again"):
        inverter._pairs(maps)


def test_images_that_fail_are_named_and_the_rest_is_kept(inverter, mined, tmp_path, capsys):

    real = inverter.objective

    def broken(targets):
        objective = real(targets)
        if len(targets) > 1:
            objective.reconstruction.targets[3] = torch.nan
        return objective

    inverter.objective = broken
    inverting.invert(inverter, mined / "targets.zarr", tmp_path / "x.zarr", memory=1.0)
    store = xr.open_zarr(tmp_path / "x.zarr")
    assert (
        "image 3: the loss of 2 of 2 starts was not finite from step 0 on"
        in capsys.readouterr().err
    )
    failed = (store["failed"].values >= 0).all(1)
    assert failed.tolist() == [False, False, False, True, False, False, False, False]


def table(tmp_path, *rows):
    path = tmp_path / "buddies.csv"
    table = pd.DataFrame(rows, columns=list(BEST_BUDDIES))
    write_table(table, path, made("best buddies", "generator", "one"))
    return path


def test_a_smaller_k_takes_the_pairs_within_both_ranks_and_above_the_threshold(tmp_path):
    path = table(
        tmp_path,
        ("g", 0, "m", 0, 0.9, 1, 1),
        ("g", 0, "m", 1, 0.8, 2, 1),
        ("g", 1, "m", 2, 0.2, 1, 1),
        ("g", 2, "m", 3, 0.5, 1, 2),
    )
    assert read_matches({"one": path}, 1, 0.3)["channel"].tolist() == [0]
    assert read_matches({"one": path}, 2, 0.3)["channel"].tolist() == [0, 1, 3]
    assert read_matches({"one": path}, 1, 0.0)["channel"].tolist() == [0, 2]


def test_no_matches_name_the_strongest_there_is(tmp_path):
    path = table(tmp_path, ("g", 0, "m", 0, 0.21, 1, 1))
    with pytest.raises(ValueError, match=r"strongest has r = 0.21, with one.*min_correlation"):
        refuse_no_matches(read_matches({"one": path}, 1, 0.3), {"one": path}, 1, 0.3)
    with pytest.raises(ValueError, match="--neighbours by hand"):
        refuse_no_matches(read_matches({"one": path}, 1, 0.3), {"one": path}, 1, 0.3)
    with pytest.raises(ValueError, match="neighbours: 0 must be at least 1"):
        read_matches({"one": path}, 0, 0.3)


@pytest.mark.parametrize(
    "dims, values, message",
    [
        ("other", np.zeros((1, 3, 4, 4)), "t.zarr has no variable image, only other"),
        ("image", np.zeros((1, 1, 4, 4)), "t.zarr: image is .* with 3 channels"),
        ("image", np.zeros((0, 3, 4, 4)), "t.zarr has 0 images"),
        ("image", np.full((1, 3, 4, 4), 255.0), r"from 255 to 255, not in \[0, 1\]"),
        ("image", np.full((70, 3, 4, 4), -0.01), r"from -0.01 to -0.01, not in \[0, 1\]"),
        ("image", np.full((1, 3, 4, 4), np.nan), "from nan to nan"),
    ],
)
def test_targets_that_are_no_images_are_refused(dims, values, message, inverter, tmp_path):
    store = xr.Dataset({dims: (("n", "rgb", "y", "x"), values)})
    write_dataset(store, tmp_path / "t.zarr", made("samples"))
    with pytest.raises(ValueError, match=message):
        inverting.invert(inverter, tmp_path / "t.zarr", tmp_path / "x.zarr", memory=1.0)


def test_a_class_of_a_generator_without_classes_is_refused(inverter, mined, tmp_path):
    with pytest.raises(ValueError, match="generator has no classes: leave out class: 3"):
        inverting.invert(
            inverter, mined / "targets.zarr", tmp_path / "x.zarr", memory=1.0, chosen_class="3"
        )


def by_hand(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["invert", "--generator", "generator", *map(str, words)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    step.main()


def test_targets_are_not_written_over(mined, monkeypatch):
    monkeypatch.chdir(mined)
    with pytest.raises(ValueError, match="targets.zarr is what --targets reads"):
        by_hand(monkeypatch, "--targets", "targets.zarr", "--output", mined / "targets.zarr")
    assert manifest_path(mined / "targets.zarr").exists()


def test_the_store_says_which_matches_guided_and_how_much_ran_at_once(mined, tmp_path, monkeypatch):
    monkeypatch.chdir(mined)
    words = ["--models", "one", "--buddies", "buddies.csv", "--moments", "generator.zarr"]
    words += ["one.zarr", "--neighbours", 2, "--min-correlation", -1, "--steps", 2]
    words += ["--reconstruction", "l2", "--targets", "targets.zarr", "--threads", 1]
    by_hand(monkeypatch, *words, "--output", tmp_path / "x.zarr")
    attrs = xr.open_zarr(tmp_path / "x.zarr").attrs
    assert attrs["neighbours"] == 2 and attrs["min_correlation"] == -1 and attrs["class"] == ""
    assert attrs["threads"] == 1 and attrs["at_once"] == 16 and len(attrs["matches_digest"]) == 12


def test_defaults_by_hand_are_those_of_the_config():
    import argparse

    parser = argparse.ArgumentParser()
    add_options(parser, inverting.Settings)
    found = vars(parser.parse_args([]))
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())["inversion"]
    assert found == {name: config[name] for name in found}


def test_an_arm_that_nothing_guides_has_no_l_act(mined, tmp_path, monkeypatch):
    monkeypatch.chdir(mined)
    alone = make(mined, guided=False)
    inverting.invert(alone, mined / "targets.zarr", tmp_path / "x.zarr", memory=1.0)
    store = xr.open_zarr(tmp_path / "x.zarr")
    assert store["loss"].sel(term="activation").isnull().all()
    assert store["loss"].sel(term="total").notnull().all()
    assert set(curves(store)) == {"total", "reconstruction", "regulariser"}
    images = measure(
        mined / "targets.zarr", [read_arm(tmp_path / "x.zarr")], [METRICS["psnr"]], "cpu"
    )
    assert images["loss_activation"].isna().all() and images["counted"].all()


def test_a_small_budget_prepares_images_one_after_the_other_and_finds_the_same(mined, monkeypatch):
    monkeypatch.chdir(mined)
    targets = xr.open_zarr(mined / "targets.zarr")["image"].values
    targets = torch.from_numpy(targets)
    roomy, narrow = make(mined), make(mined)
    seen = []
    for inverter, memory in ((roomy, 1.0), (narrow, None)):
        needs = inverter.needs
        memory = memory or 1e-9 * (needs.once + 3.2 * max(needs.of_a_row, needs.preparing))
        at_once = inverter.rows_at_once(memory)
        shown, real = [], inverter.target_maps

        def target_maps(images, shown=shown, real=real):
            shown.append(len(images))
            return real(images)

        monkeypatch.setattr(inverter, "target_maps", target_maps)
        count = min(8, at_once)
        maps = inverter.objective(targets[:count]).similarity
        seen.append((count, shown, maps))
    assert seen[0][:2] == (8, [8])
    count, shown, of_few = seen[1]
    assert sum(shown) == count and len(shown) > 1
    for whole, part in zip(seen[0][2]._groups, of_few._groups, strict=True):
        torch.testing.assert_close(whole.target[:count], part.target, rtol=1e-4, atol=1e-6)
