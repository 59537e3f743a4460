"""Advice on tensors that do not fit an architecture: the likely cause and the entry's fix."""

import json
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

from rosetta_steps.zoo.checkpoints.differences import SHOWN, differences
from rosetta_steps.zoo.checkpoints.shards import shard_of
from rosetta_steps.zoo.entry import Weights

COUNTER = "num_batches_tracked"
BOUNDARIES = "._/:-"
# Parts of names by which checkpoints of Hugging Face transformers are recognised.
HUGGING_FACE = (
    "patch_embeddings.projection.",
    "vision_model.",
    "text_model.",
    "encoder.layer.",
    "embedder.embedder.",
)
CLASSIFIERS = ("fc.*", "head.*", "head_dist.*", "classifier.*", "*.fc.weight", "*.fc.bias")

Shapes = dict[str, tuple[int, ...]]


def advice(
    name: str, own: Shapes, found: Shapes, *, source: Weights, path: Path | None, counters: set[str]
) -> str:
    """Return the probable reason why a checkpoint does not fit, and the remedy.

    Args:
        name: Name of the model.
        own: Shapes of the architecture's state dict.
        found: Shapes of the tensors that were taken from the file.
        source: `weights` of its entry, as far as it is known.
        path: Path of the file, if it is known.
        counters: Names in `own` that a file may lack.

    Returns:
        One to three sentences.
    """
    if path is not None and (shard := shard_of(path)):
        return f"{shard}."
    needed = {key: own[key] for key in own if key not in counters}
    prefix, covered = _likely_prefix(needed, found)
    is_hugging_face = any(mark in key for key in found for mark in HUGGING_FACE)
    if prefix and (covered > 0.5 or not is_hugging_face):
        return _prefix_to_write(name, own, found, source=source, prefix=prefix, counters=counters)
    missing = [key for key in needed if key not in found]
    left_over = [key for key in found if key not in own]
    other = [key for key in own if key in found and own[key] != found[key]]
    in_order = _same_in_order(own, found) or _same_in_order(needed, found)
    if other:
        return (
            "Shapes differ: it is a checkpoint of another architecture, resolution or number of "
            f"classes than its entry says. Correct `architecture` or `weights` of {name} in "
            "config/models.yaml."
        )
    if not missing:
        return (
            f"Everything the architecture needs is there. If `architecture` of {name} is right and "
            "the tensors left over belong to another part of the network (a decoder, a head), "
            f"write {_ignoring(own, left_over, source)} into its `weights`."
            + _also_under(own, found, counters, "")
        )
    if len(missing) < len(needed):
        return _lacking(name, missing, left_over, source)
    if is_hugging_face:
        return (
            f"Its names ({next(iter(found)):.80}, ...) are the layout of Hugging Face's "
            "transformers, which is not read here. Use the file that timm or open_clip has of the "
            "same weights (weights: {timm: TAG} or {open_clip: TAG}; in many repositories "
            "open_clip_model.safetensors or open_clip_pytorch_model.bin), or loader: function."
        )
    added, _ = _likely_prefix({key: found[key] for key in found if not _counts(key)}, needed, True)
    if added:
        return _prefix_to_take_back(name, added, source, in_order)
    if in_order:
        return (
            "No name is the same, but number and shapes are, one after another: if it is the same "
            f"network under other names, write keys: by_order into the entry {name} of "
            "config/models.yaml."
        )
    return (
        "They have no name in common: it is a checkpoint of another architecture, or of another "
        f"part of the file (weights.key of {name} in config/models.yaml). The file's names: "
        f"{_shown(found)}; the architecture's: {_shown(own)}."
    )


def patterns_of(left_over: list[str], own) -> list[str]:
    """Return a few patterns that match all left-over names but no name of the architecture."""
    if left_over and all(_counts(key) for key in left_over):
        return [f"*.{COUNTER}"]
    patterns: list[str] = []
    first = {key: key.split(".")[0] for key in left_over}
    stems = Counter(part.split("_")[0] for part in set(first.values()) if "_" in part)
    for key, part in first.items():
        stem = f"{part.split('_')[0]}_*"
        for pattern in ([stem] if stems[stem[:-2]] > 1 else []) + [f"{part}.*", key]:
            if fnmatchcase(key, pattern) and not any(fnmatchcase(one, pattern) for one in own):
                break
        if pattern not in patterns:
            patterns.append(pattern)
    return patterns


