"""Validation of a sample set's settings against its generator's entry, before any job runs.

This module does not import torch, because the workflow validates its config while it is parsed.
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
    """Refuse a class or truncation that a generator does not support, as far as its entry tells.

    What depends on its checkpoint or on a user's function is checked by the sample job.

    Args:
        name: Name of the generator.
        entry: Its entry.
        chosen_class: Index or name of a class, or a list of them; None for all in turn.
        truncation: Truncation psi; 1 means no truncation.

    Raises:
        ValueError: The generator has no such class or does not support the truncation.
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
    """Return the number of classes of a generator; None if its entry does not give it."""
    names, family = entry.classes, family_of(entry.loader)
    if family and isinstance(entry.architecture, dict):
        count = entry.architecture.get("classes", family.classes)
        return count if isinstance(count, int) else None  # the fault is said when it is built
    return len(names) if isinstance(names, list) else None


def known_names(entry: Entry) -> list[str] | None:
    """Return the names of the classes by index; None if only timm knows them.

    The list is empty if the entry has no names. The list of ImageNet-1k is read directly from
    timm's files, because timm's own reader imports torch.
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
    except (OSError, KeyError, ValueError):  # timm's files differ: the sample job checks
        return None
