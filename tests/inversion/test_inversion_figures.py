"""Visualised units, figures of inversions, animations and loss curves, on a tiny mined zoo."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from conftest import plain_settings
from PIL import Image
from torch.nn import functional

from rosetta_steps.correlation.step import correlate
from rosetta_steps.display import drawing, panels
from rosetta_steps.display.exemplars import Unit
from rosetta_steps.display.reading import open_dictionary
from rosetta_steps.inversion import inverter as inverting
from rosetta_steps.inversion import visualisation, visualise
from rosetta_steps.inversion.arms import read_arms, write_empty
from rosetta_steps.inversion.figures import animation, curves, guided, loss_curves, paper, printed
from rosetta_steps.inversion.figures.frames import FORMATS, GAP, LEAST, LINE, animate, frames_of
from rosetta_steps.inversion.matches import read_matches
from rosetta_steps.inversion.objective import TERMS
from rosetta_steps.maps import moments
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.identity import concept_ids
from rosetta_steps.matching.tables import DICTIONARY, write_table
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients
from rosetta_steps.testing import Project, dump_maps
from rosetta_steps.zoo.generators import sampling

ZOO = "config/models.yaml"
NAMES = ["generator", "one", "two"]
SETTINGS = plain_settings(steps=6, starts=2, similarity="cosine", frames=3)


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A folder with a tiny generator and two tiny ResNets, mined, and two arms of inversions."""
    folder = tmp_path_factory.mktemp("mined")
    before = pytest.MonkeyPatch()
    before.chdir(folder)
    for module in (drawing, panels):
        before.setattr(module, "DOTS_PER_INCH", 40)
    torch.set_num_threads(1)
    Project(folder)
    for name, seed in (("mined", 0), ("targets", 1)):
        sampling.sample("generator", ZOO, 8, seed, folder / f"{name}.zarr", device="cpu")
    for name in NAMES:
        layers = "all" if name == "generator" else ["layer2*"]
        store = folder / "activations" / f"{name}.zarr"
        dump_maps(
            name,
            ZOO,
            folder / "mined.zarr",
            layers,
            dtype="float32",
            images_per_shard=4,
            store=store,
        )
        moments.measure(store, folder / "moments" / f"{name}.zarr")
    for name in NAMES[1:]:
        both = [
            folder / kind / f"{of}.zarr"
            for kind in ("activations", "moments")
            for of in ("generator", name)
        ]
        correlate(*both, folder / f"{name}-correlations.zarr", threads=1)
        found = table_of(xr.open_zarr(folder / f"{name}-correlations.zarr"), 2)
        made_of = ingredients([folder / f"{name}-correlations.zarr"])
        buddies = Provenance("best buddies", ["generator", name], "mined", made_of)
        write_table(found, folder / f"{name}.csv", buddies)
    for name, reconstruction, models in (("reconstruction", "l2", []), ("all", "l2", NAMES[1:])):
        settings = plain_settings(
            **(SETTINGS.attrs() | {"reconstruction": reconstruction, "guidance_fraction": 0.5})
        )
        inverter = inverting.Inverter(
            "generator", ZOO, *guides(models), settings=settings, device="cpu"
        )
        inverting.invert(inverter, folder / "targets.zarr", folder / f"{name}.zarr", memory=1.0)
    yield folder
    before.undo()


def arm_of(folder, name):
    return Provenance(f"arm {name}", [], "targets", ingredients([folder / "targets.zarr"]))


def guides(models):
    """Matches, and moments by name, of some models."""
    matches = read_matches({name: f"{name}.csv" for name in models}, 2, -1.0)
    names = ["generator", *models] if models else []
    return matches, {name: f"moments/{name}.zarr" for name in names}


@pytest.fixture(scope="module")
def dictionary(mined):
    """Concepts of the units that have a buddy in both models, a concept a unit."""
    matches, _ = guides(NAMES[1:])
    own = ["generator_layer", "generator_channel"]
    both = matches.groupby(own)["model"].transform("nunique") == 2
    matches = matches[both].assign(generator="generator")
    matches["concept"] = matches.groupby(own).ngroup() + 1
    matches["concept_id"] = concept_ids(matches)
    made_of = ingredients([mined / f"{name}.csv" for name in NAMES[1:]])
    provenance = Provenance("dictionary", NAMES, "mined", made_of)
    write_table(matches[list(DICTIONARY)], mined / "rosetta.csv", provenance)
    stores = [[mined / kind / f"{n}.zarr" for n in NAMES] for kind in ("activations", "moments")]
    return open_dictionary(mined / "rosetta.csv", mined / "mined.zarr", *stores)