def _likely_prefix(needed: Shapes, found: Shapes, same_shape: bool = False) -> tuple[str, float]:
    """Return the prefix under which most names are found, and the share of names found.

    The prefix is empty if there is none, or if only a tenth of the names or a single one of several
    match, which is taken for coincidence.
    """
    fits: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for key in found:
        starts = [0, *(i + 1 for i, letter in enumerate(key) if letter in BOUNDARIES)]
        for start in starts:
            rest = key[start:]
            if rest in needed:
                names[key[:start]] += 1
                fits[key[:start]] += needed[rest] == found[key]
    if not names:
        return "", 0.0
    # Among prefixes with equal counts, no prefix is preferred, then the first in the file.
    prefix = max(names, key=lambda prefix: (fits[prefix], names[prefix], not prefix))
    count = fits[prefix] if same_shape else names[prefix]
    covered = count / len(needed)
    if covered <= 0.1 or (count == 1 and len(needed) > 1):
        return "", 0.0
    return prefix, covered


def _prefix_to_write(
    name: str, own: Shapes, found: Shapes, *, source: Weights, prefix: str, counters: set[str]
) -> str:
    under = {key[len(prefix) :]: found[key] for key in found if key.startswith(prefix)}
    missing = [key for key in own if key not in under and key not in counters]
    left_over = [key for key in under if key not in own]
    other = [key for key in own if key in under and own[key] != under[key]]
    whole = f'prefix: "{source.prefix}{prefix}"'
    if left_over and not missing and not other:
        whole += f" and ignore: {_listed([*source.ignore, *patterns_of(left_over, own)])}"
    remark = ""
    if missing or other:
        remark = f" Behind it, {differences(missing, left_over, other)}."
    remark += _also_under(own, found, counters, prefix)
    return (
        f"The architecture's names lie behind '{prefix}' in the file: write {whole} into `weights` "
        f"of {name} in config/models.yaml.{remark}"
    )


def _also_under(own: Shapes, found: Shapes, counters: set[str], prefix: str) -> str:
    others = [f"'{one}'" for one in _prefixes(own, found, counters) if one != prefix]
    return f" They lie behind {' and '.join(others)} too: choose which you mean." if others else ""


def _prefixes(own: Shapes, found: Shapes, counters: set[str]) -> list[str]:
    """Return the prefixes under which all tensors of an architecture are found, with its shapes."""
    needed = {key: own[key] for key in own if key not in counters}
    some = max(needed, key=len, default="")
    candidates = [key[: -len(some)] for key in found if some and key.endswith(some)]
    return [
        prefix
        for prefix in candidates
        if all(found.get(prefix + key) == shape for key, shape in needed.items())
    ]


def _prefix_to_take_back(name: str, added: str, source: Weights, in_order: bool) -> str:
    said = f"The architecture's names begin with '{added}', those of the file do not."
    prefix = source.prefix
    if prefix.endswith(added):
        shorter = prefix.removesuffix(added)
        line = f'prefix: "{shorter}"' if shorter else "no prefix"
        return f"{said} Write {line} in `weights` of {name} in config/models.yaml."
    if in_order:
        return f"{said} Write keys: by_order into the entry {name} of config/models.yaml."
    return f"{said} Save the tensors again with '{added}' before their names."


def _lacking(name: str, missing: list[str], left_over: list[str], source: Weights) -> str:
    ignored = source.ignore
    if any(fnmatchcase(key, pattern) for key in missing for pattern in ignored):
        return (
            f"weights.ignore of {name} leaves out what the architecture needs: take it out of "
            f"{_listed(ignored)} in config/models.yaml."
        )
    parts = {key.split(".")[0] for key in missing}
    classifier = all(any(fnmatchcase(key, one) for one in CLASSIFIERS) for key in missing)
    said = (
        f"The file lacks {', '.join(f'{part}.*' for part in sorted(parts)[:SHOWN])}, and nothing "
        "is left at random values."
    )
    if classifier:
        said += (
            " It was saved without its classifier: build the architecture without one (timm: "
            "arguments: {num_classes: 0})"
        )
        if left_over:
            said += ", and see what else is left over"
        return f"{said}."
    return f"{said} Correct `architecture` or `weights` of {name} in config/models.yaml."


def _ignoring(own: Shapes, left_over: list[str], source: Weights) -> str:
    patterns = [*source.ignore, *patterns_of(left_over, own)]
    return f"ignore: {_listed(patterns)}"


def _listed(patterns) -> str:
    return json.dumps(list(patterns))


def _same_in_order(own: Shapes, found: Shapes) -> bool:
    return list(own.values()) == list(found.values())


def _counts(key: str) -> bool:
    return key.split(".")[-1] == COUNTER


def _shown(names) -> str:
    return ", ".join(f"{key:.80}" for key in list(names)[:SHOWN])
