"""Columns, types, reading and writing of the tables of best buddies and of the dictionary.

Names are always read as text: layers "1", "1.10", "007", "nan", "NA" and "" are read as written.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.files import whole_file, write_json
from rosetta_steps.storage.manifests import (
    Provenance,
    manifest_path,
    read_manifest,
    refuse_other_models,
    step_that_writes,
)

# Kinds of columns: a text, an integer counted from 0, an integer counted from 1, a correlation, and
# any number or nothing.
NAME, INDEX, RANK, CORRELATION, NUMBER = "name", "index", "rank", "correlation", "number"

BEST_BUDDIES = {
    "layer_a": NAME,
    "channel_a": INDEX,
    "layer_b": NAME,
    "channel_b": INDEX,
    "correlation": CORRELATION,
    "rank_a": RANK,
    "rank_b": RANK,
}
DICTIONARY = {
    "concept": RANK,
    "generator": NAME,
    "generator_layer": NAME,
    "generator_channel": INDEX,
    "model": NAME,
    "layer": NAME,
    "channel": INDEX,
    "correlation": CORRELATION,
    "concept_id": NAME,
}
# Concepts of one dictionary beside those of another (matching.compared).
COMPARED = {
    "status": NAME,
    "concept_id_a": NAME,
    "concept_id_b": NAME,
    "concept_a": NUMBER,
    "concept_b": NUMBER,
    "units_a": NUMBER,
    "units_b": NUMBER,
    "shared": INDEX,
    "overlap": NUMBER,
    "strength_a": NUMBER,
    "strength_b": NUMBER,
}
# The concepts of a published dictionary and a network that joins it (sharing.joining).
JOINED = {
    "concept_id": NAME,
    "concept": RANK,
    "strength": NUMBER,
    "best_buddy": NAME,
    "generator_layer": NAME,
    "generator_channel": INDEX,
    "layer": NAME,
    "channel": NUMBER,
    "correlation": NUMBER,
    "verdict": NAME,
}
# The nearest partner of every unit of two models in the other (evidence.partners).
PARTNERS = {
    "model": NAME,
    "layer": NAME,
    "channel": INDEX,
    "partner_layer": NAME,
    "partner_channel": NUMBER,
    "correlation": NUMBER,
    "best_buddy": NAME,
    "passes": NAME,
    "decoys": INDEX,
    "decoy_buddies": INDEX,
}
# How much of each layer is shared (evidence.coverage).
COVERAGE = {
    "model": NAME,
    "layer": NAME,
    "depth": NUMBER,
    "units": INDEX,
    "silent": INDEX,
    "at_least": RANK,
    "shared": INDEX,
    "passing": INDEX,
    "by_chance": NUMBER,
}
# Units of two generators that models link, and through which of their units (evidence.links).
LINKED_PAIR = {"layer_a": NAME, "channel_a": INDEX, "layer_b": NAME, "channel_b": INDEX}
LINKS = LINKED_PAIR | {
    "model": NAME,
    "layer": NAME,
    "channel": INDEX,
    "strength": CORRELATION,
    "correlation_a": CORRELATION,
    "correlation_b": CORRELATION,
    "q_a": NUMBER,
    "q_b": NUMBER,
    "rank_a": NUMBER,
    "rank_b": NUMBER,
}
LINKED_PAIRS = LINKED_PAIR | {
    "concept_id_a": NAME,
    "concept_id_b": NAME,
    "concept_models": RANK,
    "models": RANK,
    "strength": CORRELATION,
    "mean_reciprocal_rank": NUMBER,
    "q": NUMBER,
}
LINKED_UNITS = {
    "side": NAME,
    "layer": NAME,
    "channel": INDEX,
    "concept_id": NAME,
    "status": NAME,
    "partner_layer": NAME,
    "partner_channel": NUMBER,
    "models": INDEX,
    "strength": NUMBER,
    "q": NUMBER,
    "nearest": NUMBER,
}
# Whether the models of a concept fire on the same images (evidence.firing).
FIRING = {
    "concept_id": NAME,
    "concept": RANK,
    "at_least": RANK,
    "images": INDEX,
    "share": NUMBER,
    "by_chance": NUMBER,
    "entropy": NUMBER,
}
# What speaks for each best buddy (rosetta_steps.evidence).
EVIDENCE = {
    "layer_a": NAME,
    "channel_a": INDEX,
    "layer_b": NAME,
    "channel_b": INDEX,
    "correlation": CORRELATION,
    "where": NUMBER,
    "amount": NUMBER,
    "place": NUMBER,
    "q": NUMBER,
    "q_place": NUMBER,
    "low": NUMBER,
    "high": NUMBER,
    "held_out": NUMBER,
    "without_top_images": NUMBER,
    "top_positions": NUMBER,
    "partial_low_level": NUMBER,
    "untrained_excess": NUMBER,
    "rotation_excess": NUMBER,
    "one_unit_share": NUMBER,
    "verdict": NAME,
}
# Best buddies with a model beside those with its untrained copies (rosetta_steps.untrained).
UNTRAINED = {
    "figure": NAME,
    "kind": NAME,
    "trained": NUMBER,
    "untrained_mean": NUMBER,
    "untrained_lowest": NUMBER,
    "untrained_highest": NUMBER,
    "networks": INDEX,
    "share": NUMBER,
}
# Plain names of units that low-level features explain (rosetta_steps.names).
NAMES = {
    "model": NAME,
    "layer": NAME,
    "channel": INDEX,
    "name": NAME,
    "feature": NAME,
    "r": NUMBER,
    "explained": NUMBER,
}
# The best label of every unit of a dictionary, and whether it stands (labelling.table).
LABELS = {
    "model": NAME,
    "layer": NAME,
    "channel": INDEX,
    "best_label": NAME,
    "source": NAME,
    "score": NUMBER,
    "runner_up": NAME,
    "runner_up_score": NUMBER,
    "images": NUMBER,
    "by_chance": NUMBER,
    "p": NUMBER,
    "q": NUMBER,
    "score_with_labels_missing": NUMBER,
    "missing_falls": NUMBER,
    "score_with_extra_labels": NUMBER,
    "extra_falls": NUMBER,
    "verdict": NAME,
}
LABEL = "label"  # verdict of a label that stands; any other says what speaks against it
# Every unit of the generator against chance, by its strongest best buddy (evidence.agreement).
EVIDENCE_OF_UNITS = {"layer": NAME, "channel": INDEX, "left": NUMBER, "p": NUMBER}
# What becomes of best buddies on other images (evidence.replicated_pairs), and how many survive
# (evidence.replication).
REPLICATED_PAIRS = {
    "comparison": NAME,
    "layer_a": NAME,
    "channel_a": INDEX,
    "layer_b": NAME,
    "channel_b": INDEX,
    "correlation": CORRELATION,
    "confirmed": NUMBER,
    "survived": INDEX,
    "rank_a": NUMBER,
    "rank_b": NUMBER,
    "difference_low": NUMBER,
    "difference_high": NUMBER,
    "deviation_ratio_a": NUMBER,
    "deviation_ratio_b": NUMBER,
    "where_share": NUMBER,
    "depth_a": NUMBER,
    "depth_b": NUMBER,
}
REPLICATION = {
    "comparison": NAME,
    "sample_set": NAME,
    "images": INDEX,
    "model": NAME,
    "grouping": NAME,
    "group": NAME,
    "above": NUMBER,
    "up_to": NUMBER,
    "pairs": INDEX,
    "survived": INDEX,
    "share": NUMBER,
    "share_low": NUMBER,
    "share_high": NUMBER,
    "mean_reciprocal_rank_a": NUMBER,
    "mean_reciprocal_rank_b": NUMBER,
    "median_difference": NUMBER,
    "survivors_difference": NUMBER,
    "survivors_difference_low": NUMBER,
    "survivors_difference_high": NUMBER,
    "median_deviation_ratio_a": NUMBER,
    "median_deviation_ratio_b": NUMBER,
}
# What clamping a generator's unit does to its match (interventions.table).
INTERVENTIONS = {
    "concept": RANK,
    "generator_layer": NAME,
    "generator_channel": INDEX,
    "layer": NAME,
    "channel": INDEX,
    "correlation": CORRELATION,
    "images": RANK,
    "controls": INDEX,
    "level": NUMBER,
    "clamp_effect": NUMBER,
    "clamp_outside": NUMBER,
    "clamp_rank": RANK,
    "clamp_p": NUMBER,
    "clamp_q": NUMBER,
    "clamp_change": NUMBER,
    "clamp_control": NUMBER,
    "clamp_control_change": NUMBER,
    "clamp_control_effect": NUMBER,
    "silence_effect": NUMBER,
    "silence_outside": NUMBER,
    "silence_rank": RANK,
    "silence_p": NUMBER,
    "silence_q": NUMBER,
    "silence_change": NUMBER,
    "silence_control": NUMBER,
    "silence_control_change": NUMBER,
    "silence_control_effect": NUMBER,
    "verdict": NAME,
    "concept_id": NAME,
}
# Columns that identify a pair of units, which must have only one row.
ONE_ROW = {
    "units": ["layer", "channel"],
    "best buddies": ["layer_a", "channel_a", "layer_b", "channel_b"],
    "dictionary": ["generator_layer", "generator_channel", "model", "layer", "channel"],
    "partners": ["model", "layer", "channel"],
    "coverage": ["model", "layer", "at_least"],
    "firing": ["concept", "at_least"],
    "untrained": ["figure"],
    "names": ["model", "layer", "channel"],
    "labels": ["model", "layer", "channel"],
    "replicated pairs": ["comparison", "layer_a", "channel_a", "layer_b", "channel_b"],
    "replication": ["comparison", "model", "grouping", "group"],
    "interventions": ["concept"],
}
BEYOND_ONE = 1e-5  # how far rounding may carry a correlation beyond 1 or -1


def write_table(table: pd.DataFrame, path: Path, provenance: Provenance | None = None) -> None:
    """Write a table as CSV, atomically, and its manifest with a digest of the content.

    Args:
        table: Table to write.
        path: Path of the file X.csv.
        provenance: Origin of the table; None writes no manifest, for files that no step reads.

    Raises:
        StoreError: The disk is full.
    """
    path = Path(path)
    text = table.to_csv(index=False).encode()
    manifest_path(path).unlink(missing_ok=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(text)
    if provenance is not None:
        state = provenance.state(path) | {"rows": len(table), "digest": _sha256(text)}
        write_json(manifest_path(path), state)


def read_best_buddies(path: Path, models: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the best buddies of two models: columns BEST_BUDDIES, one row for each pair.

    Args:
        path: Path of the table, as rosetta_steps.best_buddies writes it.
        models: Names of the two models that the table must describe; None accepts any.

    Raises:
        StoreError: The table is not finished, is damaged, or describes other models.
    """
    return _read(Path(path), BEST_BUDDIES, ONE_ROW["best buddies"], models)


