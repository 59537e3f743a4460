"""Edits: the operations against NumPy, the step on a tiny generator, and what it refuses."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml
from conftest import plain_settings
from PIL import Image
from safetensors.torch import save_file

from rosetta_steps.editing import drawing, images
from rosetta_steps.editing import edit as step
from rosetta_steps.editing import figure as edit_figure
from rosetta_steps.editing.direct import replaced
from rosetta_steps.editing.editor import Editor, correlation, units_to_edit
from rosetta_steps.editing.edits import (
    Edit,
)
from rosetta_steps.editing.sources import read_source
from rosetta_steps.inversion.choices import units_named, units_of_concepts
from rosetta_steps.maps import moments
from rosetta_steps.matching.identity import concept_ids
from rosetta_steps.matching.tables import BEST_BUDDIES, DICTIONARY, write_table
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.testing import dump_maps, made
from rosetta_steps.zoo.entries import read_entries
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.generators.dcgan import DCGAN
from rosetta_steps.zoo.generators.generator import Generator
from rosetta_steps.zoo.hooks import activations_of

LAYERS = {"main.2": (6, (4, 4)), "main.5": (4, (8, 8))}
UNIT = ["layer", "channel"]


def maps(*shape, seed=0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(np.maximum(random.normal(0.5, 1, shape), 0).astype(np.float32))


# --- the direct edit ------------------------------------------------------------------------------


def test_a_direct_edit_runs_the_rest_of_the_network_on_the_replaced_maps():
    torch.manual_seed(0)
    network = DCGAN(latent=5, channels=[6, 4]).eval()
    z, values = torch.randn(2, 5), maps(2, 2, 4, 4)
    with torch.no_grad():
        inside = network.main[:3](z[:, :, None, None])
        inside[:, [1, 4]] = values
        expected = network.main[3:](inside)
        with replaced(network, {"main.2": ([1, 4], values)}):
            found, image = activations_of(network, lambda: network(z), ["main.2", "main.5"])
        torch.testing.assert_close(image, expected)
        torch.testing.assert_close(found["main.2"][:, [1, 4]], values)
        torch.testing.assert_close(network(z), network.main(z[:, :, None, None]))  # hooks are gone


class WithMargin(torch.nn.Conv2d):
    """Puts out a pixel more on every side than the image has, like a layer of StyleGAN3."""

    margin, nonlinearity = 1, "none"


def test_a_direct_edit_leaves_what_lies_outside_the_image_as_it_was():
    torch.manual_seed(0)
    network = torch.nn.Sequential(WithMargin(3, 4, 3, padding=2), torch.nn.Identity())
    image, values = torch.randn(2, 3, 6, 6), maps(2, 1, 6, 6)
    with torch.no_grad():
        expected = network[0](image)
        expected[:, 2, 1:-1, 1:-1] = values[:, 0]
        with replaced(network, {"0": ([2], values)}):
            found, whole = activations_of(network, lambda: network(image), ["0"])
    torch.testing.assert_close(whole, expected)
    torch.testing.assert_close(found["0"][:, [2]], values)


def test_only_the_call_that_a_layer_names_is_replaced():
    relu = torch.nn.ReLU()
    network = torch.nn.Sequential()
    network.relu, network.forward = relu, lambda x: relu(relu(x) - 1)
    ones = torch.ones(1, 1, 2, 2)
    with replaced(network, {"relu#1": ([0], 7 * ones)}):
        assert (network(5 * ones) == 7).all()
    with replaced(network, {"relu": ([0], 7 * ones)}):
        assert (network(5 * ones) == 6).all()


# --- a tiny generator -----------------------------------------------------------------------------


def named(rows):
    """Rows of a dictionary, with the ids of their concepts."""
    table = pd.DataFrame(rows, columns=list(DICTIONARY)[:-1])
    return table.sort_values("concept", kind="stable").assign(concept_id=concept_ids)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A generator with its samples, moments, matches and dictionary."""
    place = tmp_path_factory.mktemp("edits")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    save_file(DCGAN(latent=5, channels=[6, 4]).state_dict(), place / "generator.safetensors")
    entry = {
        "role": "generator",
        "loader": "dcgan",
        "architecture": {"latent": 5, "channels": [6, 4]},
        "weights": {"path": str(place / "generator.safetensors")},
        "source": "random weights",
        "licence": "MIT",
    }
    (place / "zoo.yaml").write_text(yaml.safe_dump({"tiny": entry, "other": entry}))
    zoo = str(place / "zoo.yaml")
    sampling.sample("tiny", zoo, 6, 0, place / "samples.zarr", device="cpu")
    dump_maps(
        "tiny",
        zoo,
        place / "samples.zarr",
        "all",
        dtype="float16",
        images_per_shard=6,
        store=place / "maps.zarr",
    )
    moments.measure(place / "maps.zarr", place / "moments.zarr")
    matched = [("main.2", 0), ("main.2", 3), ("main.5", 1), ("main.5", 2)]
    rows = [(*unit, "layer0", index, 0.5, 1, 1) for index, unit in enumerate(matched)]
    buddies = made("best buddies", "tiny", "model", of={})
    write_table(pd.DataFrame(rows, columns=list(BEST_BUDDIES)), place / "buddies.csv", buddies)
    rows = [
        (concept, "tiny", *unit, "model", "layer0", index, 0.5)
        for index, (concept, unit) in enumerate(zip([1, 2, 1, 5], matched, strict=True))
    ]
    dictionary = made("dictionary", "tiny", "model", of={})
    write_table(named(rows), place / "rosetta.csv", dictionary)
    return place


