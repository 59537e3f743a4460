"""The causal check: an effect where there is a path, none where there is a common cause alone."""

import argparse

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml
from torch import nn

from rosetta_steps.editing.sources import Source
from rosetta_steps.evidence import low_level
from rosetta_steps.interventions import table as step
from rosetta_steps.interventions.controls import (
    candidates_of,
    matched_controls,
    strongest_pairs,
)
from rosetta_steps.interventions.effects import Anchor, Experiment
from rosetta_steps.interventions.painting import CLAMP, SILENCE, Painter
from rosetta_steps.interventions.settings import Interventions
from rosetta_steps.interventions.table import (
    NO_CONTROL,
    deviations_of,
    interventions_of,
    verdict_of,
)
from rosetta_steps.maps import moments as moments_step
from rosetta_steps.maps.moment_sums import MomentSums
from rosetta_steps.matching.identity import concept_ids
from rosetta_steps.matching.tables import (
    DICTIONARY,
    read_dictionary,
    read_interventions,
    write_table,
)
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_tree
from rosetta_steps.testing import dump_maps, made, write_dcgan, write_timm
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.generators.generator import Generator
from rosetta_steps.zoo.hooks import activations_of

IMAGES, PAINTERS, SEERS, BATCH = 12, 24, 24, 5
RED, TWIN = 0, 1  # a unit that paints red, and one with the same map that paints nothing


class Paints(nn.Module):
    """Units whose maps follow from z; unit RED paints red, TWIN nothing, others green and blue."""

    latent_size = 6

    def __init__(self):
        super().__init__()
        self.maps, self.unit = nn.Linear(6, PAINTERS * 64), nn.ReLU()
        self.colour = nn.Conv2d(PAINTERS, 3, 1, bias=False)
        with torch.no_grad():
            weights = 0.1 * torch.rand(3, PAINTERS, 1, 1)
            weights[0] = 0
            weights[:, [RED, TWIN]] = 0
            weights[0, RED] = 0.5
            self.colour.weight.copy_(weights)
            both = self.maps.weight.view(PAINTERS, 64, 6), self.maps.bias.view(PAINTERS, 64)
            for of in both:
                of[TWIN] = of[RED]

    def forward(self, z):
        shown = self.colour(self.unit(self.maps(z).view(-1, PAINTERS, 8, 8)))
        return nn.functional.interpolate(shown, scale_factor=2) - 1


class Sees:
    """Unit RED sees red, the others mixtures of green and blue, at 4 x 4 positions."""

    name = "sees"

    def __init__(self):
        torch.manual_seed(1)
        mixtures = torch.rand(SEERS, 3, 1, 1)
        mixtures[:, 0] = 0
        mixtures[RED] = torch.tensor([1.0, 0, 0])[:, None, None]
        self.mixtures = mixtures

    def activations(self, images, layers, *, into=None):
        assert into is None
        seen = nn.functional.avg_pool2d(nn.functional.conv2d(images.float(), self.mixtures), 4)
        return dict.fromkeys(layers, seen)


@pytest.fixture(scope="module")
def world():
    """Generator with latents, model, their maps, and moments."""
    torch.manual_seed(0)
    generator = Generator("paints", Paints(), "cpu")
    source = Source(torch.randn(IMAGES, 6), None, "z", 1.0, list(range(IMAGES)))
    painter, model = Painter(generator, source), Sees()
    maps, images = painter.maps_and_images(slice(0, IMAGES), {"unit": range(PAINTERS)})
    seen = model.activations(images, ["see"])["see"]
    trees = []
    for layer, of in (("unit", maps["unit"]), ("see", seen)):
        sums = MomentSums(of.shape[1], tuple(of.shape[2:]))
        sums.add(of)
        trees.append(xr.DataTree.from_dict({layer: sums.dataset()}))
    return painter, model, maps["unit"].numpy(), seen.numpy(), trees


def named(rows):
    """Rows of a dictionary, with the ids of their concepts."""
    return pd.DataFrame(rows, columns=list(DICTIONARY)[:-1]).assign(concept_id=concept_ids)


def dictionary(*pairs):
    rows = [
        (concept, "paints", "unit", channel, "sees", "see", partner, r)
        for concept, channel, partner, r in pairs
    ]
    return named(rows)


BOTH = dictionary((1, RED, RED, 0.9), (2, TWIN, RED, 0.9))


