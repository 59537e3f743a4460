"""What models, sample sets, inversions, tables, edits and figures may be called.

A name becomes a part of paths, a wildcard of Snakemake and an option of a step.
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
# What else means something where such a name stands.
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
    """What is wrong with a name, in a sentence or two; None if nothing is.

    Args:
        kind: "model", "sample set", "inversion", "table", "edit", "figure" or "preset".
        name: As a file says it.
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
    return None


def clash_of_tables(names) -> str | None:
    """A table whose file is also one that stands beside another table; None if there is none."""
    for name in names:
        for ending in ("-images", "-tests"):
            if f"{name}{ending}" in names:
                return (
                    f"table {name}{ending} would be the file that stands beside table {name}. Take "
                    "another name."
                )
    return None
