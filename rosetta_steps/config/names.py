"""Rules for the names of models, sample sets, inversions, tables, edits, figures and presets.

A name becomes part of paths, a Snakemake wildcard and an option of a step.
"""

import re

LONGEST = 80  # two of them and an ending make a file name, of which 255 bytes are allowed
PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
IN_WORDS = (
    f"A name has letters from A to Z, digits, '.', '_' and '-', begins with a letter, a digit or "
    f"'_' and has at most {LONGEST} characters"
)
ENDINGS = (
    ".zarr", ".csv", ".json", ".yaml", ".yml", ".txt", ".png", ".pdf", ".webp", ".html", ".log",
    ".tsv", ".done", ".partial", ".lock",
)  # fmt: skip
UNTRAINED = ".untrained-"  # between a model and the seed of its untrained copy
# Names that would be ambiguous, because they mean something else in the same place.
RESERVED = {
    "model": {
        "all": "the arm that all models guide",
        "each": "an arm of each model",
        "reconstruction": "the arm without matches",
        "lpips": "a perceptual distance",
    },
    "preset": {"all": "every layer of a model"},
    "inversion": {"edits": "the folder of figures of edits"},
    "sample set": {"edits": "the folder of figures of edits"},
}


def problem_of(kind: str, name) -> str | None:
    """Return what is wrong with a name, in a sentence or two; None if it is allowed.

    Args:
        kind: "model", "sample set", "inversion", "table", "edit", "figure" or "preset".
        name: The name as the file gives it, of any type.
    """
    if not isinstance(name, str):
        return f"no {kind} can be called {name}, which is no text. Put it in quotes: '{name}'."
    shown = ascii(name) if len(name) <= 60 else f"{ascii(name[:40])}... ({len(name)} characters)"
    if len(name) > LONGEST or not PATTERN.match(name):
        return f"no {kind} can be called {shown}. {IN_WORDS}."
    if ending := next((e for e in ENDINGS if name.lower().endswith(e)), None):
        return f"no {kind} can be called {shown}: it ends like a file ({ending}). Leave that out."
    if meaning := RESERVED.get(kind, {}).get(name):
        return f"no {kind} can be called {shown}, which is {meaning}. Take another name."
    if kind == "model" and ("--" in name or name.endswith("-")):
        return (
            f"no model can be called {shown}: 'a--b' is a pair of models, so a model has no '--' "
            "and no '-' at its end. Take another name."
        )
    if kind == "model" and split_untrained(name)[1] is not None:
        return (
            f"no model can be called {shown}, which is an untrained copy of "
            f"{split_untrained(name)[0]}: `untrained: 3` in a sample set compares its models with "
            "three. Take another name."
        )
    return None


def untrained_name(model: str, seed: int) -> str:
    """Return the name of a model's untrained copy, whose weights a seed decides."""
    return f"{model}{UNTRAINED}{seed}"


def split_untrained(name: str) -> tuple[str, int | None]:
    """Return the model that a name is of, and the seed if it is that of an untrained copy."""
    model, mark, seed = name.rpartition(UNTRAINED)
    return (model, int(seed)) if mark and model and seed.isdecimal() else (name, None)


def clash_of_tables(names) -> str | None:
    """Return an error text if the file of one table is also an extra file of another, else None."""
    for name in names:
        for ending in ("-images", "-tests"):
            if f"{name}{ending}" in names:
                return (
                    f"table {name}{ending} would be the file that stands beside table {name}. Take "
                    "another name."
                )
    return None


def refusal_of_rank(rank: int | str, meant: str | None) -> str:
    """Return the message that refuses a concept named by its rank in a dictionary.

    Args:
        rank: What was given.
        meant: Id of the concept that has this rank in the dictionary that is there, if any has.
    """
    return (
        f"{rank} is a rank, which is another concept's as soon as models, K or images change. "
        "Write the concept's id, its strongest unit of the generator (concept_id in rosetta.csv): "
        + (f"'{meant}' has that rank now." if meant else "none has that rank now.")
    )
