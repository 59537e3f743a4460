"""What mining takes: units, bytes and seconds of every model, held against disk and memory."""

import json
import shutil
from collections.abc import Mapping
from math import prod
from pathlib import Path

from rosetta_steps.maps.settings import SUM_BYTES
from rosetta_steps.maps.splits import refuse_splits
from rosetta_steps.maps.statistics import bytes_of_sums
from rosetta_steps.maps.store import bytes_of
from rosetta_steps.runtime.budgets import available_bytes
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.runtime.needs import memory_of_a_dump, minutes
from rosetta_steps.storage.manifests import manifest_path
from rosetta_steps.zoo.entries import (
    find_entry,
    has_weights,
    layer_patterns,
    no_layer_matches,
    unmatched,
)
from rosetta_steps.zoo.loading import choose_layers, load

# Seen on two cores for the embedded zoo (faces 7 minutes, faces-quick 1.5, faces-all 13 on an EPYC;
# a Xeon took a quarter longer for that): seconds for each GB of maps before compression, to start
# the jobs of a model, and for the dictionary. With store: matched every model runs twice, and its
# maps are neither written nor read.
SECONDS_A_GIGABYTE = {"all": 18, "matched": 9}
SECONDS_A_MODEL, SECONDS_OF_THE_DICTIONARY = {"all": 15, "matched": 30}, 25
# Of the bytes of all maps, those of units in best buddies: of faces with K = 5, 0.72 of the
# generator and 0.14 to 0.20 of a model.
MATCHED_OF_THE_FIRST, MATCHED_OF_OTHERS = 0.75, 0.2
# Of moments, on disk, for each value of an image.
MOMENTS_BYTES = 36


