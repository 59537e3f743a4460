"""The nearest partner of every unit, whether it is a best buddy, and how many are by chance."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.evidence.chance import decoy_stores
from rosetta_steps.evidence.verdicts import passed
from rosetta_steps.matching.best_buddies import nearest_both_ways, table_of
from rosetta_steps.matching.tables import PARTNERS, read_evidence, write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

KIND = "partners"
YES, NO = "yes", "no"
UNIT = ["layer", "channel"]


def write_partners(
    correlations: Path, evidence: Path, output: Path, neighbours: int, identity: str | None = None
) -> None:
    """Write the partners of every unit of two models.

    Args:
        correlations: Store of both.
        evidence: Table of their best buddies.
        output: X.csv to write.
        neighbours: K with which the best buddies were mined.
        identity: As Provenance has it.

    Raises:
        StoreError: An input is damaged, or they do not belong together.
    """
    made_of = ingredients([correlations, evidence])
    state = read_manifest(correlations)
    with open_dataset(correlations) as store:
        table = partners_of(store, read_evidence(evidence, state["models"]), neighbours)
    provenance = Provenance(KIND, state["models"], state["sample_set"], made_of, identity)
    write_table(table, output, provenance)


def partners_of(correlations: xr.Dataset, evidence: pd.DataFrame, neighbours: int) -> pd.DataFrame:
    """The nearest partner of every unit of two models in the other.

    Args:
        correlations: Of both, with decoys where there are some.
        evidence: Of their best buddies.
        neighbours: K with which these were mined.

    Returns:
        As PARTNERS, the units of a, then those of b, in the order of the store. A unit that never
        varies has no partner.
    """
    decoys = [table_of(decoy, neighbours) for decoy in usable_decoys(correlations)]
    good = evidence[passed(evidence)]
    sides = []
    both_ways = nearest_both_ways(correlations, 1)
    for near, own, other in zip(both_ways, "ab", "ba", strict=True):
        partner = near.partner[:, 0]
        there = partner >= 0
        table = pd.DataFrame(
            {
                "model": correlations.attrs[f"model_{own}"],
                "layer": correlations[f"layer_{own}"].values.astype(str).astype(object),
                "channel": correlations[f"channel_{own}"].values,
                "partner_layer": np.where(
                    there, correlations[f"layer_{other}"].values.astype(str)[partner], ""
                ).astype(object),
                "partner_channel": pd.array(correlations[f"channel_{other}"].values[partner]),
                "correlation": near.correlation[:, 0],
            }
        ).astype({"partner_channel": "Int64"})
        table.loc[~there, "partner_channel"] = pd.NA
        units = pd.MultiIndex.from_frame(table[UNIT])
        named = [f"layer_{own}", f"channel_{own}"]
        for column, rows in (("best_buddy", evidence), ("passes", good)):
            has = units.isin(pd.MultiIndex.from_frame(rows[named]))
            table[column] = np.where(has, YES, NO)
        table["decoys"] = len(decoys)
        table["decoy_buddies"] = sum(
            (units.isin(pd.MultiIndex.from_frame(rows[named])).astype(int) for rows in decoys),
            start=np.zeros(len(units), int),
        )
        sides.append(table)
    return pd.concat(sides, ignore_index=True)[list(PARTNERS)]


def usable_decoys(correlations: xr.Dataset) -> list[xr.Dataset]:
    """Decoys of a store, if most images could be moved in them (evidence.table.decoys_of)."""
    stay = correlations.attrs.get("decoy_images_that_stay", 0)
    return [] if 2 * stay > correlations.attrs["images"] else list(decoy_stores(correlations))


def of_both(tables: Mapping[str, pd.DataFrame], generator: str) -> pd.DataFrame:
    """What each unit of the generator has in each model, in one table.

    Args:
        tables: Model to its partners with the generator.
        generator: Its name.

    Returns:
        Rows of the generator, the column `other` with the model.
    """
    parts = [t[t["model"] == generator].assign(other=model) for model, t in tables.items()]
    return pd.concat(parts, ignore_index=True)


def shared_by(
    tables: Mapping[str, pd.DataFrame], generator: str, by: Sequence[str], not_by: Sequence[str]
) -> pd.DataFrame:
    """Units of the generator that some models share and others do not.

    Args:
        tables: Model to its partners with the generator.
        generator: Its name.
        by: Models that have the unit.
        not_by: Models that do not; may be empty.

    Returns:
        A row a unit that varies, the largest delta first: layer, channel; `delta`, the least r with
        a nearest partner in `by` less the greatest in `not_by`; these two, `least` and `greatest`;
        `buddies_by` and `buddies_not_by`, in how many of each it has a best buddy. Without
        `not_by`, delta is the least and `greatest` NaN.

    Raises:
        ValueError: A model is not among the tables, or on both sides.
    """
    by, not_by = list(dict.fromkeys(by)), list(dict.fromkeys(not_by))
    if unknown := sorted({*by, *not_by} - set(tables)):
        raise UserError(f"no partners of {unknown[0]}: there are those of {', '.join(tables)}.")
    if both := sorted(set(by) & set(not_by)):
        raise UserError(f"{both[0]} cannot have a unit and not have it: leave it out of one side.")
    if not by:
        raise UserError("shared by no model: name at least one.")
    rows = of_both(tables, generator)
    r = rows.pivot(index=UNIT, columns="other", values="correlation")
    has = rows.pivot(index=UNIT, columns="other", values="best_buddy") == YES
    found = pd.DataFrame({"least": r[by].min(axis=1, skipna=False)})
    found["greatest"] = r[not_by].max(axis=1) if not_by else np.nan
    found["delta"] = found["least"] - found["greatest"] if not_by else found["least"]
    found["buddies_by"] = has[by].sum(axis=1)
    found["buddies_not_by"] = has[not_by].sum(axis=1)
    found = found.dropna(subset=["delta"]).sort_values("delta", ascending=False, kind="stable")
    columns = ["delta", "least", "greatest", "buddies_by", "buddies_not_by"]
    return found[columns].reset_index()


def only_in(tables: Mapping[str, pd.DataFrame], model: str) -> pd.DataFrame:
    """Units of a model that vary and have no best buddy in the generator.

    Args:
        tables: Model to its partners with the generator.
        model: Which.

    Returns:
        Rows of PARTNERS, the unit with the weakest nearest partner first.

    Raises:
        ValueError: The model is not among the tables.
    """
    if model not in tables:
        raise UserError(f"no partners of {model}: there are those of {', '.join(tables)}.")
    rows = tables[model]
    rows = rows[(rows["model"] == model) & (rows["best_buddy"] == NO)].dropna(subset="correlation")
    return rows.sort_values("correlation", kind="stable", ignore_index=True)