def read_evidence(path: Path, models: Sequence[str] | None = None) -> pd.DataFrame:
    """Evidence of the best buddies of two models: EVIDENCE, a row a pair; NaN: not computed.

    Args:
        path: As rosetta_steps.evidence writes it.
        models: Names of the two, if they are known: the table must be of these.

    Raises:
        StoreError: It is not finished, damaged, or of other models.
    """
    return _read(Path(path), EVIDENCE, ONE_ROW["best buddies"], models)


def read_untrained(path: Path, models: Sequence[str] | None = None) -> pd.DataFrame:
    """Figures of best buddies with a model and its untrained copies: UNTRAINED, a row a figure.

    Args:
        path: As rosetta_steps.untrained writes it.
        models: Names of generator and model, if they are known: the table must be of these.

    Raises:
        StoreError: It is not finished, damaged, or of other models.
    """
    return _read(Path(path), UNTRAINED, ONE_ROW["untrained"], models)


def table_of_units(evidence: Path) -> Path:
    """Path of the table of units that is written with a table of evidence."""
    return evidence.parent / "units" / evidence.name


def read_evidence_of_units(path: Path, models: Sequence[str] | None = None) -> pd.DataFrame:
    """Units of the generator against chance: EVIDENCE_OF_UNITS, a row a unit; NaN: not computed.

    Args:
        path: As rosetta_steps.evidence writes it.
        models: Names of the two, if they are known: the table must be of these.

    Raises:
        StoreError: It is not finished, damaged, or of other models.
    """
    return _read(Path(path), EVIDENCE_OF_UNITS, ONE_ROW["units"], models)


