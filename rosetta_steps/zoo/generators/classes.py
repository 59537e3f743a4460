"""Which class each image of a sample set shows: by index, by name, or all of them in turn."""

import numpy as np

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entries import suggestion
from rosetta_steps.zoo.entry import Entry


def class_names(entry: Entry) -> list[str]:
    """Names of a generator's classes by index; empty where its entry gives none."""
    names = entry.classes or []
    if isinstance(names, list):
        return names
    from timm.data import ImageNetInfo

    info = ImageNetInfo(names)
    return [info.index_to_description(index) for index in range(info.num_classes())]


def labels(name: str, entry: Entry, classes: int, chosen, images: int) -> np.ndarray:
    """Class indices of some images, (image) int64.

    Args:
        name: Of the generator.
        entry: Its entry, which may name its classes.
        classes: How many it has.
        chosen: An index, a name, a list of them taken in turn, or None: all in turn.
        images: How many.

    Raises:
        ValueError: It has no such class, or no classes at all.
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
    # A class of ImageNet has several names, with commas between: any of them does.
    every = {
        part.strip().casefold(): index
        for index, words in reversed(list(enumerate(names)))
        for part in (words, *words.split(","))
    }
    if text.casefold() not in every:
        way_out = suggestion(text.casefold(), list(every))[:300] if every else "Use its index."
        raise UserError(f"{name} has no class '{text}'. {way_out}")
    return every[text.casefold()]
