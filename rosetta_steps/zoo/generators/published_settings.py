"""Comparison of the settings stated in a published file with the architecture of its entry.

Tensors do not reveal every setting: with another bound of the activations all names and shapes are
the same, yet the images differ. NVIDIA's pickles state settings twice (torch_utils/persistence.py;
checkpoints/modules.py reads them, and a converted file keeps them in its JSON). The keywords of the
constructor lack settings left at their default, which depends on the release. The attributes of
every module hold the values that the network really had. So the attributes take precedence.

A network class here declares where its settings are stated. `published` maps each of our keywords
to places, of which the first that states a value counts. `built_in` does the same for settings that
have a fixed value here. `absent_in_tensorflow` has the value that a keyword of ours has if a
TensorFlow file does not state it. A place is a keyword ("conv_clamp", "mapping_kwargs.num_layers"),
or a pattern of module names, a colon and an attribute ("synthesis.b*:conv_clamp"; an empty pattern
is the whole network).
"""

import inspect
import json
import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from torch import nn


def disagreement(
    name: str, file: Path, network: nn.Module, architecture: dict, settings: dict
) -> str:
    """Describe the settings in which a file contradicts the architecture of its entry.

    Args:
        name: Name of the generator.
        file: Path of its checkpoint.
        network: Network built from the architecture, with `published` and `built_in` if files of
            its family state settings.
        architecture: Architecture of the entry.
        settings: Settings of the checkpoint, as zoo.checkpoints.reading returns them.

    Returns:
        Text with file, settings, both values and what to write into the entry; empty if nothing is
        stated or nothing differs.
    """
    published, built_in = (getattr(network, kind, {}) for kind in ("published", "built_in"))
    absent = getattr(network, "absent_in_tensorflow", {})
    if not (published or built_in) or not isinstance(settings, dict):
        return ""
    bound = inspect.signature(type(network)).bind(**architecture)
    bound.apply_defaults()
    ours = bound.arguments | getattr(network, "by_kind", {})
    found, lines, fixed = [], {}, []
    for keyword, places in published.items():
        place, stated = _first(settings, places)
        if not stated and "components" in settings and keyword in absent:
            # TensorFlow files state only the arguments of the constructor.
            place, stated = places[-1], {"": absent[keyword]}
        if all(_same(value, ours[keyword]) for value in stated.values()):
            continue
        found.append(f"{_said(place, stated)}, its entry {keyword}: {_shown(ours[keyword])}")
        values = list(stated.values())
        if all(_same(value, values[0]) for value in values):
            lines[keyword] = _shown(values[0])
        else:
            fixed.append(keyword)
    for what, (value, places) in built_in.items():
        place, stated = _first(settings, places)
        if not all(_same(other, value) for other in stated.values()):
            found.append(f"{_said(place, stated)}, the network here {_shown(value)}")
            fixed.append(what)
    if not found:
        return ""
    remedy = ""
    if lines:
        written = ", ".join(f"{keyword}: {value}" for keyword, value in lines.items())
        remedy += f" Write {written} into `architecture` of {name} in config/models.yaml."
    if fixed:
        remedy += (
            f" No entry of this loader sets the {' and the '.join(fixed)} so: use another "
            "checkpoint, or a function of your own (loader: function)."
        )
    return (
        f"{name}: {file} states other settings, with which its images would be others: it has "
        f"{'; '.join(found)}.{remedy}"
    )


def _first(settings: dict, places: Iterable[str]) -> tuple[str, dict]:
    """Return the first place that states a value, and its values by module name."""
    for place in places:
        path, colon, attribute = place.rpartition(":")
        if not colon:
            keywords = _keywords(settings)
            stated = {"": keywords[place]} if place in keywords else {}
        else:
            stated = {
                module: values[attribute]
                for module, values in _dict(settings.get("attributes")).items()
                if attribute in _dict(values) and fnmatchcase(module, path)
            }
        if stated:
            return place, stated
    return "", {}


def _keywords(settings: dict) -> dict:
    """Return the keywords of the constructor; those of the synthesis network have no prefix."""
    found: dict = {}
    # The components of TensorFlow's networks have separate keywords.
    for part in (*_dict(settings.get("components")).values(), settings):
        for keyword, value in _dict(_dict(part).get("init_kwargs")).items():
            if keyword == "synthesis_kwargs":
                found |= _dict(value)
            elif keyword == "mapping_kwargs":
                found |= {f"{keyword}.{inner}": held for inner, held in _dict(value).items()}
            else:
                found[keyword] = value
    return found


def _dict(value) -> dict:
    # A file may state a value of any type.
    return value if isinstance(value, dict) else {}


def _same(one, other) -> bool:
    numbers = all(isinstance(value, int | float) for value in (one, other))
    return math.isclose(one, other, rel_tol=1e-6) if numbers else one == other


def _said(place: str, stated: dict) -> str:
    """Describe a setting by its name, its values and the first module with each."""
    values: dict[str, list[str]] = {}
    for module, value in stated.items():
        values.setdefault(_shown(value), []).append(module)
    each = [
        value + (f" (in {modules[0]})" if modules[0] else "") for value, modules in values.items()
    ]
    return f"{place.rpartition(':')[2]} {' and '.join(each[:3])}"


def _shown(value) -> str:
    return f"{json.dumps(value):.80}"  # which is YAML too
