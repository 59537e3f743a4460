"""A network of one's own against a published dictionary, without its zoo or its generator.

The network runs on the bundle's images; its units are correlated with every unit of the generator,
whose maps the bundle has. All is computed as the workflow does, so that a model of the zoo gets
exactly the matches that it has in the dictionary.
"""

import argparse
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import torch
import xarray as xr

from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.step import correlate
from rosetta_steps.display.dictionary import write_page
from rosetta_steps.display.reading import open_dictionary
from rosetta_steps.evidence.image_sums import measure
from rosetta_steps.evidence.settings import Evidence
from rosetta_steps.evidence.table import write_evidence
from rosetta_steps.maps.activations import dump
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.matching.best_buddies import nearest_both_ways, write_best_buddies
from rosetta_steps.matching.tables import (
    DICTIONARY,
    JOINED,
    read_best_buddies,
    read_evidence,
    write_table,
)
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.sharing.bundle import SUMS
from rosetta_steps.sharing.opening import Bundle, open_bundle
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.digests import digest_of, sha256_of
from rosetta_steps.storage.manifests import (
    Provenance,
    identity_recorded,
    ingredients,
    read_manifest,
)
from rosetta_steps.storage.revisions import revision
from rosetta_steps.workflow.recipes import FILES, MANIFEST
from rosetta_steps.zoo.entries import entry_digest, find_entry, layer_patterns

UNIT = ["generator_layer", "generator_channel"]
STEPS = ("activations", "correlation.step", "best_buddies", "image_sums", "evidence.table")
NAMED = 12  # concepts that a message names
KEEP_NEAREST = "nearest"
EVIDENCE_LACKS = "spread"  # of evidence: needs the covariances of all units, which join leaves out


@dataclass(frozen=True)
class Join:
    """A network, the dictionary it joins, and where what is computed goes.

    Attributes:
        model: Name of the network in the zoo.
        zoo: File with its entry.
        bundle: The dictionary.
        output: Folder to write, laid out as results of the workflow.
        threads: Cores to use.
    """

    model: str
    zoo: str | Path
    bundle: Bundle
    output: Path
    threads: int

    @property
    def generator(self) -> str:
        """Name of the generator, or of image files the first model."""
        return self.bundle.models[0]

    @property
    def identity(self) -> str:
        """What everything follows from: the bundle, the network and its weights, the code."""
        entry = find_entry(self.model, self.zoo)
        bundle = sha256_of(self.bundle.folder / SUMS)
        return digest_of([bundle, entry_digest(entry), [revision(step) for step in STEPS]])

    def published(self, kind: str, **names: str) -> Path:
        """Path of an artefact of the bundle."""
        return self._path(self.bundle.folder, kind, names)

    def own(self, kind: str) -> Path:
        """Path of an artefact of the network, beside the generator where it is of both."""
        names = {"model": self.model, "a": self.generator, "b": self.model}
        return self._path(self.output, kind, names)

    def _path(self, folder: Path, kind: str, names: dict[str, str]) -> Path:
        file = FILES[kind].format(sample_set=self.bundle.sample_set, **names)
        return folder / file.removesuffix(MANIFEST)

    def missing(self, *kinds: str) -> bool:
        """Whether artefacts of the network have to be made, or made anew."""
        paths = [self.own(kind) for kind in kinds]
        return any(not p.exists() or identity_recorded(p) != self.identity for p in paths)


