"""Bare costs of mining a sample set: what no way of organising the work can do without.

    forward pass   of each model and of the generator: the library's own, without hooks and without
                   maps that are kept, on all images, as many at once as the dump takes
    writing        the maps of real layers, through maps.store.MapWriter
    reading        the same, through maps.store.MapReader, as often as a pair needs them
    products       of each pair, decoys included: the engine's matrix products, on matrices of these
                   shapes that lie ready

All cores that a job would have, in a process with the memory settings that a job has.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from rosetta_steps.benchmarks.correlation import Case, Shapes, measure, wait
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.maps.store import MapReader, MapWriter
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.devices import lease
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.manifests import Provenance
from rosetta_steps.workflow.chosen import Chosen
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.models import onnx_models
from rosetta_steps.zoo.weights import weights_file

FORWARD, WRITING, READING, PRODUCTS = "forward pass", "writing", "reading", "products"
WHAT = (FORWARD, WRITING, READING, PRODUCTS)
COLUMNS = ["stage", "name", "what", "seconds"]
REPEATS = 2  # of the products, of which the least counts
IMAGES_OF_A_WORKER = 160  # of the products, which are scaled to all images
SHARE_FOR_MAPS = 0.25  # of a worker's memory, for the random maps whose products are measured

Rows = list[tuple[str, str, str, float]]


def bare_costs(chosen: Chosen, sample_set: str, results: Path, cores: int) -> pd.DataFrame:
    """Measure the bare costs of a sample set whose images, and maps if it stores them, are there.

    Args:
        chosen: The checked config.
        sample_set: Name of the sample set.
        results: Folder of the workflow's results.
        cores: Cores of a job.

    Returns:
        stage, name (sample set, model or pair a--b, as Snakemake's files are called), what (one of
        WHAT), seconds.

    Raises:
        StoreError: Images or maps are missing or damaged.
        UserError: A model cannot be used.
    """
    device = lease()
    torch.set_num_threads(cores)
    streams = streams_of(chosen, sample_set, results, device)
    rows: Rows = []
    reading: dict[str, float] = {}
    for name, stream in streams.items():
        seconds = forward_seconds(stream, device)
        rows.append(("activations", name, FORWARD, seconds))
        if name == chosen.sample_set(sample_set).get("generator"):
            rows.append(("sampling", sample_set, FORWARD, seconds))
        if not chosen.runs(sample_set):
            store = results / "activations" / sample_set / f"{name}.zarr"
            written, reading[name] = store_seconds(store)
            rows.append(("activations", name, WRITING, written))
    first = chosen.first_of(sample_set)
    for name in [first, *chosen.others_of(sample_set)]:
        pair = f"{first}--{name}"
        seconds = product_seconds(chosen, streams[first], streams[name], cores)
        rows.append(("correlation", pair, PRODUCTS, seconds))
        if reading:
            read = sum(reading[model] for model in {first, name})
            rows.append(("correlation", pair, READING, read))
    return pd.DataFrame(rows, columns=COLUMNS)


def streams_of(chosen: Chosen, sample_set: str, results: Path, device: str) -> dict[str, Stream]:
    """Return generator and models of a sample set on its images; nothing is run yet."""
    settings = chosen.config["activations"]
    return {
        name: Stream(
            describe(
                name,
                chosen.config["zoo"],
                results / "samples" / f"{sample_set}.zarr",
                chosen.sample_set(sample_set)["layers"],
                dtype=settings["dtype"],
                images_per_shard=settings["images_per_shard"],
                device=device,
            ),
            device,
        )
        for name in chosen.everyone(sample_set)
    }


# --- forward passes -------------------------------------------------------------------------------


def forward_seconds(stream: Stream, device: str) -> float:
    """Seconds of a model's own forward pass on all images; the first pass of all is not counted."""
    name, entry = stream.attrs["model"], find_entry(stream.attrs["model"], stream.state["zoo"])
    model = load(name, entry, weights_file(name, entry), device)
    samples = open_dataset(Path(stream.attrs["samples"]))
    given = latents_of if stream.attrs["role"] == "generator" else images_of
    call = forward_pass(model, entry.role, stream.layers)
    blocks, total = image_blocks(stream.images, stream.at_once), 0.0
    with torch.inference_mode():
        call(*given(samples, blocks[0]))
        for block in blocks:
            inputs = given(samples, block)
            wait()
            begin = time.perf_counter()
            call(*inputs)
            wait()
            total += time.perf_counter() - begin
    return total


def latents_of(samples: xr.Dataset, block: slice) -> tuple[Tensor, Tensor | None, float]:
    """What a generator is called with: latents, labels if there are classes, and truncation."""
    labels = torch.from_numpy(samples["label"][block].values) if "label" in samples else None
    latents = torch.from_numpy(samples["latent"][block].values)
    return latents, labels, samples.attrs["truncation"]