def read_names(path: Path) -> pd.DataFrame:
    """Plain names of units: columns NAMES, a row a unit; the name is empty where it has none.

    Args:
        path: As rosetta_steps.names writes it.

    Raises:
        StoreError: It is not finished or damaged.
    """
    return _read(Path(path), NAMES, ONE_ROW["names"])


def read_labels(path: Path) -> pd.DataFrame:
    """The best label of every unit of a dictionary: LABELS, a row a unit.

    Only where `verdict` is LABEL is `best_label` the label of the unit.

    Args:
        path: As rosetta_steps.labels writes it.

    Raises:
        StoreError: It is not finished or damaged.
    """
    return _read(Path(path), LABELS, ONE_ROW["labels"])


def read_partners(path: Path, models: Sequence[str] | None = None) -> pd.DataFrame:
    """The nearest partner of every unit of two models: PARTNERS, a row a unit.

    Args:
        path: As rosetta_steps.partners writes it.
        models: Names of the two, if they are known: the table must be of these.

    Raises:
        StoreError: It is not finished, damaged, or of other models.
    """
    return _read(Path(path), PARTNERS, ONE_ROW["partners"], models)


def read_coverage(path: Path) -> pd.DataFrame:
    """How much of each layer is shared: COVERAGE, a row a layer and number of models.

    Args:
        path: As rosetta_steps.coverage writes it.

    Raises:
        StoreError: It is not finished or damaged.
    """
    return _read(Path(path), COVERAGE, ONE_ROW["coverage"])


