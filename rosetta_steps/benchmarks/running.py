"""Two networks at full size, mined while they run, with random weights in place of their files.

A generator samples; it and a model of timm or open_clip run on the images for their moments, and
once more for their correlation, as the workflow does it with store: matched. None of their maps is
written. Seconds an image of each step, loading included, and peak memory.

    python -m rosetta_steps.benchmarks.running stylegan2-lsun-cat resnet50
    python -m rosetta_steps.benchmarks.running stylegan-xl-imagenet256 dino-vitb16 --images 8
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import yaml

from rosetta_steps.benchmarks.generators import with_random_weights
from rosetta_steps.benchmarks.untrained import initialise, with_weights
from rosetta_steps.correlation.precision import PRECISIONS
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.step import correlate
from rosetta_steps.maps import moments
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.maps.streams import write_stream
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import run
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.generators import sampling


def measure(
    generator: str,
    model: str,
    zoo: str,
    layers: str,
    *,
    device: str,
    images: int,
    threads: int,
    settings: Correlation,
) -> pd.DataFrame:
    """Mine two networks with random weights.

    Args:
        generator: Of the zoo.
        model: Of timm or open_clip, in the zoo.
        zoo: File with both entries.
        layers: Preset of both.
        device: "cpu" or "cuda".
        images: How many.
        threads: Cores.
        settings: Of the correlation.

    Returns:
        step, seconds (an image), peak (bytes so far of this process; on a GPU, of its memory).
    """
    rows = []

    def timed(step: str, call, *arguments, **named) -> None:
        begin = time.perf_counter()
        call(*arguments, **named)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if device == "cuda":
            peak = torch.cuda.max_memory_reserved()
        rows.append((step, (time.perf_counter() - begin) / images, peak))

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        entry, file = find_entry(model, zoo), place / "model.safetensors"
        initialise(model, entry, 0, file)
        both = {
            generator: with_random_weights(
                generator, find_entry(generator, zoo), place / "generator.safetensors"
            ),
            model: with_weights(model, entry, file),
        }
        made, samples = place / "zoo.yaml", place / "samples.zarr"
        mappings = {name: entry.to_mapping() for name, entry in both.items()}
        made.write_text(yaml.safe_dump(mappings), encoding="utf-8")
        timed("sample", sampling.sample, generator, str(made), images, 0, samples, device)
        streams = {name: place / f"{name}.json" for name in both}
        measured = {name: place / f"{name}.zarr" for name in both}
        for name in both:
            state = describe(name, str(made), samples, layers, dtype="float16", images_per_shard=32)
            write_stream(Stream(state, device), streams[name])
            threads = settings.threads_per_worker
            timed(f"moments of {name}", moments.measure, streams[name], measured[name], 1, threads)
        table = place / "table.zarr"
        paths = (*streams.values(), *measured.values(), table)
        timed("correlate", correlate, *paths, settings=settings, threads=threads, workers=1)
    return pd.DataFrame(rows, columns=["step", "seconds", "peak"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("generator", help="name in the zoo")
    parser.add_argument("model", help="name in the zoo, of timm or open_clip")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--layers", default="published", help="preset, default %(default)s")
    parser.add_argument("--images", type=int, default=16, help="default %(default)s")
    parser.add_argument(
        "--images-per-block", type=int, default=8, help="at once, default %(default)s"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of products")
    parser.add_argument("--memory-gb", type=float, default=8, help="of a worker")
    parser.add_argument("--gpu-memory-gb", type=float, default=32, help="of a worker on a GPU")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    a = parser.parse_args()
    device = lease()
    torch.set_num_threads(a.threads)
    table = measure(
        a.generator,
        a.model,
        a.zoo,
        a.layers,
        device=device,
        images=a.images,
        threads=a.threads,
        settings=Correlation(
            threads_per_worker=a.threads,
            images_per_strip=max(a.images, a.images_per_block),
            images_per_block=a.images_per_block,
            precision=a.precision,
            memory_gb=a.memory_gb,
            gpu_memory_gb=a.gpu_memory_gb,
        ),
    )
    print(f"{a.generator} with {a.model}, {a.images} images, {device}, {a.threads} threads")
    print(table.to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__":
    run(main)