def test_an_effect_is_found_where_there_is_a_path_and_none_where_there_is_a_common_cause(
    world, capsys
):
    painter, model, maps, seen, trees = world
    pooled = maps.reshape(IMAGES, PAINTERS, 4, 2, 4, 2).mean((3, 5))
    r = [np.corrcoef(pooled[:, c].ravel(), seen[:, RED].ravel())[0, 1] for c in (RED, TWIN)]
    assert r[0] == pytest.approx(r[1]) and r[0] > 0.9  # r cannot tell the two
    found = interventions_of(
        painter, model, BOTH, trees, settings=Interventions(images=IMAGES), batch=BATCH
    ).set_index("concept")
    real, common = found.loc[1], found.loc[2]
    assert (real["clamp_rank"], real["clamp_p"]) == (1, pytest.approx(1 / 21))
    assert real["clamp_effect"] > 0.5 > -0.2 > real["silence_effect"]
    assert real["clamp_outside"] == 0
    assert real["verdict"].startswith("effect shown") and real["clamp_control_effect"] == 0
    assert (common["clamp_effect"], common["clamp_p"], common["clamp_change"]) == (0, 1, 0)
    assert common["verdict"] == "no effect shown"
    assert list(found["controls"]) == [20, 20]
    assert "100%" in capsys.readouterr().err
    # Neither is the other's control: both are matched to one unit.
    columns = ["clamp_control", "silence_control"]
    assert not found[columns].isin([RED, TWIN]).any(axis=None)


@pytest.mark.parametrize("kind", [CLAMP, SILENCE])
def test_an_effect_is_the_mean_change_in_the_region_in_deviations(world, kind):
    painter, model, maps, seen, _ = world
    deviations = {"see": seen.std((0, 2, 3), dtype=np.float64)}
    anchor = Anchor(("unit", RED), ("see", RED), list(range(4, 12)))
    experiment = Experiment(painter, model, [anchor], deviations, batch=BATCH)
    found = experiment.run()[0][kind]
    level = np.quantile(maps[:, RED], 0.99) if kind == CLAMP else 0.0
    masks = experiment.regions["unit"].mask()
    changed = maps.copy()
    changed[:, RED][masks] = level
    network = painter.generator.network

    def images(of):
        shown = nn.functional.interpolate(network.colour(torch.from_numpy(of)), scale_factor=2)
        return (shown / 2).clamp(0, 1).detach()

    after = model.activations(images(changed), ["see"])["see"].numpy()
    effects = []
    for image in range(IMAGES):
        cover = masks[image].reshape(4, 2, 4, 2).mean((1, 3))
        change = (after[image] - seen[image]) / deviations["see"][:, None, None]
        inside = (change * cover).sum((1, 2)) / cover.sum()
        effects.append([inside, change[:, cover == 0].mean(1)])
    inside, outside = np.mean(effects, 0)
    np.testing.assert_allclose(found.inside, inside, atol=1e-5)
    assert found.outside == pytest.approx(outside[RED], abs=1e-5)
    expected = (images(changed) - images(maps)).square().mean()
    assert found.change == pytest.approx(expected.item(), rel=1e-4)
    assert found.control in anchor.candidates and found.control_change > 0


def test_the_control_unit_changes_the_picture_most_alike(world):
    painter, model, maps, seen, _ = world
    deviations = {"see": seen.std((0, 2, 3))}
    anchor = Anchor(("unit", 5), ("see", RED), [c for c in range(2, 20) if c != 5])
    experiment = Experiment(painter, model, [anchor], deviations, batch=BATCH)
    block = slice(0, 10)
    of, before = painter.maps_and_images(block, experiment.units)
    changes = {
        c: (experiment._painted(block, ("unit", c), CLAMP, of) - before).square().mean().item()
        for c in (5, *anchor.candidates)
    }
    nearest = min(anchor.candidates, key=lambda c: abs(changes[c] - changes[5]))
    assert experiment.control_unit(anchor, CLAMP) == nearest


def test_low_level_features_explain_as_much_as_a_regression_says(world):
    painter, model, _, seen, _ = world
    anchor = Anchor(("unit", RED), ("see", RED), [])
    experiment = Experiment(painter, model, [anchor], {"see": seen.std((0, 2, 3))}, batch=BATCH)
    measured = experiment.run()[0][CLAMP]
    assert measured.control == -1 and np.isnan(measured.control_change)
    _, images = painter.maps_and_images(slice(0, IMAGES), {"unit": [0]})
    shown = low_level.resized(low_level.features(images), (4, 4)).double()
    design = torch.cat([shown.transpose(0, 1).flatten(1), torch.ones(1, IMAGES * 16)]).T.numpy()
    for channel in (0, 3, 7):
        y = seen[:, channel].astype(float).ravel()
        left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        expected = 1 - left.var() / y.var()
        assert experiment.explained["see"][channel] == pytest.approx(expected, abs=1e-4)