def options(folder, **given):
    chosen = {
        "generator": "tiny",
        "zoo": folder / "zoo.yaml",
        "models": "model",
        "buddies": folder / "buddies.csv",
        "moments": [folder / "moments.zarr", folder / "moments.zarr"],
        "source": folder / "samples.zarr",
        "edit": "remove",
        "steps": 20,
        "output": folder / "edited.zarr",
    } | given
    words = []
    for name, value in chosen.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def run_step(folder, monkeypatch, **given):
    monkeypatch.setattr(sys, "argv", ["edit", *options(folder, **given)])
    step.main()
    output = given.get("output", folder / "edited.zarr")
    return xr.open_zarr(output), pd.read_csv(output.with_suffix(".csv"))


def test_an_edit_of_a_unit_is_stored_with_before_and_direct(folder, monkeypatch, capsys):
    store, table = run_step(
        folder, monkeypatch, units="main.2:3", images=[4, 1], table=folder / "rosetta.csv"
    )
    samples = xr.open_zarr(folder / "samples.zarr")
    np.testing.assert_allclose(store["before"], samples["image"][[4, 1]], atol=1e-6)
    assert store["source_image"].values.tolist() == [4, 1]
    assert store.attrs["edited"] == '["main.2:3"]' and store.attrs["kept"] == 3
    assert store.attrs["edit"] == "remove" and store.attrs["similarity"] == "distance"
    assert store["loss"].shape == (2, 21, 4)
    assert (store["loss"][:, -1, 0] < store["loss"][:, 0, 0]).all()
    edited = table[table["edited"]]
    assert (edited["mean_after"] < edited["mean_before"]).all()
    assert edited["moved"].between(0, 1).all()
    np.testing.assert_allclose(edited["mean_direct"], edited["mean_target"], rtol=1e-6)
    assert "2 images, 1 units edited" in capsys.readouterr().out
    # The latent that is stored gives the image that is stored.
    generator = tiny(folder)
    latent = torch.from_numpy(store["latent"].values)
    np.testing.assert_allclose(store["after"], generator.generate(latent).detach(), atol=1e-6)


def test_the_table_holds_what_numpy_finds(folder, monkeypatch):
    store, table = run_step(
        folder, monkeypatch, concepts=["main.2:3", "main.5:2"], table=folder / "rosetta.csv"
    )
    samples = xr.open_zarr(folder / "samples.zarr")
    generator = tiny(folder)
    before, after = (
        generator.activations(torch.from_numpy(z), list(LAYERS))
        for z in (samples["latent"].values, store["latent"].values)
    )
    assert set(map(tuple, table[table["edited"]][UNIT].values)) == {("main.2", 3), ("main.5", 2)}
    for row in table.itertuples():
        b, a = (m[row.layer][row.image, row.channel].numpy().ravel() for m in (before, after))
        assert row.mean_before == pytest.approx(b.mean(), rel=1e-5)
        assert row.mean_after == pytest.approx(a.mean(), rel=1e-4, abs=1e-6)
        if b.std() and a.std():
            assert row.correlation_before == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4)
        else:
            assert np.isnan(row.correlation_before)
        if row.edited:
            moved = 1 - np.linalg.norm(a - b.min()) / np.linalg.norm(b - b.min())
            assert row.moved == pytest.approx(moved, abs=1e-4)
        else:
            assert np.isnan(row.moved)


