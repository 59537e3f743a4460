"""Classes of the images of a sample set: chosen by index or name, or all classes in turn."""

import numpy as np

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entries import suggestion
from rosetta_steps.zoo.entry import Entry


def class_names(entry: Entry) -> list[str]:
    """Return the names of a generator's classes by index; empty if its entry has none."""
    names = entry.classes or []
    if isinstance(names, list):
        return names
    from timm.data import ImageNetInfo

    info = ImageNetInfo(names)
    return [info.index_to_description(index) for index in range(info.num_classes())]


def labels(name: str, entry: Entry, classes: int, chosen, images: int) -> np.ndarray:
    """Return the class indices of the images of a sample set, (image) int64.

    Args:
        name: Name of the generator.
        entry: Its entry, which may name its classes.
        classes: Number of classes of the generator.
        chosen: Index or name of a class, or a list of them that is cycled through; None cycles
            through all classes.
        images: Number of images.

    Raises:
        ValueError: The generator has no such class, or no classes at all.
    """
    if not classes:
        raise UserError(f"{name} has no classes: leave out class: {chosen}.")
    names = class_names(entry)
    if chosen is None:
        indices = list(range(classes))
    else:
        wanted = chosen if isinstance(chosen, list) else [chosen]
        indices = [_index(name, names, classes, one) for one in wanted]
    return np.resize(np.array(indices, dtype=np.int64), images)


def _index(name: str, names: list[str], classes: int, chosen) -> int:
    text = str(chosen).strip()
    if text.lstrip("-").isdigit():
        if not 0 <= int(text) < classes:
            raise UserError(f"{name} has classes 0 to {classes - 1}, not {text}.")
        return int(text)
    # A class of ImageNet has several names, separated by commas, of which any is accepted.
    every = {
        part.strip().casefold(): index
        for index, words in reversed(list(enumerate(names)))
        for part in (words, *words.split(","))
    }
    if text.casefold() not in every:
        way_out = suggestion(text.casefold(), list(every))[:300] if every else "Use its index."
        raise UserError(f"{name} has no class '{text}'. {way_out}")
    return every[text.casefold()]