def shown(dictionary, concepts, starts=3, images=2, **settings):
    settings = plain_settings(**(SETTINGS.attrs() | {"starts": 1} | settings))
    pairs = visualisation.pairs_of(concepts)
    moments_of = {name: f"moments/{name}.zarr" for name in NAMES}
    inverter = inverting.Inverter(
        "generator", ZOO, pairs, moments_of, settings=settings, device="cpu"
    )
    found = visualisation.visualise(
        inverter, dictionary, concepts, starts=starts, images=images, memory=1.0
    )
    return found.assign_attrs(similarity=settings.similarity)


def words_of(figure):
    return [text.get_text() for text in figure.texts]


def command_line(module, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["step", *map(str, arguments)])
    module.main()


# --- visualise ------------------------------------------------------------------------------------


def test_all_starts_of_all_pairs_are_kept_and_pairs_begin_with_the_same_latents(dictionary):
    concepts = dictionary.concepts[:2]
    found = shown(dictionary, concepts, learning_rate=1e-12)
    assert found["image"].sizes == {"pair": 2, "start": 3, "rgb": 3, "y": 16, "x": 16}
    assert found["latent"].sizes == {"pair": 2, "start": 3, "latent": 5}
    assert found["loss"].sizes == {"pair": 2, "start": 3, "step": 7, "term": 4}
    assert found["frame"].sizes == {"pair": 2, "start": 3, "frame": 3, "latent": 5}
    assert found["concept"].values.tolist() == [1, 2]
    np.testing.assert_allclose(found["latent"][0], found["latent"][1], atol=1e-6)
    assert len(np.unique(found["latent"][0].values.round(4), axis=0)) == 3


def test_the_target_is_the_image_on_which_both_units_fire_most(dictionary):
    concept = dictionary.concepts[0]
    other = concept.model_units[int(np.argmax(concept.correlations))]
    both = 0
    for unit in (concept.generator_unit, other):
        store = xr.open_zarr(f"activations/{unit.model}.zarr", group=unit.layer)
        maps = store["activation"].values[:, unit.channel]
        both = both + (maps.max((1, 2)) - maps.min()) / (maps.max() - maps.min())
    expected = np.argsort(-both)[:3].tolist()
    assert visualisation.strongest_images(dictionary, [concept], 3) == [expected]


def test_a_start_is_optimised_for_its_pair_alone(dictionary):
    """L_act of the stored latents, against upsampled and standardised maps in float64."""
    concepts = dictionary.concepts[1:3]
    found = shown(dictionary, concepts, steps=4)
    generator = inverting.Inverter(
        "generator", ZOO, *guides([]), settings=plain_settings(reconstruction="l2"), device="cpu"
    )
    latents = torch.from_numpy(found["latent"].values)
    for place in range(2):
        own, other = (
            text.split(":")
            for text in (found["unit"].values[place], found["model_unit"][place].item())
        )
        mined_maps = [
            torch.from_numpy(
                xr.open_zarr(f"activations/{name}.zarr", group=layer)["activation"].values
            )[:, int(channel)].double()
            for name, layer, channel in (own, other)
        ]
        size = np.maximum(*[maps.shape[1:] for maps in mined_maps]).tolist()

        def standardised(maps, reference, size=size):
            up, all_of = (
                functional.interpolate(part[:, None], size, mode="bilinear")
                for part in (maps, reference)
            )
            return ((up - all_of.mean()) / all_of.std(correction=0)).flatten(1)

        maps = generator.generator.activations(latents[place], [own[1]])[own[1]]
        a = standardised(maps[:, int(own[2])].double(), mined_maps[0])
        b = standardised(mined_maps[1][found["example"].values[place, :1]], mined_maps[1])
        cosine = functional.cosine_similarity(a, b.expand_as(a))
        stored = found["loss"][place, :, -1, TERMS.index("activation")]
        np.testing.assert_allclose(stored, cosine, atol=2e-4)


