"""The causal check of a model's matches, as a table: effects, ranks among controls, verdicts."""

import argparse
import os
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy.stats import false_discovery_control
from tqdm import tqdm

from rosetta_steps.config.options import options_from
from rosetta_steps.editing.sources import read_source
from rosetta_steps.interventions.controls import (
    candidates_of,
    matched_controls,
    strongest_pairs,
)
from rosetta_steps.interventions.effects import CANDIDATE_IMAGES, Anchor, Experiment, Measured
from rosetta_steps.interventions.painting import CLAMP, KINDS, SILENCE, Painter
from rosetta_steps.interventions.settings import Interventions
from rosetta_steps.maps.resampling import size_of
from rosetta_steps.maps.running import refuse_another_network
from rosetta_steps.maps.statistics import mean_and_variance
from rosetta_steps.matching.tables import INTERVENTIONS, read_dictionary, write_table
from rosetta_steps.runtime.budgets import images_at_once
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset, open_tree
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.origin import origin_of
from rosetta_steps.zoo.weights import weights_file

KIND = "interventions"
ALPHA = 0.05
FEWEST_CONTROLS = 19  # with fewer no p-value reaches ALPHA
MOST_AT_ONCE = 8  # images; on a CPU more are no faster
SHOWN, SHARED = "effect shown", "effect shown; a control unit's is as large"
NOT_SHOWN, UNTESTED = "no effect shown", "too few controls"
NO_CONTROL = "effect shown; no control unit changes the picture as much"
MOST_APART = 2  # times that a pair's unit may change the picture more than its control unit


def row_of(found: Measured, partner: int, controls: np.ndarray, kind: str) -> dict:
    """Columns of one kind of intervention.

    Args:
        found: What it did.
        partner: Channel of the partner.
        controls: Channels among which it is ranked.
        kind: CLAMP, after which more of the partner is expected, or SILENCE, after which less.
    """
    sign = 1 if kind == CLAMP else -1
    effect = found.inside[partner]
    stronger = int((sign * found.inside[controls] >= sign * effect).sum())
    values = {
        "effect": effect,
        "outside": found.outside,
        "rank": 1 + stronger,
        "p": (1 + stronger) / (1 + len(controls)),
        "q": np.nan,
        "change": found.change,
        "control": found.control if found.control >= 0 else np.nan,
        "control_change": found.control_change,
        "control_effect": found.control_inside,
    }
    return {f"{kind}_{name}": value for name, value in values.items()}


def verdict_of(row: dict) -> str:
    """What a row says of its pair, by the effect of clamping."""
    if row["controls"] < FEWEST_CONTROLS:
        return UNTESTED
    if row["clamp_p"] > ALPHA:
        return NOT_SHOWN
    if not row["clamp_effect"] > 0:
        return NOT_SHOWN
    if not row["clamp_control_change"] * MOST_APART >= row["clamp_change"]:
        return NO_CONTROL
    return SHARED if row["clamp_control_effect"] >= row["clamp_effect"] else SHOWN


def interventions_of(
    painter: Painter,
    model,
    dictionary: pd.DataFrame,
    moments: Sequence[xr.DataTree],
    *,
    settings: Interventions,
    batch: int = MOST_AT_ONCE,
) -> pd.DataFrame:
    """Clamp the generator's unit of each concept's strongest pair, and see what its match does.

    Args:
        painter: The generator, with the latents of the images.
        model: The model, on the same device.
        dictionary: rosetta.csv.
        moments: Of generator and model.
        settings: How many concepts and controls.
        batch: Images at once.

    Returns:
        Columns INTERVENTIONS of matching.tables, a row a pair.

    Raises:
        ValueError: A layer of the generator cannot be clamped, or a matched unit never varies.
    """
    pairs = strongest_pairs(dictionary, model.name, settings.concepts)
    if pairs.empty and len(dictionary) and model.name not in set(dictionary["model"]):
        raise UserError(
            f"{model.name} is no model of this dictionary, which has "
            f"{', '.join(dictionary['model'].unique())}. Give one of these."
        )
    if pairs.empty:
        return pd.DataFrame(columns=list(INTERVENTIONS))
    of_layer = [
        {layer: deviations_of(tree, layer) for layer in pairs[column].unique()}
        for tree, column in zip(moments, ("generator_layer", "layer"), strict=True)
    ]
    anchors = [
        Anchor(
            (pair["generator_layer"], int(pair["generator_channel"])),
            (pair["layer"], int(pair["channel"])),
            candidates_of(
                pair, dictionary, of_layer[0][pair["generator_layer"]], settings.controls
            ),
        )
        for _, pair in pairs.iterrows()
    ]
    for anchor in anchors:
        for (layer, channel), of in zip((anchor.unit, anchor.partner), of_layer, strict=True):
            if not of[layer][channel] > 0:
                raise UserError(
                    f"unit {layer}:{channel} never varies by its moments, and the dictionary "
                    "matches it: they are of different images. Run the workflow again."
                )
    with tqdm(
        total=images_shown(painter.images, anchors),
        desc=f"interventions on {model.name}",
        unit="image",
    ) as bar:
        experiment = Experiment(
            painter, model, anchors, of_layer[1], batch=batch, progress=bar.update
        )
        found = experiment.run()
    rows = []
    for anchor, measured, (_, pair) in zip(anchors, found, pairs.iterrows(), strict=True):
        layer, channel = anchor.partner
        own = dictionary[
            (dictionary["model"] == model.name)
            & (dictionary["generator_layer"] == anchor.unit[0])
            & (dictionary["generator_channel"] == anchor.unit[1])
            & (dictionary["layer"] == layer)
        ]
        controls = matched_controls(
            channel, of_layer[1][layer], experiment.explained[layer],
            own["channel"].tolist(), settings.controls,
        )  # fmt: skip
        row = {name: pair[name] for name in KEYS}
        row |= {"images": painter.images, "controls": len(controls)}
        row["level"] = experiment.level[anchor.unit]
        for kind in KINDS:
            row |= row_of(measured[kind], channel, controls, kind)
        rows.append(row | {"verdict": verdict_of(row), "concept_id": pair["concept_id"]})
    table = pd.DataFrame(rows)
    for kind in (CLAMP, SILENCE):
        table[f"{kind}_q"] = false_discovery_control(table[f"{kind}_p"].to_numpy())
    return table[list(INTERVENTIONS)]