def images_of(samples: xr.Dataset, block: slice) -> tuple[Tensor]:
    """What a model is called with: images in [0, 1]."""
    return (torch.from_numpy(samples["image"][block].values),)


def forward_pass(model: Any, role: str, layers: list[str]) -> Callable[..., object]:
    """Return the forward pass of a model of the zoo as its library has it, preprocessing included.

    Args:
        model: As zoo.loading.load returned it.
        role: "generator" or "model".
        layers: Names of its mined layers. A model of a class of one's own, which has no forward
            pass without maps, gives those of the last of them.
    """
    if role == "generator":
        return model.generate
    if isinstance(model, onnx_models.Model):
        return onnx_pass(model)
    if hasattr(model, "scores"):
        return model.scores
    return lambda images: model.activations(images, layers[-1:])


def onnx_pass(model: onnx_models.Model) -> Callable[[Tensor], list[list]]:
    """Return the forward pass of an ONNX file, which gives the outputs that it has, and no others.

    A file of a fixed batch is run as often as the images need, the last time with some repeated.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = onnx_models.FATAL
    providers = model.session.get_providers()
    session = onnxruntime.InferenceSession(model.path, options, providers=providers)
    dtype = onnx_models.TYPES[model.input.type]

    def call(images: Tensor) -> list[list]:
        size, found = model.batch or len(images), []
        for part in images.split(size):
            whole = part[torch.arange(size).clamp(max=len(part) - 1)]
            inputs = model.preprocessing(whole).numpy()
            if model.channels_last:
                inputs = inputs.transpose(0, 2, 3, 1)
            inputs = np.ascontiguousarray(inputs, dtype=dtype)
            found.append(session.run(None, {model.input.name: inputs}))
        return found

    return call


# --- bytes ----------------------------------------------------------------------------------------


def store_seconds(store: Path) -> tuple[float, float]:
    """Seconds to write a store of maps anew beside itself, and to read it once, as files lie.

    Args:
        store: Finished store of activations.

    Returns:
        Seconds of MapWriter, and of MapReader (opening, and every layer of every block). What was
        written a while ago, the system may still have in memory.
    """
    begin = time.perf_counter()
    reader = MapReader(store)
    read = time.perf_counter() - begin
    written = 0.0
    with tempfile.TemporaryDirectory(dir=store.parent, prefix=".again-") as folder:
        begin = time.perf_counter()
        writer = MapWriter(
            Path(folder) / store.name,
            {name: (reader.channels[name], *reader.sizes[name]) for name in reader.layers},
            reader.images,
            images_per_shard=reader.images_per_shard,
            dtype=reader.dtype.name,
            attrs=reader.attrs,
            layer_attrs={name: reader.layer_attrs(name) for name in reader.layers},
            key=reader.state["key"],
            provenance=Provenance(
                "activations", [str(reader.attrs["model"])], store.parent.name, {}
            ),
            threads=torch.get_num_threads(),
        )
        written += time.perf_counter() - begin
        for block in writer.missing():
            begin = time.perf_counter()
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                found = pool.map(partial(reader.read, block=block), reader.layers)
                maps = dict(zip(reader.layers, found, strict=True))
            read += time.perf_counter() - begin
            begin = time.perf_counter()
            writer.write(block, maps)
            written += time.perf_counter() - begin
        begin = time.perf_counter()
        writer.finish()
        written += time.perf_counter() - begin
    return written, read


# --- products -------------------------------------------------------------------------------------


def shapes_of(stream: Stream) -> Shapes:
    """Layer, channels, height and width of the maps of a stream."""
    return tuple((name, stream.channels[name], *size) for name, size in stream.sizes.items())


def product_seconds(chosen: Chosen, a: Stream, b: Stream, cores: int) -> float:
    """Seconds of the engine's matrix products of a pair, of all images and decoys.

    Args:
        chosen: The checked config.
        a: The first model.
        b: The second model.
        cores: Cores of a job, on which as many workers run as the step would have.
    """
    settings = chosen.config["correlation"]
    workers = torch.cuda.device_count() or max(1, cores // settings["threads_per_worker"])
    of_an_image = sum(stream.values * stream.dtype.itemsize for stream in (a, b))
    fits = int(SHARE_FOR_MAPS * settings["memory_gb"] * 1e9 // of_an_image)
    case = Case(
        f"{a.attrs['model']} x {b.attrs['model']}",
        shapes=(shapes_of(a), shapes_of(b)),
        images=min(IMAGES_OF_A_WORKER, -(-a.images // workers)),
        block=max(1, min(settings["images_per_block"], fits, a.images)),
        precision=settings["precision"],
        threads=settings["threads_per_worker"],
        upsampled=0,
    )
    an_image = measure(case, workers, REPEATS, ("products alone",))["seconds"].iloc[0]
    tables = 1 + chosen.decoys(a.attrs["model"], b.attrs["model"])
    return an_image * a.images * tables
