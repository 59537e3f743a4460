"""Best buddies of a generator with a model, beside those with the same network untrained.

The images, the layers and the steps are the same: sample, dump, moments, correlate, best buddies.
Only the weights differ: those of the zoo, and random ones (--untrained of them, seeds 0, 1, ...),
drawn as zoo.untrained says. The workflow makes the same table of every model of a sample set
(untrained: 3). Whoever trained a network may have begun elsewhere: --initial takes the files it
began with, which the workflow does not.

Figures are those of evidence.untrained; "none" is where a network has fewer pairs.

Writes untrained.csv into --output and prints it as a Markdown table. Maps lie in a temporary folder
there, those of one network at a time beside the generator's, and are deleted.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from rosetta_steps.config.names import untrained_name
from rosetta_steps.correlation.step import correlate
from rosetta_steps.evidence.untrained import figures, table_of
from rosetta_steps.maps import activations
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.matching.tables import write_table
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError, run
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.zoo.arguments import add_layer_arguments, layers_from
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.loading import choose_layers, load

NEIGHBOURS = (1, 5)  # K


def markdown(table: pd.DataFrame) -> str:
    """A table of `table_of` for people: trained, and untrained as mean (lowest to highest)."""
    networks = len(table.columns) - list(table.columns).index("share") - 1
    lines = ["| | trained | untrained: mean (range) |", "|---|---|---|"]
    for row in table.to_dict("records"):
        digits = 3 if row["kind"] == "r" else 0
        lowest, highest = row["untrained_lowest"], row["untrained_highest"]
        cell = _number(row["untrained_mean"], digits)
        if lowest < highest:
            cell += f" ({_number(lowest, digits)} to {_number(highest, digits)})"
        if 0 < row["networks"] < networks:
            cell += f", {row['networks']} of {networks} networks"
        lines.append(f"| {row['figure']} | {_number(row['trained'], digits)} | {cell} |")
    return "\n".join(lines)


def _number(value: float, digits: int) -> str:
    return "none" if np.isnan(value) else f"{value:.{digits}f}"


def initialise(name: str, entry: Entry, seed: int, file: Path) -> None:
    """Write random weights of a network, drawn as its library draws them, as safetensors.

    Args:
        name: Of the model.
        entry: Of the model, whose loader is timm or open_clip.
        seed: Decides the weights.
        file: To write.

    Raises:
        ValueError: The library cannot build it.
    """
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if entry.loader == "timm":
            from rosetta_steps.zoo.models import timm_models

            module = timm_models.create(name, entry)
        else:
            from rosetta_steps.zoo.models import open_clip_models

            quick_gelu = open_clip_models.settings_of(name, entry)["quick_gelu"]
            module = open_clip_models.create(open_clip_models.named(name, entry)[0], quick_gelu)
    save_file({key: t.contiguous().clone() for key, t in module.state_dict().items()}, file)


def with_weights(name: str, entry: Entry, file: Path) -> Entry:
    """The entry of a model with the weights of another file, by name, and all else as it was.

    The tag of its weights goes into its architecture: it says how images are normalised, and which
    activation function a CLIP has.
    """
    if entry.loader == "timm":
        from timm.models import split_model_name_tag

        from rosetta_steps.zoo.models import timm_models

        full, arguments = timm_models.named(name, entry)
        of_weights = entry.weights.timm
        if of_weights and not split_model_name_tag(full)[1]:
            full = f"{full}.{of_weights}"
        architecture: dict[str, Any] = {"name": full, "arguments": arguments}
    else:
        from rosetta_steps.zoo.models import open_clip_models

        full, tag = open_clip_models.named(name, entry)
        tag = tag or entry.weights.open_clip or _tag_at(full, entry.weights.url)
        architecture = {"name": full} | ({"tag": tag} if tag else {})
    weights = Weights(path=str(file))
    return replace(entry, architecture=architecture, weights=weights, keys=None)


def _tag_at(architecture: str, url: str | None) -> str | None:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    addresses = {tag: open_clip.get_pretrained_cfg(architecture, tag).get("url") for tag in tags}
    return next((tag for tag in tags if url and addresses[tag] == url), None)


def check(name: str, entry: Entry, images: int, untrained: int, initial: list[Path]) -> None:
    """Refuse what cannot be compared before anything is computed.

    Raises:
        ValueError: It is no model, or files are given of one that neither timm nor open_clip
            builds; there are no images or no untrained network to compare with; or a file is
            missing.
    """
    if entry.role != "model" or (initial and entry.loader not in ("timm", "open_clip")):
        raise UserError(
            f"{name} has the role '{entry.role}' and the loader '{entry.loader}'. Choose a model, "
            "and for --initial one of timm or of open_clip (python -m rosetta_steps.zoo lists "
            "them)."
        )
    if images < 1:
        raise UserError(f"--images {images}: correlations need at least 1, and some hundreds.")
    if untrained < 1:
        raise UserError(f"--untrained {untrained}: there is nothing to compare with. At least 1.")
    for file in initial:
        if not file.is_file():
            raise UserError(
                f"--initial {file} does not exist. Name safetensors files of the untrained network."
            )


def compare(
    generator: str,
    model: str,
    zoo: str,
    *,
    images: int,
    seed: int,
    output: Path,
    untrained: int = 3,
    initial: list[Path] | None = None,
    generator_layers: str | list[str] = "block",
    layers: str | list[str] = "block",
    device: str = "cpu",
    threads: int = 1,
) -> pd.DataFrame:
    """Sample, dump, correlate and find best buddies with trained and untrained weights.

    Args:
        generator: Its name in the zoo.
        model: Name of a model; with `initial`, of timm or open_clip.
        zoo: File with both entries.
        images: How many to sample.
        seed: Of the images.
        output: Folder that takes untrained.csv, and the maps for as long as they are needed.
        untrained: How many random networks, seeds 0, 1, ...
        initial: Files of weights in their place.
        generator_layers: Preset or patterns.
        layers: The same, of the model.
        device: "cpu" or "cuda".
        threads: Cores for the correlation.

    Returns:
        As `table_of` has it.

    Raises:
        ValueError: As `check` and the steps have it.
    """
    entry = find_entry(model, zoo)
    check(model, entry, images, untrained, initial or [])
    for name, chosen in ((generator, generator_layers), (model, layers)):  # minutes before the dump
        outline = load(name, find_entry(name, zoo))
        choose_layers(name, find_entry(name, zoo), outline, chosen)
    for file in initial or []:
        load(str(file), with_weights(model, entry, file), file)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix="maps-") as folder:
        place = Path(folder)
        samples = place / "samples.zarr"
        sampling.sample(generator, zoo, images, seed, samples, device=device)

        def dump(name: str, of_zoo: str, chosen: str | list[str]) -> tuple[Path, Path]:
            maps, sums = place / f"{name}.zarr", place / f"{name}-moments.zarr"
            state = describe(name, of_zoo, samples, chosen, dtype="float16", images_per_shard=32)
            activations.dump(Stream(state, device), 32, maps, sums)
            return maps, sums

        made = dump(generator, zoo, generator_layers)
        found: dict[str, dict[str, float]] = {}
        total = 1 + (len(initial) if initial else untrained)
        for label, name, of_zoo in networks(model, zoo, place, untrained, initial):
            print(f"network {len(found) + 1} of {total}: {model}, {label}", file=sys.stderr)
            maps, sums = dump(name, of_zoo, layers)
            table = place / f"{generator}--{name}.zarr"
            correlate(made[0], maps, made[1], sums, table, threads=threads)
            found[label] = figures(open_dataset(table), NEIGHBOURS)
            for store in (maps, sums, table):
                shutil.rmtree(store)
    table = table_of(found.pop("trained"), found)
    write_table(table, output / "untrained.csv")
    return table


def networks(
    model: str, zoo: str, place: Path, untrained: int, initial: list[Path] | None
) -> Iterator[tuple[str, str, str]]:
    """Label, name and zoo file of the trained network, then of the untrained ones, as compared."""
    yield "trained", model, zoo
    if not initial:
        for seed in range(untrained):
            yield f"seed {seed}", untrained_name(model, seed), zoo
    for number, file in enumerate(initial or []):
        name, own_zoo = f"{model}-initial-{number}", place / f"{number}.yaml"
        entry = with_weights(model, find_entry(model, zoo), file.absolute())
        own_zoo.write_text(yaml.safe_dump({name: entry.to_mapping()}), encoding="utf-8")
        yield str(file), name, str(own_zoo)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default="dcgan-digiface", help="default %(default)s")
    parser.add_argument(
        "--model", default="mae-digiface", help="name in the zoo, default %(default)s"
    )
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--images", type=int, default=400, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the images, default %(default)s")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--untrained", type=int, default=3, help="random networks, default %(default)s"
    )
    which.add_argument(
        "--initial",
        type=Path,
        nargs="+",
        help="instead: weights the training began with, in the names of timm or open_clip",
    )
    parser.add_argument(
        "--generator-layers", default="block", help="all, or a preset, default %(default)s"
    )
    add_layer_arguments(parser)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    parser.add_argument(
        "--output", type=Path, help="folder, default results/untrained/GENERATOR--MODEL"
    )
    a = parser.parse_args()
    device = lease()
    torch.set_num_threads(a.threads)
    output = a.output or Path("results/untrained") / f"{a.generator}--{a.model}"
    table = compare(
        a.generator,
        a.model,
        a.zoo,
        images=a.images,
        seed=a.seed,
        output=output,
        untrained=a.untrained,
        initial=a.initial,
        generator_layers=a.generator_layers,
        layers=layers_from(a),
        device=device,
        threads=a.threads,
    )
    print(f"{a.generator} with {a.model}, {a.images} images of seed {a.seed}\n")
    print(markdown(table))


if __name__ == "__main__":
    run(main)