def join(task: Join) -> pd.DataFrame:
    """Match a network with the concepts of a dictionary, and write what is found.

    What an earlier run of the same has finished is kept.

    Returns:
        A row a concept, as JOINED, in the order of their ranks.

    Raises:
        StoreError: The bundle is damaged, or has no maps of all units of the generator.
        ValueError: The network, its weights or its layers cannot be used.
    """
    if task.model == task.generator:
        raise UserError(
            f"{task.model} is what the concepts of this dictionary are units of: join another one."
        )
    settings, identity = task.bundle.about["settings"], task.identity
    samples = task.published("samples")
    maps = task.published("activations", model=task.generator), task.own("activations")
    moments = task.published("moments", model=task.generator), task.own("moments")
    if not maps[0].is_dir():
        raise UserError(
            f"{task.bundle.folder} has no maps of every unit of {task.generator}, without which "
            "nobody can tell whose best buddies they are: it was mined with `store: matched`."
        )
    known = {field.name for field in fields(Correlation)}
    correlating = Correlation(
        **{key: value for key, value in settings["correlation"].items() if key in known}
    )
    if task.missing("activations", "moments"):
        dump(
            stream_of(task, samples),
            settings["activations"]["images_per_shard"],
            *(maps[1], moments[1]),
            splits=correlating.splits,
            identity=identity,
            identity_of_moments=identity,
        )
    neighbours = settings["neighbours"]
    if task.missing("correlations"):
        keep = settings["correlation"].get("keep")
        correlate(
            *(*maps, *moments, task.own("correlations")),
            samples=samples,
            settings=correlating,
            threads=task.threads,
            nearest=neighbours if keep == KEEP_NEAREST else 0,
            identity=identity,
        )
    if task.missing("best_buddies"):
        write_best_buddies(task.own("correlations"), neighbours, task.own("best_buddies"), identity)
    if task.missing("image_sums"):
        buddies, sums = task.own("best_buddies"), task.own("image_sums")
        measure(maps, moments, buddies, samples, sums, identity=identity)
    if task.missing("evidence"):
        write_evidence(
            task.own("correlations"),
            task.own("best_buddies"),
            moments,
            task.own("image_sums"),
            task.own("evidence"),
            neighbours=neighbours,
            settings=replace(Evidence(**settings["evidence"]), **{EVIDENCE_LACKS: False}),
            identity=identity,
        )
    return write_joined(task, samples, maps, moments)


def stream_of(task: Join, samples: Path) -> Stream:
    """The network on the bundle's images."""
    settings = task.bundle.about["settings"]
    entry = find_entry(task.model, task.zoo)
    device = lease()
    state = describe(
        task.model,
        task.zoo,
        samples,
        layer_patterns(entry, settings["sample_set"]["layers"], task.model),
        dtype=settings["activations"]["dtype"],
        images_per_shard=settings["activations"]["images_per_shard"],
        device=device,
    )
    return Stream(state, device)


def write_joined(
    task: Join, samples: Path, maps: tuple[Path, Path], moments: tuple[Path, Path]
) -> pd.DataFrame:
    """Write the network's rows of the dictionary, the table of concepts and the page."""
    pair = [task.generator, task.model]
    buddies = read_best_buddies(task.own("best_buddies"), pair)
    evidence = read_evidence(task.own("evidence"), pair)
    rows = rows_of(task.bundle.dictionary, buddies, task.model)
    made_of = ingredients([task.own("best_buddies")])
    set_name = read_manifest(samples)["sample_set"]
    provenance = Provenance("dictionary", pair, set_name, made_of, task.identity)
    write_table(rows, task.own("concepts"), provenance)
    with open_dataset(task.own("correlations")) as correlations:
        found = concepts_of(task.bundle.dictionary, rows, evidence, correlations)
    write_table(found, task.output / "concepts.csv")
    dictionary = open_dictionary(
        task.own("concepts"), samples, maps, moments, evidence=[task.own("evidence")]
    )
    write_page(
        dictionary,
        task.output / "index.html",
        settings=f"the concepts of {task.bundle.sample_set}: {in_words(found, task.model)}",
        identity=task.identity,
    )
    return found