def test_a_unit_is_shown_with_its_own_buddies(dictionary):
    unit = dictionary.concepts[2].generator_unit
    name = f"{unit.layer}:{unit.channel}"
    (one,) = visualisation.concepts_of_units(dictionary, [f"generator:{name}", name])
    assert one.generator_unit == unit and one.number == 3
    rows = dictionary.table[dictionary.table["concept"] == 3]
    best = rows.loc[rows["correlation"].idxmax()]
    pair = visualisation.pairs_of([one]).iloc[0]
    assert (
        pair[["model", "layer", "channel"]].tolist() == best[["model", "layer", "channel"]].tolist()
    )


def test_what_does_not_exist_is_answered_with_the_nearest(dictionary):
    with pytest.raises(ValueError, match=f"'{dictionary.concepts[1].id}' has that rank now"):
        visualisation.concepts_named(dictionary, ["2"])
    layer = dictionary.table["generator_layer"].iloc[0]
    known = sorted(
        set(dictionary.table[dictionary.table["generator_layer"] == layer]["generator_channel"])
    )
    with pytest.raises(ValueError, match=f"the nearest that have are .*{layer}:{known[-1]}"):
        visualisation.concepts_of_units(dictionary, [f"{layer}:99"])
    with pytest.raises(ValueError, match=f"no unit of layer {layer}x. Did you mean '{layer}'"):
        visualisation.concepts_of_units(dictionary, [f"{layer}x:0"])
    with pytest.raises(ValueError, match="'17' names no unit of generator: write layer:channel"):
        visualisation.concepts_of_units(dictionary, ["17"])


def test_figure_1_has_examples_in_all_models_beside_the_optimised_images(dictionary):
    concepts = dictionary.concepts[:2]
    found = shown(dictionary, concepts)
    figure = visualisation.figure1(dictionary, concepts, found)
    # image, generator and two models on two examples, and three starts; the colour key
    assert len(figure.artists) == 2 * (2 * 4 + 3) + 1
    words = words_of(figure)
    assert {f"Concept {concept.id}" for concept in concepts} <= set(words)
    for image in found["example"].values.ravel():
        assert f"image {image}" in words
    last = found["loss"][0, 0, -1, TERMS.index("activation")].item()
    assert f"{last:.2f}".replace("-", "−") in words


def test_the_command_line_visualises_and_draws(dictionary, mined, tmp_path, monkeypatch):
    stores = [[f"{kind}/{name}.zarr" for name in NAMES] for kind in ("activations", "moments")]
    command_line(
        visualise,
        monkeypatch,
        *("--table", "rosetta.csv", "--samples", mined / "mined.zarr", "--maps", *stores[0]),
        *(
            "--moments",
            *stores[1],
            "--concepts",
            dictionary.concepts[1].id,
            "--starts",
            2,
            "--images",
            1,
            "--steps",
            3,
        ),
        *("--output", tmp_path / "x.zarr"),
    )
    found = xr.open_zarr(tmp_path / "x.zarr")
    assert found.sizes["start"] == 2 and found.attrs["similarity"] == "cosine"
    assert found.attrs["starts"] == 2 and found["concept"].values.tolist() == [2]
    assert (tmp_path / "x.png").stat().st_size and (tmp_path / "x.pdf").stat().st_size


# --- comparison -----------------------------------------------------------------------------------


def test_images_are_chosen_evenly_over_the_quantiles():
    gain = np.array([7, 3, 9, 1, 5, 0, 8, 2, 6, 4.0])
    chosen = printed.evenly_chosen(gain, 5)
    assert gain[chosen].tolist() == [1, 3, 5, 7, 9]
    assert gain[printed.evenly_chosen(gain, 2)].tolist() == [2, 7]
    assert printed.evenly_chosen(gain, 99) == np.argsort(gain).tolist()
    gain[[2, 5]] = np.nan  # of the eight others
    assert gain[printed.evenly_chosen(gain, 4)].tolist() == [2, 4, 6, 8]
    assert printed.evenly_chosen(np.full(3, np.nan), 2) == []


