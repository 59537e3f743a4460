"""What a sample set asks of its generator, held against the generator's entry before anything runs.

Nothing here imports torch: the workflow checks its config while it is parsed.
"""

from csv import reader
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.generators.classes import labels
from rosetta_steps.zoo.loaders import family_of


def check_sampling(name: str, entry: Entry, chosen_class=None, truncation: float = 1.0) -> None:
    """Refuse a class or a truncation that a generator does not have, as far as its entry says.

    What only its checkpoint or a function of the user's knows is left to the sample job.

    Args:
        name: Of the generator.
        entry: Its entry.
        chosen_class: Index or name, or a list of them; None: all in turn.
        truncation: psi; 1 is none.

    Raises:
        ValueError: It has no such class, or cannot be truncated so.
    """
    family = family_of(entry.loader)
    if family and truncation != 1:
        if not family.truncates:
            raise UserError(
                f"{name} cannot be truncated ({entry.loader} has no mean of w): "
                f"leave out truncation: {truncation}."
            )
        if family.truncation_scales_z and truncation == 0:
            raise UserError(f"truncation {truncation} of {name} is not above 0 and at most 1.")
    if chosen_class is None:
        return
    names, count = known_names(entry), number_of_classes(entry)
    for one in chosen_class if isinstance(chosen_class, list) else [chosen_class]:
        is_index = str(one).strip().lstrip("-").isdigit()
        if count == 0 or (count is not None and is_index) or (names is not None and not is_index):
            named = replace(entry, classes=names or [])
            labels(name, named, count or len(names or []), one, images=1)


def number_of_classes(entry: Entry) -> int | None:
    """How many classes a generator has; None where its entry does not say."""
    names, family = entry.classes, family_of(entry.loader)
    if family and isinstance(entry.architecture, dict):
        count = entry.architecture.get("classes", family.classes)
        return count if isinstance(count, int) else None  # the fault is said when it is built
    return len(names) if isinstance(names, list) else None


def known_names(entry: Entry) -> list[str] | None:
    """Names of the classes by index, empty where the entry gives none; None where timm must say.

    timm's own reader of its lists imports torch, so the list of ImageNet-1k is read beside it.
    """
    names = entry.classes or []
    if isinstance(names, list):
        return names
    found = find_spec("timm") if names == "imagenet-1k" else None
    if found is None:
        return None
    assert found.submodule_search_locations, "timm is a package"
    folder = Path(found.submodule_search_locations[0], "data", "_info")
    try:
        synsets = (folder / "imagenet_synsets.txt").read_text("utf-8").split()
        lines = (folder / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
        words = dict(reader(lines, delimiter="\t"))
        return [words[synset] for synset in synsets]
    except (OSError, KeyError, ValueError):  # another version of timm: the sample job will say
        return None