KEYS = ("concept", "generator_layer", "generator_channel", "layer", "channel", "correlation")


def images_shown(images: int, anchors: Sequence[Anchor]) -> int:
    """Number of images of all passes, which the progress bar counts.

    Args:
        images: Number of images on which units are set.
        anchors: The pairs.
    """
    kinds = len(KINDS)
    of_model = images * (1 + sum(kinds * (1 + bool(a.candidates)) for a in anchors))
    with_candidates = sum(kinds * (1 + len(a.candidates)) for a in anchors if a.candidates)
    return of_model + min(images, CANDIDATE_IMAGES) * with_candidates


def deviations_of(moments: xr.DataTree, layer: str) -> np.ndarray:
    """Standard deviation of a layer's units at their own size, (channel); NaN: never varies."""
    of_layer = moments[layer].to_dataset()
    return np.sqrt(mean_and_variance(of_layer, size_of(of_layer["mean_map"]))[1])


def carry_out(a: argparse.Namespace) -> None:
    """Write the table that a command line asks for."""
    settings: Interventions = options_from(a, Interventions)
    entries = [find_entry(name, a.zoo) for name in (a.generator, a.model)]
    refuse_roles(a.generator, a.model, entries)
    samples = open_dataset(a.samples)
    if "latent" not in samples:
        raise UserError(
            f"{a.samples} has no latents: its images are files, and no generator made them whose "
            "units could be clamped. Take a sample set of a generator."
        )
    made_of = ingredients(
        [a.samples, a.table, *a.moments],
        {
            key: value
            for name, entry in zip((a.generator, a.model), entries, strict=True)
            for key, value in origin_of(name, entry).items()
        },
    )
    device = lease()
    torch.set_num_threads(a.threads or os.cpu_count() or 1)
    generator, model = (
        load(name, entry, weights_file(name, entry), device)
        for name, entry in zip((a.generator, a.model), entries, strict=True)
    )
    refuse_another_network(generator, samples, a.samples)
    images = min(settings.images, samples.sizes["image"])
    if images < settings.images:
        print(
            f"{a.samples} has {images} images only, of {settings.images} that "
            "interventions.images asks for: all are taken.",
            file=sys.stderr,
        )
    source = read_source(a.samples, a.generator, entries[0], range(images))
    dictionary = read_dictionary(a.table)
    layers = model.layers()
    partners = set(strongest_pairs(dictionary, a.model, settings.concepts)["layer"])
    kept = [layer for layer in layers if layer.name in partners]
    batch = images_at_once([*layers, *generator.layers()], kept, MOST_AT_ONCE)
    table = interventions_of(
        Painter(generator, source),
        model,
        dictionary,
        [open_tree(path) for path in a.moments],
        settings=settings,
        batch=batch,
    )
    sample_set = read_manifest(a.samples)["sample_set"]
    provenance = Provenance(KIND, [a.generator, a.model], sample_set, made_of, a.identity)
    write_table(table, a.output, provenance)


def refuse_roles(generator: str, model: str, entries: Sequence[Entry]) -> None:
    """Raise a ValueError unless one is a generator and the other a model."""
    if entries[0].role != "generator":
        raise UserError(
            f"{generator} is no generator, so it has no units that could be clamped while it makes "
            "an image. Take a sample set of a generator, not of photos."
        )
    if entries[1].role == "generator":
        raise UserError(
            f"{model} is a generator: clamping its own units shows nothing of a match. Give a "
            "model that was mined with it."
        )
