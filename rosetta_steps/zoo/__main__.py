"""Look at the zoo: list its models, show the layers of one, fetch weights, convert a checkpoint."""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.zoo.entries import (
    add_layer_arguments,
    find_entry,
    layers_from,
    read_entries,
)
from rosetta_steps.zoo.loading import choose_layers, hold, load
from rosetta_steps.zoo.weights import describe, sha256_of_weights, weights_file


def list_models(zoo: str) -> None:
    """Print a line a model."""
    for name, entry in read_entries(zoo).items():
        print(f"{name:24} {entry.role:10} {entry.loader:12} {entry.source}")


def show(name: str, zoo: str, layers: str | list[str]) -> None:
    """Print layers, channels, map sizes, bytes an image, source and licence of a model."""
    entry = find_entry(name, zoo)
    model = load(name, entry)
    chosen = choose_layers(name, entry, model, layers)
    print(f"{name}: {entry.source}\nlicence: {entry.licence}")
    print(f"weights: {describe(entry.weights)}\n")
    print(f"{'layer':32} {'channels':>8} {'y x x':>9}  nonlinearity")
    units = size = 0
    for layer in chosen:
        y, x = layer.size
        units += layer.channels
        size += 2 * layer.channels * y * x
        print(f"{layer.name:32} {layer.channels:8} {f'{y} x {x}':>9}  {layer.nonlinearity}")
    print(f"\n{len(chosen)} layers, {units} units, {size} bytes an image (float16)")
    print(f"presets: {', '.join(['all', *entry.layers])}")


def fetch(name: str, zoo: str, output: Path | None) -> None:
    """Fetch and check the weights of a model and open them, held against its entry.

    Writes where they lie and, below it, their sha256.
    """
    entry = find_entry(name, zoo)
    path, digest = weights_file(name, entry), sha256_of_weights(name, entry)
    hold(name, entry, path)
    lines = f"{path}\n{digest}" if digest else str(path)
    print(lines)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(lines + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m rosetta_steps.zoo", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    commands.add_parser("list", parents=[shared], help="all models (the default)")
    shower = commands.add_parser("show", parents=[shared], help="layers, sizes, source, licence")
    shower.add_argument("name")
    add_layer_arguments(shower, default="all")
    fetcher = commands.add_parser("fetch", parents=[shared], help="fetch, check and open weights")
    fetcher.add_argument("name")
    fetcher.add_argument("--output", type=Path, help="file for where they lie, and their sha256")
    converter = commands.add_parser(
        "convert", help="write a checkpoint of any kind as safetensors and JSON, running none of it"
    )
    converter.add_argument("checkpoint", type=Path, help=".pkl, .pt, .pth, .bin or .safetensors")
    converter.add_argument("output", type=Path, help="X.safetensors to write, beside X.json")
    converter.add_argument("--key", help="where the state dict lies in it, if it is not the whole")
    converter.add_argument(
        "--prefix", default="", help="take the tensors under it alone, without it: module."
    )
    converter.add_argument("--overwrite", action="store_true", help="replace what is there")
    a = parser.parse_args()
    if a.command == "show":
        show(a.name, a.zoo, layers_from(a))
    elif a.command == "fetch":
        fetch(a.name, a.zoo, a.output)
    elif a.command == "convert":
        from rosetta_steps.zoo.checkpoints.convert import convert  # torch, which a list needs not

        print(convert(a.checkpoint, a.output, a.key, a.overwrite, a.prefix))
    else:
        list_models(getattr(a, "zoo", "config/models.yaml"))


if __name__ == "__main__":
    run(main)