def test_a_comparison_shows_the_chosen_images_with_their_psnr(mined, tmp_path):
    write_empty(tmp_path / "two.zarr", "no matches", arm_of(mined, "two"))
    stores = [mined / "reconstruction.zarr", tmp_path / "two.zarr", mined / "all.zarr"]
    arms = read_arms(stores, mined / "targets.zarr")
    targets = xr.open_zarr(mined / "targets.zarr")["image"].values.astype(np.float64)
    errors = [((arms[i].image.values - targets) ** 2).mean((1, 2, 3)) for i in (0, 2)]
    psnr = -10 * np.log10(errors)
    np.testing.assert_allclose(
        printed.measured(mined / "targets.zarr", [arms[0], arms[2]]), psnr, rtol=1e-5
    )
    figure = printed.comparison(mined / "targets.zarr", arms, count=4)
    words = words_of(figure)
    order = np.argsort(psnr[1] - psnr[0])[[1, 3, 5, 7]]
    assert [word for word in words if word.startswith("image ")] == [f"image {i}" for i in order]
    assert len(figure.artists) == 4 * 3
    for image in order:
        assert {f"{psnr[0, image]:.1f}", f"{psnr[1, image]:.1f}"} <= set(words)
    assert "Nothing was inverted for two." in " ".join(words)


def test_an_image_that_failed_says_so_and_is_not_chosen_by_the_rule(mined, tmp_path):
    store = xr.open_zarr(mined / "all.zarr").load()
    store["loss"][3, :, 2:] = np.nan
    write_dataset(store, tmp_path / "failed.zarr", arm_of(mined, "failed"))
    stores = [mined / "reconstruction.zarr", tmp_path / "failed.zarr"]
    arms = read_arms(stores, mined / "targets.zarr")
    chosen = words_of(printed.comparison(mined / "targets.zarr", arms, count=8))
    assert "image 3" not in chosen and "failed" not in chosen
    by_hand = words_of(printed.comparison(mined / "targets.zarr", arms, count=8, images=[3]))
    assert "failed" in by_hand


def test_photos_are_named_by_their_files_and_others_by_their_numbers():
    files = xr.Dataset({"file": ("image", np.array(["a/astronaut.png", "面.png"]))})
    assert printed.image_names(files, [1, 0], 20) == {1: "image 1", 0: "astronaut"}
    assert printed.image_names(xr.Dataset(), [4], 20) == {4: "image 4"}


# --- guidance and translation ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def arm(mined):
    return guided.open_guided(mined / "targets.zarr", mined / "all.zarr", ZOO, *guides(NAMES[1:]))


@pytest.mark.parametrize(("start", "step"), [(True, 0), (False, -1)])
def test_maps_of_an_arm_are_those_that_it_was_optimised_with(arm, start, step):
    """The mean of all pairs' similarities is L_act, as the inversion has stored it."""
    images = [5, 0, 2]
    target_maps = arm.target_maps(images)
    maps, pictures = arm.generated(images, arm.layers, start=start)
    pairs = [arm.similarity(pair, target_maps, maps) for pair in arm.matches.index]
    loss = arm.store["loss"].values[images, arm.store["start"].values[images], step]
    np.testing.assert_allclose(np.mean(pairs, 0), loss[:, TERMS.index("activation")], atol=1e-4)
    if not start:
        np.testing.assert_allclose(pictures, arm.store["image"].values[images], atol=1e-5)


def test_pairs_that_fire_and_differ_are_shown_first():
    """Pair 0 does not fire, 2 has a unit of 1, 3 looks like 1, and 5 comes after what is wanted."""
    matches = pd.DataFrame({"correlation": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]})
    units = [
        (Unit("g", "a", own), Unit("m", "b", other))
        for own, other in ((0, 0), (1, 1), (2, 1), (3, 2), (4, 3), (5, 3))
    ]
    planes = torch.zeros(1, 4, 2, 2)
    planes[0, 0], planes[0, 1, 0], planes[0, 2, 0], planes[0, 3, 1] = 0.1, 1.0, 0.9, 1.0
    of = SimpleNamespace(
        matches=matches,
        units=units.__getitem__,
        ranges={unit: (0.0, 1.0) for pair in units for unit in pair},
    )
    maps = {"a": np.ones((1, 6, 2, 2))}

    def chosen(count):
        return guided.choose_pairs(of, {"m": {"b": planes}}, maps, count)

    assert chosen(1) == [1]
    assert chosen(2) == [1, 4]
    assert chosen(3) == [0, 1, 4]  # there are but two: the strongest of the others is added
    maps["a"][:, 1] = 0.1  # of pair 1 the generator's unit does not fire
    assert chosen(1) == [2]