def tiny(folder) -> Generator:
    torch.manual_seed(0)
    return Generator("tiny", DCGAN(latent=5, channels=[6, 4]), "cpu")


def editor_of(folder, edit, edited, kept=(), start="source", **settings):
    units = units_to_edit(
        pd.DataFrame(edited, columns=UNIT), pd.DataFrame(kept, columns=UNIT), keep=1.0
    )
    chosen = {"similarity": "distance", "regularise_to": "start", "steps": 20} | settings
    return Editor(
        tiny(folder),
        xr.open_datatree(folder / "moments.zarr", engine="zarr"),
        units,
        edit,
        settings=plain_settings(**chosen),
        start=start,
    )


def test_kept_units_weigh_together_what_keep_says_and_watched_ones_nothing():
    edited = pd.DataFrame([("a", 1), ("a", 2)], columns=UNIT)
    kept = pd.DataFrame([("a", 2), ("a", 3), ("b", 0), ("b", 1), ("b", 2)], columns=UNIT)
    watched = pd.DataFrame([("a", 1), ("b", 0), ("b", 7)], columns=UNIT)
    units = units_to_edit(edited, kept, 3.0, watched)
    assert not units.duplicated(UNIT).any() and len(units) == 7
    assert units["edited"].sum() == 2 and units.loc[units["edited"], "weight"].sum() == 2
    assert units.loc[~units["edited"], "weight"].tolist() == [1.5] * 4 + [0]


def test_without_an_edit_the_objective_is_at_its_least_where_it_starts(folder):
    """L_act of the source's own maps is 0 for the distance, and nothing moves."""
    editor = editor_of(folder, Edit("amplify", factor=2), [("main.2", 0)], [("main.5", 1)])
    source = read_source(folder / "samples.zarr", "tiny", entry_of(folder), [0, 1])
    space = editor.space(source)
    before, _ = editor.maps(space, source.latents)
    objective = editor.objective(before)
    latents = source.latents.clone().requires_grad_()
    terms = objective(space, latents, source.latents, torch.arange(2))
    assert terms["total"].abs().max() < 1e-6
    terms["total"].sum().backward()
    assert latents.grad.abs().max() < 1e-5


def entry_of(folder):
    return read_entries(str(folder / "zoo.yaml"))["tiny"]


def test_kept_units_drift_less_the_more_they_weigh(folder, monkeypatch):
    drift = {}
    for keep in (0, 10):
        _, table = run_step(folder, monkeypatch, units="main.2:3", keep=keep, alpha=0, steps=60)
        others = table[~table["edited"]]
        drift[keep] = (others["mean_after"] - others["mean_before"]).abs().mean()
    assert drift[10] < 0.5 * drift[0]


def test_copy_and_paste_starts_at_random_and_keeps_the_best_of_its_starts(folder):
    source = read_source(folder / "samples.zarr", "tiny", entry_of(folder), [0, 2])
    edit, units = Edit("copy_and_paste", direction=(0, 0.25)), [("main.2", 0), ("main.5", 1)]
    one = editor_of(folder, edit, units, start="random").apply(source)[0]
    three = editor_of(folder, edit, units, start="random", starts=3).apply(source)[0]
    assert not np.allclose(one["latent"], source.latents)
    assert (three["loss"][:, -1, 0] <= one["loss"][:, -1, 0] + 1e-6).all()
    assert three["failed"].shape == (2, 3)
    with pytest.raises(ValueError, match="3 starts from one latent would end alike"):
        editor_of(folder, edit, units, starts=3)


def test_correlation_agrees_with_numpy_and_what_was_wiped_out_counts_as_nought():
    a, b = maps(2, 3, 4, 4, seed=1).double(), maps(2, 3, 4, 4, seed=2).double()
    a[0, 1] = b[0, 2] = 2.0
    found = correlation(a, b)
    assert found[0, 1] == 0 and torch.isnan(found[0, 2])
    for image, unit in [(0, 0), (1, 1), (1, 2)]:
        expected = np.corrcoef(a[image, unit].ravel(), b[image, unit].ravel())[0, 1]
        assert found[image, unit].item() == pytest.approx(expected)