# --- what is tested, and with what ----------------------------------------------------------------


def test_the_strongest_pair_of_each_of_the_strongest_concepts_is_tested():
    table = dictionary((1, 4, 2, 0.5), (1, 5, 3, 0.7), (2, 6, 1, 0.6), (3, 7, 1, 0.5))
    found = strongest_pairs(table, "sees", 2)
    assert list(zip(found["concept"], found["generator_channel"], strict=True)) == [(1, 5), (2, 6)]
    assert strongest_pairs(table, "another", 2).empty


def test_candidates_vary_and_are_of_other_concepts_and_other_partners():
    table = dictionary((1, 0, 9, 0.9), (1, 1, 8, 0.8), (2, 2, 9, 0.7), (3, 3, 7, 0.6))
    deviations = np.array([1, 1, 1, 1, np.nan, 1, 1.0])
    assert candidates_of(table.iloc[0], table, deviations, 20) == [3, 5, 6]
    few = candidates_of(table.iloc[0], table, deviations, 2)
    assert len(few) == 2 and few == candidates_of(table.iloc[0], table, deviations, 2)


def test_candidates_are_the_same_when_another_model_gives_the_concept_another_rank():
    deviations = np.ones(12)
    table = dictionary((1, 0, 9, 0.9), (2, 1, 8, 0.8))
    other = dictionary((1, 1, 8, 0.8), (2, 0, 9, 0.7))
    found = candidates_of(table.iloc[0], table, deviations, 4)
    assert found == candidates_of(other.iloc[1], other, deviations, 4)
    assert found != candidates_of(table.iloc[1], table, deviations, 4)


def test_controls_are_the_units_nearest_in_deviation_and_in_what_features_explain():
    random = np.random.default_rng(0)
    deviations, explained = random.lognormal(0, 1, 40), random.random(40)
    deviations[[3, 30]] = np.nan
    found = matched_controls(7, deviations, explained, [9], 10)
    free = [c for c in range(40) if c not in (3, 7, 9, 30)]
    both = np.log(deviations), explained
    spread = [of[[*free, 7]].std() for of in both]
    away = {
        c: sum(((of[c] - of[7]) / s) ** 2 for of, s in zip(both, spread, strict=True)) for c in free
    }
    assert list(found) == sorted(free, key=away.get)[:10]


def test_with_too_few_controls_nothing_is_said(world):
    painter, model, _, _, trees = world
    settings = Interventions(images=IMAGES, controls=5)
    found = interventions_of(painter, model, BOTH, trees, settings=settings, batch=BATCH)
    assert list(found["verdict"]) == ["too few controls"] * 2 and (found["clamp_p"] >= 1 / 6).all()


def test_without_a_rosetta_unit_the_table_has_no_row(world):
    painter, model, _, _, trees = world
    found = interventions_of(painter, model, BOTH[:0], trees, settings=Interventions())
    assert found.empty and "clamp_effect" in found


# --- what is refused ------------------------------------------------------------------------------


def test_a_generator_that_is_no_torch_module_is_refused(world):
    painter, *_ = world

    class Alien:
        name = "alien"

    with pytest.raises(UserError, match="alien is no torch module"):
        Painter(Alien(), painter.source)