def test_guidance_shows_maps_on_the_target_and_before_and_after(arm):
    figure = printed.guidance_figure(arm, pairs=3)
    assert len(figure.artists) == 3 * (1 + 3) + 1
    loss = arm.store["loss"].values[np.arange(8), arm.store["start"].values]
    last = loss[:, -1, TERMS.index("activation")]
    image = int(np.argsort(last)[4])  # floor of (0 + 1/2) 8 / 1
    words = " ".join(words_of(figure))
    assert f"the target (image {image}, that of the median L_act)" in words
    assert f"all {len(arm.matches)} pairs" in words
    assert f"{last[image]:.2f}".replace("-", "−") in words


def test_translation_shows_targets_maps_and_images_column_by_column(arm):
    figure = printed.translation(arm, images=[4, 1], pairs=2)
    assert len(figure.artists) == 2 * (2 + 2 * 2) + 1
    assert [word for word in words_of(figure) if word.startswith("image ")][:2] != []
    assert {"image 4", "image 1"} <= set(words_of(figure))


def test_maps_need_the_matches_that_guided_the_arm(mined):
    targets = mined / "targets.zarr"
    with pytest.raises(ValueError, match="reconstruction.zarr was guided by no matches"):
        guided.open_guided(targets, mined / "reconstruction.zarr", ZOO, *guides(["one"]))
    with pytest.raises(ValueError, match=r"all.zarr was guided by \d+ pairs with one, two; these"):
        guided.open_guided(targets, mined / "all.zarr", ZOO, *guides(["one"]))


def test_an_empty_arm_has_a_figure_that_says_why(mined, tmp_path, monkeypatch):
    write_empty(tmp_path / "two.zarr", "no best buddies of two", arm_of(mined, "two"))
    said = []
    monkeypatch.setattr(printed, "save_figures", lambda made, _: said.extend(made.values()))
    known = ("--targets", mined / "targets.zarr", "--arms", tmp_path / "two.zarr")
    for kind in ("guidance", "translation"):
        command_line(paper, monkeypatch, *known, "--kind", kind, "--output", tmp_path / "x.png")
    assert [words_of(figure) for figure in said] == [["two: no best buddies of two"]] * 2


@pytest.mark.parametrize("kind", ["comparison", "guidance", "translation"])
def test_the_command_line_draws_every_kind(mined, kind, tmp_path, monkeypatch):
    moments_of = [f"moments/{name}.zarr" for name in NAMES]
    known = ("--models", "one", "two", "--buddies", "one.csv", "two.csv", "--moments", *moments_of)
    known += ("--neighbours", 2, "--min-correlation", -1)
    common = ("--targets", mined / "targets.zarr", "--arms", mined / "all.zarr", "--kind", kind)
    out = tmp_path / "figures" / "x.png"
    command_line(paper, monkeypatch, *common, *known, "--images", 1, "--output", out)
    assert Image.open(out).size > (40, 40)
    assert out.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match=r"targets.zarr has images 0 to 7, not 8"):
        command_line(paper, monkeypatch, *common, *known, "--images", 8, "--output", out)


# --- animation and loss curves --------------------------------------------------------------------


def test_frames_go_from_the_random_start_to_the_result(arm):
    steps, frames = frames_of(arm.store, arm.inverter.generator, [3, 6])
    assert steps == [0, 2, 4, 6] and frames.shape == (4, 2, 3, 16, 16)
    _, first = arm.generated([3, 6], [], start=True)
    np.testing.assert_allclose(frames[0], first, atol=1e-5)
    np.testing.assert_allclose(frames[-1], arm.store["image"].values[[3, 6]], atol=1e-5)


@pytest.mark.parametrize("ending", FORMATS)
def test_an_animation_has_a_picture_a_frame_and_begins_again(mined, tmp_path, ending):
    out = tmp_path / f"x{ending}"
    animate(mined / "all.zarr", [0, 5, 2], out, zoo=ZOO)
    with Image.open(out) as opened:
        assert opened.n_frames == 4 and opened.info["loop"] == 0
        width = 3 * (LEAST + GAP) + GAP
        height = 2 * (LEAST + LINE + GAP)
        assert opened.size == (width, height)