def test_the_maps_to_look_at_are_those_of_the_strongest_edited_units_that_fire(folder):
    """On each unit's own scale, in the order in which the units were given."""
    source = read_source(folder / "samples.zarr", "tiny", entry_of(folder), [0, 1, 2])
    given = [("main.5", 2), ("main.2", 3), ("main.5", 0), ("main.2", 1), ("main.5", 3)]
    editor = editor_of(folder, Edit("amplify", factor=0.5), given, steps=1)
    arrays, _ = editor.apply(source)
    of_all = editor.generator.activations(source.latents, list(LAYERS))
    store = xr.open_datatree(folder / "moments.zarr", engine="zarr")
    for image in range(3):
        fires = []
        for layer, channel in given:
            low, high = (float(store[layer][name][channel]) for name in ("minimum", "maximum"))
            peak = (of_all[layer][image, channel].max().item() - low) / (high - low)
            fires.append((peak < 0.5, len(fires), f"{layer}:{channel}", peak))
        expected = sorted(fires)[:4]
        assert arrays["shown"][image].tolist() == [name for *_, name, _ in expected]
        peaks = arrays["heat_before"][image].max((1, 2))
        assert (peaks <= [peak + 1e-3 for *_, peak in expected]).all()  # resizing only averages
    assert arrays["heat_target"].shape == (3, 4, 8, 8)


def test_the_figure_is_written_twice_and_says_what_the_edits_are(folder, monkeypatch):
    output = folder / "shifted.zarr"
    given = {"edit": "shift", "shift": [0.25, -0.25], "images": [0, 1], "output": output}
    store, _ = run_step(folder, monkeypatch, **given)
    assert drawing.words(store) == "Shift by 0.25 down and 0.25 left: 4 units of tiny"
    words = ["edit_figure", "--edits", output, "--output", folder / "figures" / "figure8.png"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    edit_figure.main()
    assert Image.open(folder / "figures" / "figure8.png").size[0] > 1500
    assert (folder / "figures" / "figure8.pdf").read_bytes().startswith(b"%PDF")
    words[2] = folder / "samples.zarr"
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(ValueError, match="samples.zarr is no edit"):
        edit_figure.main()


def test_the_summary_is_medians_over_units_and_then_over_images():
    rows = [
        (image, "a", unit, unit < 3, 2.0, 0.0, after, 0.0, other, 0.5, 0.9, moved)
        for image, unit, after, other, moved in [
            (0, 0, 1.0, 0.1, 0.5), (0, 1, 1.0, 0.1, 0.4), (0, 2, 1.0, 0.1, 0.6),
            (0, 3, 2.0, 0.7, np.nan), (0, 4, 2.0, np.nan, np.nan),
            (1, 0, 1.0, 0.1, 0.7), (1, 1, 1.0, 0.1, 0.7), (1, 2, 1.0, 0.1, 0.1),
            (1, 3, 2.0, 0.9, np.nan), (1, 4, 2.0, 0.9, np.nan),
        ]
    ]  # fmt: skip
    names = ["image", *UNIT, "edited", "mean_before", "mean_target", "mean_after", "mean_direct"]
    names += ["correlation_before", "correlation_target", "correlation_direct", "moved"]
    text = images.summary(pd.DataFrame(rows, columns=names))
    assert "2 images, 3 units edited: moved 0.60 of the way to their targets" in text
    assert "2 other units: correlation with before 0.80 (1 of 4 maps were flat before" in text


# --- what is refused ------------------------------------------------------------------------------


def test_an_image_on_which_nothing_changes_is_left_out(folder, monkeypatch, capsys):
    generator = tiny(folder)
    z = torch.tensor(xr.open_zarr(folder / "samples.zarr")["latent"].values)
    means = generator.activations(z, ["main.5"])["main.5"].mean((2, 3))
    # A latent for which a unit of the last layer is silent: its own, far along.
    silent = z[:2].clone()
    silent[0] = quiet(generator, 1)
    write_dataset(
        xr.Dataset({"latent": (("image", "latent"), silent.numpy())}, attrs={"generator": "tiny"}),
        folder / "silent.zarr",
        made("silent", of={}),
    )
    assert means[1, 1] > 0
    given = {"source": folder / "silent.zarr", "units": "main.5:1", "output": folder / "s.zarr"}
    store, _ = run_step(folder, monkeypatch, **given)
    assert store["source_image"].values.tolist() == [1]
    assert "left out image 0: remove changes nothing there" in capsys.readouterr().err
    with pytest.raises(ValueError, match="remove changes nothing: main.5:1 do not fire on image 0"):
        run_step(folder, monkeypatch, **given, images=0)


def quiet(generator, channel):
    """A latent on which a unit of main.5 is silent, found by descent."""
    z = torch.zeros(1, 5, requires_grad=True)
    optimiser = torch.optim.Adam([z], 0.3)
    before = generator.network.main[:5]
    generator.network.requires_grad_(False)
    for _ in range(200):
        optimiser.zero_grad()
        values = before(z[:, :, None, None])[:, channel]
        (values + 1e-3).clamp_min(0).sum().backward()
        optimiser.step()
    assert values.max() <= 0
    return z.detach()[0]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"units": "main.3:1"}, "unit main.3:1: no layer main.3 was mined. Did you mean 'main."),
        ({"units": "main.5:4"}, "main.5 has channels 0 to 3; the nearest is main.5:3"),
        ({"units": "main"}, "'main' names no unit: write layer:channel"),
        ({"concepts": 1}, "--concepts are those of a table"),
        ({"images": [0, 6]}, "samples.zarr has images 0 to 5, not 6"),
        ({"space": "w"}, "have space z: leave out --space"),
        ({"truncation": 0.5}, "have truncation 1.0: leave out --truncation"),
        ({"edit": "shift", "shift": [0, 0.01]}, "moves no layer by a whole pixel"),
        ({"edit": "paint"}, "paint needs a mask"),
        ({"reconstruction": "l2"}, "an edit has no image to reconstruct"),
        ({"keep": -1}, "keep: -1.0 must be nought or more"),
        ({"starts": 0}, "starts: 0 must be at least 1"),
        ({"generator": "other"}, "buddies.csv is best buddies of tiny and model"),
    ],
)
def test_what_a_user_gets_wrong_is_named(folder, monkeypatch, given, message):
    with pytest.raises(ValueError, match=message):
        run_step(folder, monkeypatch, **given)


