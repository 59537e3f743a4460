"""How much of a dictionary survives each test: pairs, Rosetta units, concepts."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rosetta_steps.evidence.verdicts import TESTS, failed_badges, passed, tests_made

ALL = "every test that was made"
UNIT = ["layer_a", "channel_a"]


def survival(evidence: Mapping[str, pd.DataFrame], dictionary: pd.DataFrame) -> pd.DataFrame:
    """Counts of what passes each test, and of what passes all.

    A Rosetta unit survives a test if in every model one of its best buddies passes it, a concept
    if one of its units does. A test that was not made has no row.

    Args:
        evidence: Evidence of the generator's best buddies with each model (the generator is a).
        dictionary: rosetta.csv.

    Returns:
        A row a test, the last for all of them: badge, sentence, pairs_tested, pairs, units,
        concepts.
    """
    rows = []
    all_made = {model: tests_made(table) for model, table in evidence.items()}
    for test in TESTS:
        made = {model: of_tests[test.badge] for model, of_tests in all_made.items()}
        if not any(found.any() for found in made.values()):
            continue
        survives = {
            model: made[model]
            & ~table["verdict"].map(lambda v, b=test.badge: b in failed_badges(v))
            for model, table in evidence.items()
        }
        rows.append(
            {"badge": test.badge, "sentence": test.sentence}
            | _counts(evidence, made, survives, dictionary)
        )
    everything = {model: passed(table) for model, table in evidence.items()}
    listed = {model: pd.Series(True, table.index) for model, table in evidence.items()}
    total = {"badge": ALL, "sentence": ""} | _counts(evidence, listed, everything, dictionary)
    return pd.DataFrame([*rows, total])


def passed_untested(evidence: Mapping[str, pd.DataFrame]) -> int:
    """Number of pairs that pass without some test that was made of other pairs.

    Args:
        evidence: As `survival` takes it.
    """
    made = {model: tests_made(table) for model, table in evidence.items()}
    somewhere = pd.concat(made.values()).any()
    return sum(
        int((passed(table) & ~made[model].loc[:, somewhere].all(axis=1)).sum())
        for model, table in evidence.items()
    )


def models_that_agree(evidence: Mapping[str, pd.DataFrame]) -> pd.Series:
    """Number of generator units with a surviving best buddy in at least so many models.

    Args:
        evidence: As `survival` takes it.

    Returns:
        Index 1 to the number of models.
    """
    found = [set(_units(table[passed(table)])) for table in evidence.values()]
    units = set().union(*found)
    counts = np.array([sum(unit in of_model for of_model in found) for unit in units])
    return pd.Series({least: int((counts >= least).sum()) for least in range(1, len(found) + 1)})


def surviving_units(
    evidence: Mapping[str, pd.DataFrame], survives: Mapping[str, pd.Series] | None = None
) -> set[tuple[str, int]]:
    """Generator units, layer and channel, with a surviving best buddy in every model.

    Args:
        evidence: Evidence of the generator's best buddies with each model.
        survives: Which pairs of each model survive; None: those that pass every test made.
    """
    found = [
        set(_units(table[passed(table) if survives is None else survives[model]]))
        for model, table in evidence.items()
    ]
    return set.intersection(*found) if found else set()


def _units(table: pd.DataFrame) -> list[tuple]:
    return list(table[UNIT].itertuples(index=False, name=None))


def _counts(
    evidence: Mapping[str, pd.DataFrame],
    made: Mapping[str, pd.Series],
    survives: Mapping[str, pd.Series],
    dictionary: pd.DataFrame,
) -> dict[str, int]:
    both = surviving_units(evidence, survives)
    units = list(
        dictionary[["generator_layer", "generator_channel"]].itertuples(index=False, name=None)
    )
    kept = dictionary[np.array([unit in both for unit in units], bool)]
    return {
        "pairs_tested": int(sum(of.sum() for of in made.values())),
        "pairs": int(sum(of.sum() for of in survives.values())),
        "units": len(set(units) & both),
        "concepts": int(kept["concept"].nunique()),
    }
