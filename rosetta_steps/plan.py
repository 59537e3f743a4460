"""What mining a sample set takes: units, bytes and seconds, before anything is written."""

import argparse
import shutil
from pathlib import Path

from rosetta_steps.activations import bytes_of
from rosetta_steps.errors import run
from rosetta_steps.stores import manifest_path
from rosetta_steps.zoo.entries import (
    add_layer_arguments,
    find_entry,
    layer_patterns,
    layers_from,
    no_layer_matches,
    unmatched,
)
from rosetta_steps.zoo.loading import choose_layers, load

# Seen on two cores of an AMD EPYC for the embedded zoo (faces 7 minutes, faces-quick 1.5): seconds
# for each GB before compression, to start the jobs of a model, and for the dictionary.
SECONDS_A_GIGABYTE, SECONDS_A_MODEL, SECONDS_OF_THE_DICTIONARY = 18, 15, 25


def plan(
    models: list[str],
    zoo: str,
    layers: str | list[str],
    images: int,
    dtype: str,
    activations: Path,
    images_per_shard: int,
) -> str:
    """A table of units, bytes and seconds of each model, the first being the generator.

    Args:
        models: Their names.
        zoo: File with their entries.
        layers: Preset or patterns.
        images: In the sample set.
        dtype: Of the stored maps.
        activations: Folder of the dumps; what lies there already needs no more room or time.
        images_per_shard: Images whose maps a dump holds until their file is written.

    Raises:
        ValueError: The disk or the memory cannot hold it, or a pattern matches no layer.
    """
    import psutil

    rows, units, total, stored, shard, new, unused = [], [], 0, 0.0, 0, 0, None
    for name in models:
        entry = find_entry(name, zoo)
        model = load(name, entry)
        chosen = choose_layers(name, entry, model, layers)
        vain = unmatched([layer.name for layer in chosen], layer_patterns(entry, layers, name))
        if vain and not isinstance(layers, list):
            raise ValueError(no_layer_matches(vain, name, [one.name for one in model.layers()]))
        unused = vain if unused is None else [p for p in unused if p in vain]
        done = manifest_path(activations / f"{name}.zarr").exists()
        shapes = [((one.channels, *one.size), one.nonlinearity) for one in chosen]
        size, left = (0, 0.0) if done else bytes_of(shapes, images, dtype)
        units.append(sum(layer.channels for layer in chosen))
        total += size
        stored += left
        shard = max(shard, bytes_of(shapes, min(images, images_per_shard), dtype)[0])
        new += not done
        maps = "on disk" if done else f"{size / 1e9:.2f} GB"
        rows.append(f"{name:24} {len(chosen):6} {units[-1]:8} {maps:>13}")
    if unused:
        raise ValueError(
            f"layer pattern '{unused[0]}' matches no layer of any of {', '.join(models)}. "
            "python -m rosetta_steps.zoo show NAME lists the layers of one."
        )
    table = 8 * units[0] * max(units)
    held = max(3 * table, 2 * shard)  # a shard is held twice while it is put together
    needed = stored + 4 * units[0] * sum(units)
    free = shutil.disk_usage(".").free
    memory = psutil.virtual_memory().available
    seconds = SECONDS_A_GIGABYTE * total / 1e9 + SECONDS_A_MODEL * new + SECONDS_OF_THE_DICTIONARY
    text = "\n".join(
        [
            f"{'model':24} {'layers':>6} {'units':>8} {'maps':>13}",
            *rows,
            f"{images} images; about {needed / 1e9:.1f} GB on disk once compressed, "
            f"{free / 1e9:.1f} GB are free",
            f"memory: {3 * table / 1e9:.2f} GB for the largest sums of products, "
            f"{2 * shard / 1e9:.2f} GB for the largest file of maps; "
            f"{memory / 1e9:.1f} GB are available",
            f"about {seconds / 60:.1f} minutes on two cores, fewer on more",
        ]
    )
    for what, need, there in (("disk", needed, free), ("memory", held, memory)):
        if need > there:
            raise ValueError(
                f"{text}\nThe {what} cannot hold this: {need / 1e9:.1f} GB needed, "
                f"{there / 1e9:.1f} GB there. Fewer images, fewer layers or fewer models"
                + (", or a smaller images_per_shard." if what == "memory" else ".")
            )
    return text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", required=True, help="the generator first")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    add_layer_arguments(parser)
    parser.add_argument("--images", type=int, required=True, help="how many")
    parser.add_argument(
        "--dtype", default="float16", choices=["float16", "float32"], help="of the stored maps"
    )
    parser.add_argument(
        "--activations", type=Path, required=True, help="folder of the dumps, made or to be made"
    )
    parser.add_argument(
        "--images-per-shard", type=int, default=32, help="in a file, default %(default)s"
    )
    parser.add_argument("--output", type=Path, help="file to write the plan to as well")
    a = parser.parse_args()
    text = plan(
        a.models, a.zoo, layers_from(a), a.images, a.dtype, a.activations, a.images_per_shard
    )
    print(text)
    if a.output:
        a.output.parent.mkdir(parents=True, exist_ok=True)
        a.output.write_text(text + "\n")


if __name__ == "__main__":
    run(main)