class Tokens(Paints):
    """The output of layer `tokens` is (image, position, channel)."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.GELU()

    def forward(self, z):
        self.tokens(self.maps(z).view(-1, 64, PAINTERS))
        return super().forward(z)


def test_a_layer_whose_output_is_no_map_is_refused(world, monkeypatch):
    painter, *_ = world
    other = Painter(Generator("paints", Tokens(), "cpu"), painter.source)
    grid = "rosetta_steps.interventions.painting.activations_of"

    def as_maps(network, run, layers, **_):  # as a reader of tokens gives them
        found, raw = activations_of(network, run, ["unit"])
        return dict.fromkeys(layers, found["unit"]), raw

    monkeypatch.setattr(grid, as_maps)
    with pytest.raises(UserError, match=r"cannot be clamped at tokens: .*\(1, 64, 24\), not maps"):
        other.refuse_layers_that_cannot_be_set(["tokens"])
    other.refuse_layers_that_cannot_be_set(["unit"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A DCGAN and a ResNet with random weights: samples, moments and a dictionary."""
    place = tmp_path_factory.mktemp("interventions")
    entries = {
        "generator": write_dcgan(place / "generator.safetensors", channels=(8, 6)),
        "one": write_timm(place / "one.safetensors"),
    }
    (place / "zoo.yaml").write_text(yaml.safe_dump(entries))
    zoo, samples = str(place / "zoo.yaml"), place / "samples.zarr"
    sampling.sample("generator", zoo, 6, 0, samples, device="cpu")
    varying = {}
    for name in entries:
        store = place / f"{name}.zarr"
        dump_maps(name, zoo, samples, "all", dtype="float16", images_per_shard=6, store=store)
        moments_step.measure(store, place / f"moments-{name}.zarr")
        of = open_tree(place / f"moments-{name}.zarr")
        layer = "main.2" if name == "generator" else list(of.children)[-1]
        channels = np.flatnonzero(deviations_of(of, layer) > 0)[:2]
        varying[name] = [(layer, int(channel)) for channel in channels]
    both = zip(varying["generator"], varying["one"], strict=True)
    rows = [
        (concept, "generator", *unit, "one", *partner, 0.5)
        for concept, (unit, partner) in enumerate(both, 1)
    ]
    origin = made("dictionary", "generator", "one", of={})
    write_table(named(rows), place / "rosetta.csv", origin)
    return place


def command(folder, **changes):
    given = {
        "generator": "generator", "model": "one", "zoo": str(folder / "zoo.yaml"),
        "samples": folder / "samples.zarr", "table": folder / "rosetta.csv", "threads": 1,
        "moments": [folder / "moments-generator.zarr", folder / "moments-one.zarr"],
        "concepts": 10, "images": 50, "controls": 20, "identity": None,
        "output": folder / "one.csv",
    }  # fmt: skip
    return argparse.Namespace(**(given | changes))


def test_the_step_writes_a_row_a_concept(folder, capsys):
    step.carry_out(command(folder))
    table = read_interventions(folder / "one.csv", ["generator", "one"])
    assert list(table["concept_id"]) == list(read_dictionary(folder / "rosetta.csv")["concept_id"])
    assert list(table["concept"]) == [1, 2] and (table["images"] == 6).all()
    numbers = [c for c in table if c.startswith(("clamp", "silence"))]
    assert table[numbers].notna().all(axis=None)
    assert "has 6 images only, of 50" in capsys.readouterr().err
    again = table["verdict"].tolist()
    step.carry_out(command(folder))
    assert read_interventions(folder / "one.csv")["verdict"].tolist() == again


def test_a_matched_unit_that_never_varies_is_refused(world):
    painter, model, _, _, trees = world
    still = trees[1].copy(deep=True)
    still["see"]["minimum"][:] = still["see"]["maximum"]
    with pytest.raises(UserError, match="unit see:0 never varies by its moments"):
        interventions_of(painter, model, BOTH, [trees[0], still], settings=Interventions())


def test_a_model_that_is_a_generator_and_a_generator_that_is_none_are_refused(folder):
    with pytest.raises(UserError, match="generator is a generator: clamping its own units"):
        step.carry_out(command(folder, model="generator"))
    with pytest.raises(UserError, match="one is no generator, .* not of photos"):
        step.carry_out(command(folder, generator="one"))


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "effect shown"),
        ({"clamp_p": 0.1}, "no effect shown"),
        ({"clamp_effect": -0.1, "clamp_control_effect": -0.4}, "no effect shown"),
        ({"clamp_effect": 0.0, "clamp_control_effect": np.nan}, "no effect shown"),
        ({"clamp_control_effect": 0.6}, "effect shown; a control unit's is as large"),
        (
            {"clamp_control_change": 0.4},
            NO_CONTROL,
        ),
        (
            {"clamp_control_change": np.nan},
            NO_CONTROL,
        ),
        ({"controls": 5}, "too few controls"),
    ],
)
def test_what_a_row_shows(changed, verdict):
    row = {"controls": 20, "clamp_p": 1 / 21, "clamp_effect": 0.5, "clamp_change": 1.0}
    row |= {"clamp_control_effect": 0.1, "clamp_control_change": 0.9}
    assert verdict_of(row | changed) == verdict
