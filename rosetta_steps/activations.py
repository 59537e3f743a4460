"""Dump the activation maps of a model on all images of a sample set."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import xarray as xr
from tqdm import tqdm

from rosetta_steps.batches import images_at_once
from rosetta_steps.devices import lease
from rosetta_steps.errors import run
from rosetta_steps.stores import MapWriter, check_dataset, image_blocks, manifest_path, sha256_of
from rosetta_steps.zoo.entries import (
    add_layer_arguments,
    entry_digest,
    find_entry,
    layers_from,
)
from rosetta_steps.zoo.loading import choose_layers, load
from rosetta_steps.zoo.weights import sha256_of_weights, weights_file

# How far an image made again may lie from the stored one: root mean square of the difference, over
# the standard deviation of its values. Between float32 and float16, which rounds as TF32 does:
# 0.001; bfloat16: 0.011; another network: 1.4 (StyleGAN2 and DCGAN with random weights).
TOLERANCE, TOLERANCE_OF_AUTOCAST = 0.02, 0.1
# For images of hardly any contrast.
LEAST_DEVIATION = 0.02


def dump(
    name: str,
    zoo: str,
    samples: Path,
    layers: str | list[str],
    dtype: str,
    images_per_shard: int,
    output: Path,
    device: str,
) -> None:
    """Run a model on the images (a generator on the latents) and write its maps.

    Goes on with the first block that is not on disk when a job before was killed.

    Raises:
        ValueError: Bad model, layers or weights; a generator that no longer makes the images of the
            samples; activations that are not finite (model, layer and images named); a disk that
            cannot hold the store.
    """
    import torch

    entry = find_entry(name, zoo)
    images = xr.open_zarr(check_dataset(samples))
    outline = load(name, entry)  # without values a pass for the layers costs next to nothing
    chosen = choose_layers(name, entry, outline, layers)
    count = images.sizes["image"]
    shapes = {layer.name: (layer.channels, *layer.size) for layer in chosen}
    refuse_what_does_not_fit(chosen, count, dtype, output)
    model = load(name, entry, weights_file(name, entry), device)
    if entry["role"] == "generator":
        refuse_another_network(model, images, samples)
    attrs = {"model": name, "samples": str(samples), "role": entry["role"]}
    if entry["role"] == "model":
        attrs["preprocessing"] = model.preprocessing.attrs()
    writer = MapWriter(
        output,
        shapes,
        count,
        images_per_shard,
        dtype,
        attrs,
        {
            layer.name: {"model": name, "layer": layer.name, "nonlinearity": layer.nonlinearity}
            for layer in chosen
        },
        key=" ".join(
            [
                entry_digest(entry),
                sha256_of_weights(name, entry) or "weights loaded by the function",
                sha256_of(manifest_path(samples)),
            ]
        ),
    )
    at_once = images_at_once(outline.layers(), chosen, images_per_shard)
    missing = writer.missing()
    progress = tqdm(total=count, desc=f"activations of {name}", unit="image")
    progress.update(count - sum(block.stop - block.start for block in missing))
    for block in missing:
        stored = {}
        for part in parts(block, at_once):
            maps = maps_of(model, entry["role"], images, part, list(shapes))
            for layer in shapes:
                narrow = maps.pop(layer).to("cpu", getattr(torch, dtype)).contiguous()
                refuse_what_is_not_finite(name, layer, narrow, part)
                stored.setdefault(layer, []).append(narrow.numpy())
            progress.update(part.stop - part.start)
        joined = {
            layer: pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
            for layer, pieces in stored.items()
        }
        writer.write(block, joined)
    writer.finish()


def parts(block: slice, size: int) -> list[slice]:
    """A block of images in parts of at most some size."""
    return [
        slice(block.start + part.start, block.start + part.stop)
        for part in image_blocks(block.stop - block.start, size)
    ]


def maps_of(model, role: str, samples: xr.Dataset, block: slice, layers: list[str]) -> dict:
    """Maps (image, channel, y, x) of some layers on a block of a sample set.

    Args:
        model: Of the zoo.
        role: "generator", which is given latents, labels and truncation, or "model", which is given
            the images.
        samples: The sample set.
        block: Which images.
        layers: Names.
    """
    import torch

    def given(variable: str):
        return torch.from_numpy(samples[variable][block].values)

    with torch.inference_mode():
        if role == "model":
            return model.activations(given("image"), layers)
        labels = given("label") if "label" in samples else None
        truncation = samples.attrs["truncation"]
        return model.activations(given("latent"), layers, labels, truncation)


def refuse_another_network(generator, images: xr.Dataset, samples: Path) -> None:
    """Raise a ValueError if a generator does not make the first and the last image of a sample set.

    Maps and images would be of two networks: random weights, or weights changed since.

    Args:
        generator: Of the zoo, with its weights.
        images: The sample set that it is said to have made.
        samples: Its path.
    """
    import torch

    def stored(variable: str, image: int):
        return torch.from_numpy(images[variable][[image]].values)

    tolerance = TOLERANCE_OF_AUTOCAST if generator.autocast else TOLERANCE
    for image in sorted({0, images.sizes["image"] - 1}):
        label = stored("label", image) if "label" in images else None
        shown = stored("image", image)
        with torch.inference_mode():
            made = generator.generate(stored("latent", image), label, images.attrs["truncation"])
        found = f"shape {tuple(made.shape[1:])} instead of {tuple(shown.shape[1:])}"
        if made.shape == shown.shape:
            deviation = max(shown.std().item(), LEAST_DEVIATION)
            difference = (made.cpu() - shown).square().mean().sqrt().item() / deviation
            if difference <= tolerance:
                continue
            found = (
                f"root mean square difference {difference:.3g} of its standard deviation, from "
                f"rounding at most {tolerance}"
            )
        raise ValueError(
            f"{generator.name} makes another image {image} than {samples} holds, of the same "
            f"latent ({found}): its weights or its code have changed since, or are random in every "
            f"process (seed them first). Delete {manifest_path(samples)} and run again: the "
            "samples are made anew."
        )


def refuse_what_is_not_finite(model: str, layer: str, maps, block: slice) -> None:
    """Raise a ValueError that names model, layer and images with NaN or infinite values.

    Args:
        model: Its name.
        layer: Its name.
        maps: Tensor (image, channel, y, x) as it will be stored.
        block: Which images these are.
    """
    import torch

    if torch.isfinite(torch.stack(torch.aminmax(maps))).all():
        return
    bad = (~torch.isfinite(maps)).any((1, 2, 3)).nonzero().ravel() + block.start
    images = ", ".join(str(int(image)) for image in bad[:10])
    dtype = str(maps.dtype).removeprefix("torch.")
    raise ValueError(
        f"{model}, layer {layer}: values that are not finite in {dtype}, in images "
        f"{images}{', ...' if len(bad) > 10 else ''}. If float32 holds them, set dtype: float32 "
        "for this sample set; if not, the model or its input is broken."
    )


# What zstd at level 1 leaves of maps in float16: seen on the embedded zoo after a ReLU, and after a
# leaky ReLU or GELU, which leaves few zeros (benchmarks.generators, docs/zoo.md).
AFTER_RELU, OTHERWISE = 0.45, 0.85


def bytes_of(layers: list, images: int, dtype: str) -> tuple[int, float]:
    """Bytes of a dump before compression, and about how many after it.

    Args:
        layers: Those that are dumped (zoo.taps.Layer).
        images: How many.
        dtype: Of the stored maps.
    """
    whole, left = 0, 0.0
    for layer in layers:
        size = images * np.dtype(dtype).itemsize * layer.channels * int(np.prod(layer.size))
        whole += size
        left += size * (AFTER_RELU if layer.nonlinearity.lower().startswith("relu") else OTHERWISE)
    return whole, left


def refuse_what_does_not_fit(layers: list, images: int, dtype: str, output: Path) -> None:
    """Raise a ValueError if the disk cannot hold a dump once it is compressed."""
    needed = bytes_of(layers, images, dtype)[1]
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{output} needs about {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free. "
            "Fewer images, fewer layers (layers: block), or another disk for results/."
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Dump a model's activation maps.")
    parser.add_argument("--model", required=True, help="name in the zoo")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--samples", type=Path, required=True, help="X.zarr of images")
    add_layer_arguments(parser)
    parser.add_argument(
        "--dtype", default="float16", choices=["float16", "float32"], help="of the stored maps"
    )
    parser.add_argument(
        "--images-per-shard", type=int, default=32, help="in a file, default %(default)s"
    )
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()
    device = lease()
    if a.threads:
        import torch

        torch.set_num_threads(a.threads)
    layers = layers_from(a)
    dump(a.model, a.zoo, a.samples, layers, a.dtype, a.images_per_shard, a.output, device)


if __name__ == "__main__":
    run(main)