def test_concepts_are_those_of_the_generator_that_is_edited(folder):
    table = pd.read_csv(folder / "rosetta.csv")
    found = units_of_concepts(["main.2:0"], table, "tiny")
    assert found.values.tolist() == [["main.2", 0], ["main.5", 1]]
    with pytest.raises(ValueError, match="the concepts are those of tiny, not of another"):
        units_of_concepts(["main.2:0"], table, "another")
    assert units_named(["main.2:0", "main.2:0"], {"main.2": 6}).values.tolist() == [["main.2", 0]]


def test_latents_of_another_network_of_the_same_name_are_refused(folder):
    latents = xr.Dataset({"latent": (("image", "latent"), np.zeros((1, 5), np.float32))})
    attrs = {"generator": "tiny", "generator_digest": "of another", "space": "w"}
    write_dataset(latents.assign_attrs(attrs), folder / "old.zarr", made("old", of={}))
    with pytest.raises(ValueError, match="was made with another tiny"):
        read_source(folder / "old.zarr", "tiny", entry_of(folder), None)
    write_dataset(xr.Dataset({"loss": ("image", [1.0])}), folder / "photos.zarr", made("p", of={}))
    with pytest.raises(ValueError, match="has no latents, only loss"):
        read_source(folder / "photos.zarr", "tiny", entry_of(folder), None)


def test_an_edit_can_be_edited_again(folder, monkeypatch):
    first, _ = run_step(folder, monkeypatch, units="main.2:3", images=[0, 3])
    again = {"source": folder / "edited.zarr", "output": folder / "again.zarr"}
    second, _ = run_step(folder, monkeypatch, **again, images=1, edit="shift", shift=[0.25, 0])
    np.testing.assert_allclose(second["before"][0], first["after"][1], atol=1e-6)
    assert json.loads(second.attrs["edited"]) == ["main.2:0", "main.2:3", "main.5:1", "main.5:2"]


def test_the_source_is_not_written_over(folder, monkeypatch):
    with pytest.raises(ValueError, match="samples.zarr is what --source reads"):
        run_step(folder, monkeypatch, output=folder / "samples.zarr")
    assert xr.open_zarr(folder / "samples.zarr").sizes["image"] == 6


def test_images_whose_inversion_failed_are_left_out_and_refused_by_number(folder, capsys):
    latents = (("image", "latent"), np.zeros((3, 5), np.float32))
    failed = (("image", "start"), [[-1, 2], [0, 2], [-1, -1]])
    store = xr.Dataset({"latent": latents, "failed": failed}, attrs={"generator": "tiny"})
    write_dataset(store, folder / "inverted.zarr", made("arm", of={}))
    given = folder / "inverted.zarr", "tiny", entry_of(folder)
    assert read_source(*given, None).images == [0, 2]
    assert "every start of image 1 was not finite; left out" in capsys.readouterr().err
    assert read_source(*given, [2]).images == [2]
    with pytest.raises(ValueError, match="every start of image 1 was not finite: choose other"):
        read_source(*given, [0, 1])