def read_firing(path: Path) -> pd.DataFrame:
    """Whether the models of a concept fire together: FIRING, a row a concept and number of models.

    Args:
        path: As rosetta_steps.firing writes it.

    Raises:
        StoreError: It is not finished or damaged.
    """
    return _read(Path(path), FIRING, ONE_ROW["firing"])


def read_replicated_pairs(path: Path, models: Sequence[str] | None = None) -> pd.DataFrame:
    """Best buddies of two models on other images: REPLICATED_PAIRS, a row a comparison and pair.

    Args:
        path: As rosetta_steps.replicated_pairs writes it.
        models: Names of the two, if they are known: the table must be of these.

    Raises:
        StoreError: It is not finished, damaged, or of other models.
    """
    return _read(Path(path), REPLICATED_PAIRS, ONE_ROW["replicated pairs"], models)


def read_replication(path: Path) -> pd.DataFrame:
    """How many best buddies survive on other images: REPLICATION, a row a group of pairs.

    Args:
        path: As rosetta_steps.replication writes it.

    Raises:
        StoreError: It is not finished or damaged.
    """
    return _read(Path(path), REPLICATION, ONE_ROW["replication"])


def read_interventions(path: Path, models: Sequence[str] | None = None) -> pd.DataFrame:
    """What clamping units of a generator does to their matches: INTERVENTIONS, a row a concept.

    Args:
        path: As rosetta_steps.intervention writes it.
        models: Names of generator and model, if they are known: the table must be of these.

    Raises:
        StoreError: It is not finished, damaged, or of other models.
    """
    return _read(Path(path), INTERVENTIONS, ONE_ROW["interventions"], models)


def read_dictionary(path: Path) -> pd.DataFrame:
    """Read a dictionary: columns DICTIONARY, one row for each pair of units, ordered by concept.

    Args:
        path: Path of rosetta.csv, as rosetta_steps.concepts writes it. It may have no rows.

    Raises:
        StoreError: The table is not finished or is damaged.
    """
    return _read(Path(path), DICTIONARY, ONE_ROW["dictionary"])


def _read(
    path: Path, columns: dict[str, str], unique: list[str], models: Sequence[str] | None = None
) -> pd.DataFrame:
    state = read_manifest(path, {"digest": str, "rows": int})
    if models is not None:
        refuse_other_models(path, models)
    try:
        text = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        _refuse(path, "it is missing")
    if _sha256(text) != state["digest"]:
        _refuse(path, "its content is another than was written")
    table = parsed(text, columns)
    if isinstance(table, str):
        _refuse(path, table)
    if len(table) != state["rows"]:
        _refuse(path, f"it has {len(table)} rows instead of {state['rows']}")
    if (twice := table.duplicated(unique)).any():
        _refuse(path, f"row {int(np.flatnonzero(twice)[0]) + 2} is there twice")
    return table


def parsed(text: bytes, columns: dict[str, str]) -> pd.DataFrame | str:
    """Parse a table, or return what is wrong with it.

    Args:
        text: CSV with a header, in UTF-8.
        columns: Names and kinds of the columns, in order.
    """
    names = {name: str for name, kind in columns.items() if kind == NAME}
    empty = {name: [""] for name, kind in columns.items() if kind == NUMBER}
    try:
        table = pd.read_csv(io.BytesIO(text), dtype=names, keep_default_na=False, na_values=empty)
    except (ValueError, pd.errors.ParserError) as error:
        return f"it cannot be read ({error})"
    if list(table.columns) != list(columns):
        return f"its columns are {', '.join(map(str, table.columns))}, not {', '.join(columns)}"
    if table.empty:
        kinds = {NAME: str, CORRELATION: float, NUMBER: float}
        return table.astype({name: kinds.get(kind, int) for name, kind in columns.items()})
    for name, kind in columns.items():
        values = table[name]
        if kind == NAME:
            continue
        if values.dtype.kind not in ("iuf" if kind in (CORRELATION, NUMBER) else "iu"):
            return f"its column {name} holds {values.iloc[0]!r}, which is no {kind}"
        if kind == NUMBER:
            continue
        low, high = {INDEX: (0, np.inf), RANK: (1, np.inf)}.get(
            kind, (-1 - BEYOND_ONE, 1 + BEYOND_ONE)
        )
        if not values.between(low, high).all():
            wrong = values[~values.between(low, high)].iloc[0]
            return f"its column {name} holds {wrong}, which is no {kind}"
    return table


def _refuse(path: Path, reason: str) -> NoReturn:
    # A table without manifest counts as unfinished, so the next run writes it again.
    manifest_path(path).unlink(missing_ok=True)
    raise StoreError(f"{path} is damaged: {reason}. {step_that_writes(path)}: it is written anew.")


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
