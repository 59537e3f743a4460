"""What is done with a zoo: its models listed, the layers of one shown, its weights fetched."""

from pathlib import Path

from rosetta_steps.zoo.entries import find_entry, read_entries
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