def rows_of(published: pd.DataFrame, buddies: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows of a dictionary for a network: best buddies with the units of its concepts.

    Args:
        published: The dictionary.
        buddies: Best buddies of its generator (a) with the network (b).
        model: Name of the network.

    Returns:
        As DICTIONARY, with the concepts of the published one.
    """
    kept = ["concept", "generator", *UNIT, "concept_id"]
    units = published[kept].drop_duplicates(UNIT, ignore_index=True)
    units["place"] = np.arange(len(units))
    names = dict(zip(["layer_a", "channel_a", "layer_b", "channel_b"],
                     [*UNIT, "layer", "channel"], strict=True))  # fmt: skip
    rows = units.merge(buddies.rename(columns=names), on=UNIT).assign(model=model)
    order = ["place", "correlation", "layer", "channel"]
    rows = rows.sort_values(order, ascending=[True, False, True, True], ignore_index=True)
    return rows[list(DICTIONARY)]


def concepts_of(
    published: pd.DataFrame, rows: pd.DataFrame, evidence: pd.DataFrame, correlations: xr.Dataset
) -> pd.DataFrame:
    """What a network has of each concept: its strongest best buddy, or else its best partner.

    Args:
        published: The dictionary.
        rows: The network's rows, as rows_of gives them.
        evidence: Of its best buddies.
        correlations: Of the generator with the network.

    Returns:
        A row a concept, as JOINED. Where none of a concept's units has a best buddy in the network,
        the partner is that which correlates most with the unit that the concept is called after.
    """
    first = published.drop_duplicates("concept", ignore_index=True)
    keys = [*UNIT, "model"]
    strengths = published.groupby(keys)["correlation"].max().groupby(UNIT).mean()
    strength = strengths.loc[pd.MultiIndex.from_frame(first[UNIT])].to_numpy()
    found = first[["concept_id", "concept", *UNIT]].assign(strength=strength, best_buddy="no")
    partners = _nearest_partners(found, correlations)
    for column, values in partners.items():
        found[column] = values
    found["verdict"] = ""
    tested = evidence.set_index(["layer_a", "channel_a", "layer_b", "channel_b"])["verdict"]
    strongest = rows.sort_values("correlation", ascending=False, kind="stable")
    strongest = strongest.drop_duplicates("concept").set_index("concept")
    for place, concept in enumerate(found["concept"]):
        if concept in strongest.index:
            row = strongest.loc[concept]
            pair = (*row[UNIT], row["layer"], row["channel"])
            found.loc[place, [*UNIT, "layer", "channel"]] = pair
            found.loc[place, ["correlation", "best_buddy", "verdict"]] = (
                row["correlation"], "yes", tested[pair],
            )  # fmt: skip
    return found.astype({"channel": "Int64"})[list(JOINED)]


def _nearest_partners(units: pd.DataFrame, correlations: xr.Dataset) -> dict[str, list]:
    names = zip(
        correlations["layer_a"].values.astype(str), correlations["channel_a"].values, strict=True
    )
    place = {unit: index for index, unit in enumerate(names)}
    near = nearest_both_ways(correlations, 1)[0]
    chosen = [place[unit] for unit in units[UNIT].itertuples(index=False, name=None)]
    partner, r = near.partner[chosen, 0], near.correlation[chosen, 0]
    layers = correlations["layer_b"].values.astype(str)
    channels = correlations["channel_b"].values
    return {
        "layer": [layers[one] if one >= 0 else "" for one in partner],
        "channel": [int(channels[one]) if one >= 0 else pd.NA for one in partner],
        "correlation": [float(one) for one in r],
    }


def in_words(found: pd.DataFrame, model: str) -> str:
    """How many concepts a network has.

    Args:
        found: As concepts_of gives it.
        model: Name of the network.
    """
    lacking = list(found[found["best_buddy"] == "no"]["concept_id"])
    has = f"{model} has best buddies in {len(found) - len(lacking)} of {len(found)} concepts"
    if not lacking:
        return has
    more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
    return f"{has}, and none in {', '.join(lacking[:NAMED])}{more} (concepts.csv)"


def carry_out(a: argparse.Namespace) -> None:
    """Join the network that a command line names."""
    if a.threads < 1:
        raise UserError(f"--threads is {a.threads}: give at least 1.")
    torch.set_num_threads(a.threads)
    numba.set_num_threads(a.threads)
    bundle = open_bundle(a.bundle)
    output = a.output or Path("joined", f"{a.model}--{bundle.sample_set}")
    try:
        found = join(Join(a.model, a.zoo, bundle, output, a.threads))
    except StoreError as error:
        raise StoreError(
            f"{error} If it lies in {output}: delete that folder, and join again makes it."
        ) from None
    print(f"{in_words(found, a.model)}.\n{output / 'index.html'}")