def plan(
    models: list[str],
    zoo: str,
    layers: str | list[str],
    images: int,
    *,
    dtype: str,
    maps: Path,
    images_per_shard: int,
    store: str = "all",
    splits: int = 1,
    neighbours: int = 1,
    untrained: int = 0,
) -> tuple[str, dict[str, dict[str, int]]]:
    """A table of units, bytes and seconds of each model, the first being the generator.

    Args:
        models: Their names.
        zoo: File with their entries.
        layers: Preset or patterns.
        images: In the sample set.
        dtype: Of the stored maps.
        maps: Folder of the dumps, or of matched maps; what lies there already needs no more room or
            time, if it has these images, layers and this dtype. Free space is that of its disk.
        images_per_shard: Images whose maps a dump holds until their file is written.
        store: "all", or "matched"; what the other takes is said as well.
        splits: Parts of the images whose moments and correlations are kept besides; 1: none.
        neighbours: K of the best buddies.
        untrained: Untrained copies of each model but the first, which run and are not dumped.

    Returns:
        The table, and of each model the memory_mb and minutes of the job that runs it, its units,
        and sums_mb, the megabytes of its sums for moments.

    Raises:
        ValueError: The disk or the memory cannot hold it, a pattern matches no layer, a model has
            fewer units than neighbours are asked for, or there are fewer images than splits need.
    """
    refuse_splits(images, splits)
    rows: list[str] = []
    needs: dict[str, dict[str, int]] = {}
    units: list[int] = []
    made: list[tuple[float, dict[str, float]]] = []
    copies: list[tuple[float, float]] = []  # bytes of maps, and of moments
    shard, sums = 0, 0
    unused: list[str] | None = None
    kept = 1 if splits == 1 else 1 + splits  # of moments and correlations
    for name in models:
        entry = find_entry(name, zoo)
        model = load(name, entry)
        chosen = choose_layers(name, entry, model, layers)
        vain = unmatched([layer.name for layer in chosen], layer_patterns(entry, layers, name))
        if vain and not isinstance(layers, list):
            raise UserError(no_layer_matches(vain, name, [one.name for one in model.layers()]))
        unused = vain if unused is None else [p for p in unused if p in vain]
        shapes = [((one.channels, *one.size), one.nonlinearity) for one in chosen]
        units.append(sum(layer.channels for layer in chosen))
        # Of the last file, what no image fills takes memory too.
        file = bytes_of(shapes, images_per_shard, dtype)[0]
        sums_of_layers = [bytes_of_sums(shape, splits) for shape, _ in shapes]
        shard, sums = max(shard, file), max(sums, *sums_of_layers)
        size, left = bytes_of(shapes, images, dtype)
        moments = MOMENTS_BYTES * sum(prod(shape) for shape, _ in shapes) * kept
        copies += [(size, moments)] * untrained if rows and has_weights(entry) else []
        seconds = SECONDS_A_GIGABYTE[store] * size / 1e9 + SECONDS_A_MODEL[store]
        together = min(sum(sums_of_layers), max(SUM_BYTES, *sums_of_layers))
        needs[name] = {
            "memory_mb": memory_of_a_dump(file, together),
            "minutes": minutes(seconds),
            "units": units[-1],
            "sums_mb": -(-sum(sums_of_layers) // 10**6),
        }
        to_make = "on disk"
        expected = {layer.name: (images, layer.channels, *layer.size) for layer in chosen}
        if not lies_there(maps / f"{name}.zarr", expected, dtype, store):
            share = MATCHED_OF_OTHERS if rows else MATCHED_OF_THE_FIRST
            copied = share * left
            made.append((size, {"all": left + copied + moments, "matched": copied + moments}))
            to_make = f"{size / 1e9:.2f} GB"
        memory_of_it = f"{needs[name]['memory_mb'] / 1e3:.1f} GB"
        rows.append(f"{name:24} {len(chosen):6} {units[-1]:8} {to_make:>13} {memory_of_it:>9}")
    if unused:
        raise UserError(
            f"layer pattern '{unused[0]}' matches no layer of any of {', '.join(models)}. "
            "python -m rosetta_steps.zoo show NAME lists the layers of one."
        )
    refuse_too_many_neighbours(neighbours, dict(zip(models, units, strict=True)))
    tables = 4 * units[0] * sum(units) * kept
    # Twice while a file is put together; correlations store to correlation.memory_gb.
    held, holds = max((2 * shard, "the largest file of maps"), (sums, "sums of moments"))
    disk = existing_folder(maps)
    free = shutil.disk_usage(disk).free
    memory = available_bytes()
    needed, choices = {}, []
    for name in ("all", "matched"):
        needed[name] = tables + sum(stored[name] for _, stored in made)
        needed[name] += sum(moments for _, moments in copies)
        seconds = SECONDS_A_GIGABYTE[name] * sum(size for size, _ in made) / 1e9
        seconds += SECONDS_A_MODEL[name] * len(made) + SECONDS_OF_THE_DICTIONARY
        seconds += SECONDS_A_GIGABYTE["matched"] * sum(size for size, _ in copies) / 1e9
        seconds += SECONDS_A_MODEL["matched"] * len(copies)
        choices.append(
            f"store: {name:8} about {needed[name] / 1e9:.1f} GB on disk once compressed, about "
            f"{seconds / 60:.1f} minutes on two cores, fewer on more"
            + (" (chosen)" if name == store else "")
        )
    text = "\n".join(
        [
            f"{'model':24} {'layers':>6} {'units':>8} {'maps':>13} {'memory':>9}",
            *rows,
            *([f"and {untrained} untrained of each but the first"] if untrained else []),
            f"{images} images; {free / 1e9:.1f} GB of disk are free"
            + ("" if disk == Path.cwd() else f" ({disk})"),
            *choices,
            f"memory: {held / 1e9:.2f} GB for {holds}; {memory / 1e9:.1f} GB are available",
        ]
    )
    remedy = {"memory": ", or a smaller images_per_shard."}
    if sums > 2 * shard:
        remedy["memory"] = ", or fewer splits."
    remedy["disk"] = ", or store: matched." if store == "all" else "."
    for what, need, there in (("disk", needed[store], free), ("memory", held, memory)):
        if need > there:
            raise UserError(
                f"{text}\nThe {what} cannot hold this: {need / 1e9:.1f} GB needed, "
                f"{there / 1e9:.1f} GB there. Fewer images, fewer layers or fewer models"
                + remedy[what]
            )
    return text, needs


def lies_there(
    dump: Path, layers: Mapping[str, tuple[int, ...]], dtype: str, stored: str = "all"
) -> bool:
    """Whether a finished dump is the one that is meant, as far as its manifest says.

    Args:
        dump: X.zarr.
        layers: Shape (image, channel, y, x) of each.
        dtype: Of the maps.
        stored: "all", or "matched": then it may hold some of the layers and of their channels.
    """
    try:
        found = json.loads(manifest_path(dump).read_text(encoding="utf-8"))["layers"]
        shapes = {name: (tuple(one["shape"]), one["dtype"]) for name, one in found.items()}
        partial = any("channels" in one for one in found.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # the step that reads it says what is wrong
    if stored == "all":
        return not partial and shapes == {name: (shape, dtype) for name, shape in layers.items()}
    return bool(shapes) and all(
        name in layers
        and kind == dtype
        and (shape[0], *shape[2:]) == (layers[name][0], *layers[name][2:])
        and shape[1] <= layers[name][1]
        for name, (shape, kind) in shapes.items()
    )


def existing_folder(path: Path) -> Path:
    """The folder on whose disk a path lies or will lie; a link to another disk is followed."""
    path = path.absolute()
    found = next(folder for folder in (path, *path.parents) if folder.exists())
    return Path.cwd() if found == Path.cwd() else found.resolve()


def refuse_too_many_neighbours(neighbours: int, units: Mapping[str, int]) -> None:
    """Refuse a K that some model has too few units for.

    Raises:
        ValueError: Names K, the model and its units.
    """
    fewest = min(units, key=units.__getitem__)
    if not 1 <= neighbours <= units[fewest]:
        raise UserError(
            f"K = {neighbours} neighbours, and {fewest} has {units[fewest]} units: set neighbours "
            f"in the config to at least 1 and at most {units[fewest]}, or take more layers of it."
        )
