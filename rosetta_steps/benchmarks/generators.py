"""What a generator of the zoo takes at its full size, with random weights in place of its file.

Its network is built, its random weights are written and read back like a checkpoint, and a few
images are sampled and dumped as the workflow does it: seconds an image of both, peak memory, and
bytes an image before and after compression.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from rosetta_steps.maps import activations
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.maps.store import MapReader
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import run
from rosetta_steps.zoo.arguments import add_layer_arguments, layers_from
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.generators.generator import build


def measure(name: str, zoo: str, images: int, layers: str | list[str], device: str) -> str:
    """A line of figures.

    Args:
        name: Of a generator of the zoo.
        zoo: File with its entry.
        images: How many to sample and to dump.
        layers: Preset or patterns.
        device: "cpu" or "cuda".
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        entry = with_random_weights(name, find_entry(name, zoo), place / "random.safetensors")
        mapping = yaml.safe_dump({name: entry.to_mapping()})
        (place / "zoo.yaml").write_text(mapping, encoding="utf-8")
        made = str(place / "zoo.yaml")
        started = time.perf_counter()
        sampling.sample(name, made, images, 0, place / "samples.zarr", device=device)
        sampled = time.perf_counter()
        store = place / "maps.zarr"
        state = describe(
            name, made, place / "samples.zarr", layers, dtype="float16", images_per_shard=images
        )
        activations.dump(Stream(state, device), images, store, place / "moments.zarr")
        dumped = time.perf_counter()
        reader = MapReader(store)
        values = sum(reader.read(layer, slice(0, images)).nbytes for layer in reader.layers)
        stored = sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (
        f"{name}: {images} images, sampled in {(sampled - started) / images:.1f} s each, dumped in "
        f"{(dumped - sampled) / images:.1f} s each, loading included in both; an image "
        f"{values / images / 1e6:.1f} MB in float16, {stored / images / 1e6:.1f} MB on disk; peak "
        f"{peak / 1e9:.2f} GB; {torch.get_num_threads()} threads"
    )


def with_random_weights(name: str, entry: Entry, file: Path) -> Entry:
    """Write random weights of a generator as safetensors; returns its entry with these."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = build(name, entry)
    settle(network)
    save_file(network.state_dict(), file)
    return replace(entry, weights=Weights(path=str(file)))


def settle(network: torch.nn.Module) -> None:
    """Give spectral norms the singular vectors that training would have left (one network has)."""
    module: Any
    for module in network.modules():
        if not hasattr(module, "weight_orig"):
            continue
        weight = module.weight_orig.detach().flatten(1)
        for _ in range(3):
            v = torch.nn.functional.normalize(weight.T @ module.weight_u, dim=0)
            module.weight_v.copy_(v)
            module.weight_u.copy_(torch.nn.functional.normalize(weight @ v, dim=0))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("generator", help="name in the zoo")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--images", type=int, default=2, help="default %(default)s")
    add_layer_arguments(parser, default="published")
    a = parser.parse_args()
    print(measure(a.generator, a.zoo, a.images, layers_from(a), lease()))


if __name__ == "__main__":
    run(main)
