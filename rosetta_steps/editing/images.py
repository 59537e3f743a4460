"""Edits of all images of a source: stored images, a table of units, and a summary."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from tqdm import tqdm

from rosetta_steps.config.options import options_from
from rosetta_steps.editing.editor import Editor, units_to_edit
from rosetta_steps.editing.edits import Edit, read_mask
from rosetta_steps.editing.kinds import KINDS
from rosetta_steps.editing.settings import RANDOM_STARTS
from rosetta_steps.editing.sources import Source, read_source
from rosetta_steps.inversion.choices import (
    UNIT,
    names_of,
    units_named,
    units_of_concepts,
    units_of_matches,
)
from rosetta_steps.inversion.inverter import report_failures
from rosetta_steps.inversion.matches import matches_from, open_moments
from rosetta_steps.inversion.objective import TERMS
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.inversion.targets import image_size, refuse_overwriting
from rosetta_steps.matching.tables import read_dictionary, write_table
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients
from rosetta_steps.zoo.entries import entry_digest, find_entry
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.origin import origin_of
from rosetta_steps.zoo.weights import weights_file


def edit_images(
    editor: Editor,
    source: Source,
    output: Path,
    *,
    memory: float,
    attrs: dict | None = None,
    provenance: Provenance | None = None,
) -> pd.DataFrame:
    """Edit images and write X.zarr and X.csv.

    Args:
        editor: With its units and settings.
        source: Latents.
        output: X.zarr; X.csv is written beside it.
        memory: Budget in GB, from which the number of latents at once follows.
        attrs: Further attributes of the store.
        provenance: Where the edit comes from.

    Returns:
        What X.csv holds, see Editor.measure.

    Raises:
        ValueError: The edit changes nothing on any image, or every optimisation failed.
    """
    source = leave_out_unchanged(editor, source, editor.rows_at_once(source, memory))
    starts = editor.settings.starts
    at_once = max(1, editor.rows_at_once(source, memory) // starts)
    arrays, tables = [], []
    work = len(source.images) * starts * editor.settings.steps
    with tqdm(total=work, desc=f"editing {output.stem}", unit="step") as bar:
        for block in image_blocks(len(source.images), at_once):
            found, table = editor.apply(source.part(block), bar.update)
            arrays.append(found)
            tables.append(table)
    together = {name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]}
    report_failures(together["failed"])
    table = pd.concat(tables, ignore_index=True)
    store = dataset_of(editor, source, together).assign(success_of_images(table))
    store = store.assign_attrs(
        generator=editor.generator.name,
        edited=names_of(editor.edited),
        kept=int(((editor.units["weight"] > 0) & ~editor.units["edited"]).sum()),
        start=editor.start,
        **editor.edit.attrs(),
        **(editor.settings.attrs() | {"truncation": source.truncation}),
        **(attrs or {}),
    )
    provenance = provenance or Provenance("edit")
    write_table(table, output.with_suffix(".csv"))
    write_dataset(store, output, provenance)  # last: where it stands, the table does
    return table


def success_of_images(table: pd.DataFrame) -> dict:
    """Medians over the units of each image, as variables of a store.

    Args:
        table: As Editor.measure returns it.
    """
    edited, others = table[table["edited"]], table[~table["edited"]]
    named = {
        "moved": (edited, "moved", "share of the way of edited maps to their targets"),
        "alike": (edited, "correlation_target", "correlation of edited maps with their targets"),
        "others": (others, "correlation_before", "correlation of other maps with before"),
    }
    images = list(dict.fromkeys(table["image"]))
    return {
        name: (
            "image",
            part.groupby("image")[column].median().reindex(images).to_numpy(),
            {"long_name": f"median {words}"},
        )
        for name, (part, column, words) in named.items()
    }


def leave_out_unchanged(editor: Editor, source: Source, at_once: int) -> Source:
    """The images on which the edit changes anything; says which are left out.

    Raises:
        ValueError: None is left.
    """
    found = []
    for block in image_blocks(len(source.images), at_once):
        part = source.part(block)
        before, _ = editor.maps(editor.space(part), part.latents.to(editor.generator.device))
        found.append(editor.changed(before, editor.targets(before)))
    changed = np.concatenate(found)
    same = ", ".join(map(str, np.array(source.images)[~changed]))
    units = editor.edited
    names = ", ".join(names_of(units.head(4)))
    names += f" and {len(units) - 4} more" if len(units) > 4 else ""
    if not changed.any():
        raise UserError(
            f"{editor.edit.kind} changes nothing: {names} do not fire on image {same}, or their "
            "maps are already as the edit would have them. Choose other images or units."
        )
    if same:
        print(
            f"left out image {same}: {editor.edit.kind} changes nothing there, because {names} do "
            "not fire, or are already so.",
            file=sys.stderr,
        )
    return source.part(changed)


def dataset_of(editor: Editor, source: Source, arrays: dict[str, np.ndarray]) -> xr.Dataset:
    """Results of Editor.apply as they are stored."""
    axes = {"z": ("latent",), "w": ("component",), "w+": ("layer", "component")}[source.space]
    picture, heat = ("image", "rgb", "y", "x"), ("image", "shown", "heat_y", "heat_x")
    variables = {
        "source_image": ("image", np.array(source.images), {"long_name": "number in the source"}),
        "before": (picture, arrays["before"], {"long_name": "in [0, 1]"}),
        "after": (picture, arrays["after"], {"long_name": "of the optimised latent"}),
        "direct": (picture, arrays["direct"], {"long_name": "maps replaced, latent as it was"}),
        "latent": (("image", *axes), arrays["latent"]),
        "loss": (("image", "step", "term"), arrays["loss"]),
        "failed": (("image", "start"), arrays["failed"], {"long_name": "step, -1: none"}),
    }
    for name in ("before", "target", "after", "direct"):
        words = {"long_name": "share of the unit's range over the dataset"}
        variables[f"heat_{name}"] = (heat, arrays[f"heat_{name}"], words)
    if source.labels is not None:
        variables["label"] = ("image", source.labels.numpy(), {"long_name": "class index"})
    words = {"long_name": "whose maps are in heat_..."}
    variables["unit"] = (("image", "shown"), arrays["shown"], words)
    return xr.Dataset(variables, {"term": np.array(TERMS)})


def summary(table: pd.DataFrame) -> str:
    """What an edit did, in a few lines: medians over units of an image, then over images.

    Args:
        table: As Editor.measure returns it.
    """
    edited, others = table[table["edited"]], table[~table["edited"]]

    def median(part: pd.DataFrame, values: pd.Series) -> float:
        return values.groupby(part["image"]).median().median()

    levels = [f"{median(edited, edited[f'mean_{n}']):.3f}" for n in ("before", "target", "after")]
    alike = median(edited, edited["correlation_target"])
    lines = [
        f"{table['image'].nunique()} images, {len(edited[UNIT].drop_duplicates())} units edited: "
        f"moved {median(edited, edited['moved']):.2f} of the way to their targets"
        + ("" if np.isnan(alike) else f", with which they correlate at {alike:.2f}")
        + f"; mean over positions {levels[0]} before, {levels[1]} wanted, {levels[2]} after"
    ]
    if len(others):
        same = others["correlation_before"]
        lines.append(
            f"{len(others[UNIT].drop_duplicates())} other units: correlation with before "
            f"{median(others, same):.2f} ({int(same.isna().sum())} of {len(same)} maps were "
            f"flat before and have none); under the direct edit "
            f"{median(others, others['correlation_direct']):.2f}"
        )
    return "\n".join(lines) + "\nMedians over the units of an image, then over images."


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    refuse_overwriting(a.output, a.source, "--source")
    if a.threads:
        torch.set_num_threads(a.threads)
    matches, moments = matches_from(a)
    entry = find_entry(a.generator, a.zoo)
    if entry.role != "generator":
        raise UserError(f"{a.generator} is no generator: it makes no images to edit.")
    if a.generator not in moments:
        raise UserError("the moments of the generator are missing: give them as --moments X.zarr.")
    source = read_source(a.source, a.generator, entry, a.images)
    for name, own in (("space", source.space), ("truncation", source.truncation)):
        if getattr(a, name) not in (None, own):
            raise UserError(f"the latents of {a.source} have {name} {own}: leave out --{name}.")
        setattr(a, name, own)
    start = a.start or KINDS[a.edit].start
    a.similarity = a.similarity or KINDS[a.edit].similarity
    if a.starts is None:
        a.starts = RANDOM_STARTS if start == "random" else 1
    table = None
    if a.table:
        table = read_dictionary(a.table)
    elif a.concepts:
        raise UserError("--concepts are those of a table: give --table rosetta.csv.")
    own_moments = open_moments(moments[a.generator], a.generator)
    channels = {name: part.sizes["channel"] for name, part in own_moments.children.items()}
    strongest = matches.sort_values("correlation", ascending=False, kind="stable")
    matched = units_of_matches(strongest)
    if a.units:
        edited = units_named(a.units, channels)
    elif a.concepts:
        edited = units_of_concepts(a.concepts, table, a.generator)
    else:
        edited = matched
    if not len(edited):
        raise UserError("no unit to edit: give --models with their --buddies, or --units.")
    generator = load(a.generator, entry, weights_file(a.generator, entry), lease())
    mask = None
    if a.edit == "paint" and a.mask:
        mask = read_mask(a.mask, image_size(generator))
    edit = Edit(a.edit, tuple(a.shift), a.factor, a.level, mask)
    watched = None if table is None else units_of_matches(table)
    units = units_to_edit(edited, matched, a.keep, watched)
    editor = Editor(
        generator, own_moments, units, edit, settings=options_from(a, Settings), start=start
    )
    attrs = {
        "generator_digest": entry_digest(entry),
        "source": str(a.source),
        "models": a.models,
        "neighbours": a.neighbours,
        "min_correlation": a.min_correlation,
        "keep": a.keep,
    }
    if a.concepts:
        attrs["concepts"] = a.concepts
    if mask is not None:
        attrs["mask"] = str(a.mask)
    inputs = [a.source, *a.buddies, *a.moments, *([a.table] if a.table else [])]
    made_of = ingredients(inputs, origin_of(a.generator, entry))
    provenance = Provenance(
        f"edit {a.output.stem}", [a.generator, *a.models], a.source.stem, made_of, a.identity
    )
    print(
        summary(
            edit_images(
                editor, source, a.output, memory=a.memory_gb, attrs=attrs, provenance=provenance
            )
        )
    )