def test_what_cannot_be_animated_is_refused(mined, tmp_path):
    def refused(match, inversion="all.zarr", images=(0,), output="x.gif"):
        with pytest.raises(ValueError, match=match):
            animate(mined / inversion, images, tmp_path / output, zoo=ZOO)

    refused("x.mp4: write an animation as .webp or .gif", output="x.mp4")
    refused("has images 0 to 7, not 8, -1", images=[8, 0, -1])
    store = xr.open_zarr(mined / "all.zarr").load()
    write_dataset(store.assign_attrs(frames=0), mined / "still.zarr", arm_of(mined, "still"))
    refused("no frames on the way: invert with --frames", inversion="still.zarr")
    old = arm_of(mined, "old")
    write_dataset(store.assign_attrs(generator_digest="0"), mined / "old.zarr", old)
    refused("went through another generator", inversion="old.zarr")
    write_empty(mined / "nothing.zarr", "no matches of it", arm_of(mined, "nothing"))
    refused("nothing to animate: no matches of it", inversion="nothing.zarr")


def test_an_animation_shows_the_first_images_and_no_more_than_there_are(
    mined, tmp_path, monkeypatch
):
    for count, shown in ((3, 3), (9, 8)):
        animate(mined / "all.zarr", count, tmp_path / "x.webp", zoo=ZOO)
        with Image.open(tmp_path / "x.webp") as opened:
            assert opened.width == shown * (LEAST + GAP) + GAP
    given = ["--inversion", mined / "all.zarr", "--output", tmp_path / "y.webp", "--count"]
    with pytest.raises(ValueError, match="--count 0: an animation shows at least one image"):
        command_line(animation, monkeypatch, *given, 0)


def test_where_nothing_was_inverted_every_figure_says_so(mined, tmp_path, monkeypatch):
    reason = "no pair is strong enough: the strongest has r = 0.1."
    write_empty(mined / "none.zarr", reason, arm_of(mined, "none"))
    arms, output = ["--arms", mined / "none.zarr"], ["--output", tmp_path / "x.png"]
    command_line(loss_curves, monkeypatch, *arms, *output)
    for kind in ("comparison", "guidance", "translation"):
        (tmp_path / "x.png").unlink()
        targets = ["--targets", mined / "targets.zarr", "--kind", kind]
        command_line(paper, monkeypatch, *arms, *targets, *output)
        assert (tmp_path / "x.png").is_file()
    output[1] = tmp_path / "x.webp"
    command_line(animation, monkeypatch, "--inversion", mined / "none.zarr", *output)
    with Image.open(tmp_path / "x.webp") as opened:
        assert getattr(opened, "n_frames", 1) == 1 and opened.width == 600


def test_loss_curves_are_quartiles_over_the_images_that_did_not_fail():
    loss = np.random.default_rng(0).normal(0, 1, (5, 2, 4, len(TERMS)))
    loss[1, 0, 2:] = np.nan
    start = np.array([1, 0, 0, 1, 1])
    store = xr.Dataset(
        {"loss": (("image", "start", "step", "term"), loss), "start": ("image", start)},
        attrs={"reconstruction": "none", "pairs": 3},
    )
    found = curves.curves(store)
    assert list(found) == ["total", "activation", "regulariser"]
    kept = np.sort([loss[0, 1], loss[2, 0], loss[3, 1], loss[4, 1]], axis=0)
    # of four sorted values, the quartiles lie a quarter, half and three quarters of three steps on
    median = (kept[1] + kept[2]) / 2
    np.testing.assert_allclose(found["activation"][1], median[:, TERMS.index("activation")])
    first = kept[0] + 0.75 * (kept[1] - kept[0])
    np.testing.assert_allclose(found["total"][0], first[:, TERMS.index("total")])


def test_loss_curves_have_a_panel_a_term_and_a_line_an_arm_that_has_it(mined, tmp_path):
    write_empty(tmp_path / "two.zarr", "no matches", arm_of(mined, "two"))
    stores = [mined / "reconstruction.zarr", tmp_path / "two.zarr", mined / "all.zarr"]
    figure = curves.loss_curve(stores)
    lines = [[line.get_label() for line in panel.lines] for panel in figure.axes]
    assert lines == [["reconstruction", "all"], ["reconstruction", "all"], ["all"], lines[0]]
    assert lines[3] == ["reconstruction", "all"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["reconstruction", "all"]
    with pytest.raises(ValueError, match="no arm has a loss"):
        curves.loss_curve([tmp_path / "two.zarr"])


def test_the_command_line_draws_loss_curves(mined, tmp_path, monkeypatch):
    arms = ("--arms", mined / "all.zarr")
    command_line(loss_curves, monkeypatch, *arms, "--output", tmp_path / "loss.png")
    assert {path.name for path in tmp_path.iterdir()} == {"loss.png", "loss.pdf"}
