"""The correlation step: plan, compute piece by piece, and write the table of two models."""

import math
import shutil
from contextlib import ExitStack
from pathlib import Path

import torch
import xarray as xr
from distributed import Client, as_completed
from tqdm import tqdm

from rosetta_steps.correlation.cluster import dashboard_of, explained, local_workers, workers_at
from rosetta_steps.correlation.decoys import images_that_stay
from rosetta_steps.correlation.from_sums import TableFromSums
from rosetta_steps.correlation.pieces import Job, piece
from rosetta_steps.correlation.plan import Outline, Plan, matrix_rate, plan, sums_for_moments
from rosetta_steps.correlation.result import NearestOnly, WholeTable
from rosetta_steps.correlation.settings import NO_SCHEDULER, SLURM, Correlation
from rosetta_steps.correlation.similarities import SIMILARITIES
from rosetta_steps.correlation.slurm_workers import slurm_workers
from rosetta_steps.correlation.taken import Taken
from rosetta_steps.correlation.totals import Total
from rosetta_steps.correlation.units import Units, units_of
from rosetta_steps.maps.moments import measure, write_moments
from rosetta_steps.maps.settings import SUM_BYTES
from rosetta_steps.maps.sources import MapSource, is_stream, open_maps
from rosetta_steps.maps.splits import refuse_splits
from rosetta_steps.runtime.budgets import available_bytes, image_blocks
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.storage.datasets import copy_store, open_each
from rosetta_steps.storage.digests import digest_of
from rosetta_steps.storage.manifests import (
    Provenance,
    ingredients,
    read_manifest,
)
from rosetta_steps.storage.pieces import pieces_folder

DEFAULTS = Correlation()
# Floating-point operations per second, for the expected time where devices are not at hand: float32
# products of a card of 2020.
RATE_OF_A_GPU = 1e13


def correlate(
    a: Path,
    b: Path,
    moments_a: Path,
    moments_b: Path,
    output: Path,
    *,
    samples: Path | None = None,
    settings: Correlation = DEFAULTS,
    threads: int = 1,
    workers: int | None = None,
    nearest: int = 0,
    measure_b: bool = False,
    identity: str | None = None,
    identity_of_moments: str | None = None,
) -> None:
    """Correlate two models and write the table.

    Args:
        a: Path of the first model's activations, or of a stream.
        b: Path of the second model's activations, or of a stream.
        moments_a: Path of the first model's moments.
        moments_b: Path of the second model's moments, to read, or with `measure_b` to write.
        output: Path of the store to write.
        samples: Path of the store of images, within whose classes decoys move images; None moves
            them freely.
        settings: Settings of the computation; the moments must have the same number of splits.
        threads: Number of cores of this job.
        workers: Number of Dask workers on this machine; None allows as many as cores and memory
            permit.
        nearest: Number of partners of each unit to keep instead of the table; 0 keeps the table.
        measure_b: Whether to take the second model's moments in the same pass over the images.
        identity: Digest of the config settings that determine the output (Provenance.identity).
        identity_of_moments: The same of the moments, where they are written.

    Raises:
        StoreError: A store is damaged or changes during the computation, the two models saw
            different images, or the disk is full.
        ValueError: The moments do not belong to the maps, a number of neighbours or splits is
            impossible, the memory budget is too small, or there are no workers.
    """
    first, second = open_each(open_maps, (a, b))
    stores = (first, second)
    refuse_other_images(a, b, *stores)
    refuse_impossible(stores, nearest, settings.splits)
    if measure_b and a == b:
        copy_store(moments_a, moments_b)
        measure_b = False
    if measure_b and sums_for_moments(Outline.of(second), settings.splits) > SUM_BYTES:
        print(f"moments of {second.attrs['model']} first, for whose sums there is no room beside")
        measure(b, moments_b, settings.splits, threads, identity_of_moments)
        measure_b = False
    chosen = _planned(stores, settings, threads, workers, measures_b=measure_b)
    given = [moments_a] if measure_b else [moments_a, moments_b]
    made_of = ingredients([a, b, *given, *([samples] if samples else [])])
    print(chosen.text, flush=True)
    images, device = first.images, chosen.device
    strips = image_blocks(images, settings.images_per_strip)
    job = Job.of(
        a,
        b,
        moments_a,
        None if measure_b else moments_b,
        settings,
        block=chosen.block,
        holds_larger=chosen.holds_larger,
        samples=samples,
    )
    moments = job.moments()
    for path, store, of_store, file in zip((a, b), stores, moments, given, strict=False):
        refuse_other_moments(path, store, of_store, settings.splits, read_manifest(file)["made_of"])
    work = [
        job.__dict__,
        settings.images_per_strip,
        settings.similarity,
        [tile.__dict__ for tile in chosen.tiles],
        nearest,
    ]
    scratch = pieces_folder(output, work)
    # File names contain the digest, as a task of an earlier run may still write into a new folder.
    name = digest_of(work)
    result = (
        NearestOnly(stores, nearest, settings.decoys)
        if nearest
        else WholeTable(stores, settings.splits, settings.decoys)
    )
    if settings.scheduler == SLURM:
        open_workers = slurm_workers(settings, job, scratch, output.stem)
    elif settings.scheduler != NO_SCHEDULER:
        open_workers = workers_at(settings.scheduler, job, scratch)
    else:
        open_workers = local_workers(
            chosen.workers,
            max(1, threads // chosen.workers) if device == "cuda" else settings.threads_per_worker,
            apart=is_stream(a) or is_stream(b),
        )
    taken = Taken(second, settings.splits, chosen.tiles, scratch / name) if measure_b else None
    title = f"correlating {output.stem}"
    with open_workers as client, ExitStack() as stack:
        print(f"  Dask's dashboard: {dashboard_of(client)}", flush=True)
        centres = taken.means(client, job) if taken else moments[1]
        bar = stack.enter_context(tqdm(total=images * len(chosen.tiles), desc=title, unit="image"))
        for index, tile in enumerate(chosen.tiles):
            finished = scratch / f"{name}-tile-{index}.npz"
            if finished.is_file() and (not taken or taken.knows(tile)):
                bar.update(images)
                continue
            units = (
                units_of(first, moments[0], tile.a),
                units_of(second, centres, tile.b),
            )
            files = [scratch / f"{name}-{index}-{number}.npz" for number in range(len(strips))]
            measured = taken.sums_of(tile) if taken else None
            total = Total(scratch / f"{name}-{index}.npz", files, units, measured)
            del measured  # which the total holds, until its moments are known
            compute(client, job, units, strips, total=total, bar=bar)
            if taken:
                taken.keep(tile, total)
            tables = TableFromSums(
                total.sums,
                units,
                (moments[0], taken.moments() if taken else moments[1]),
                images,
                similarity=SIMILARITIES[settings.similarity],
                splits=settings.splits,
            )
            splits = range(settings.splits if settings.splits > 1 else 0)
            result.keep(
                finished,
                tile,
                tables.table(),
                [tables.table(split=split) for split in splits],
                [tables.table(decoy=decoy) for decoy in range(settings.decoys)],
            )
            total.remove()
    job.refuse_changes()
    if taken:
        found = {layer: of.to_dataset() for layer, of in taken.moments().children.items()}
        write_moments(second, found, b, moments_b, identity_of_moments)
        made_of |= ingredients([moments_b])
    files = [scratch / f"{name}-tile-{index}.npz" for index in range(len(chosen.tiles))]
    models = [store.attrs["model"] for store in stores]
    sample_set = stores[0].state["sample_set"]
    provenance = Provenance("correlations", models, sample_set, made_of, identity)
    attrs = {"images": images, "precision": settings.precision, "decoys": settings.decoys}
    attrs |= {"similarity": settings.similarity}
    if settings.decoys:
        attrs |= _what_was_moved(images, settings.images_per_strip, job)
    result.write(chosen.tiles, files, output, attrs, provenance)
    shutil.rmtree(scratch)


def _planned(
    stores: tuple[MapSource, MapSource],
    settings: Correlation,
    threads: int,
    workers: int | None,
    *,
    measures_b: bool,
) -> Plan:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cores = threads if workers is None else workers * settings.threads_per_worker
    if device == "cuda":
        cores = torch.cuda.device_count() * settings.threads_per_worker
    torch.set_num_threads(settings.threads_per_worker)
    rate, free = matrix_rate(device, settings.precision), float(available_bytes())
    if settings.scheduler == SLURM:  # the workers have memory, cores and devices of their own
        cores = settings.slurm_jobs * settings.workers_per_job * settings.threads_per_worker
        free = math.inf
        device, rate = ("cuda", RATE_OF_A_GPU) if settings.gpus else ("cpu", rate)
    return plan(
        Outline.of(stores[0]),
        Outline.of(stores[1]),
        stores[0].images,
        settings,
        cores=cores,
        free=free,
        rate=rate,
        device=device,
        measures_b=measures_b,
    )


def _what_was_moved(images: int, images_per_strip: int, job: Job) -> dict[str, int]:
    labels = job.labels()
    stay = 0
    for strip in image_blocks(images, images_per_strip):
        for part in image_blocks(strip.stop - strip.start, job.block):
            block = slice(strip.start + part.start, strip.start + part.stop)
            stay += images_that_stay(block, None if labels is None else labels[block])
    return {"decoy_images_per_block": job.block, "decoy_images_that_stay": stay}


def refuse_other_images(a: Path, b: Path, store_a: MapSource, store_b: MapSource) -> None:
    """Refuse two sources whose images are not the same.

    Raises:
        StoreError: The images differ.
    """
    images = f"samples on {store_a.state['sample_set']}"
    seen = [store.state["made_of"].get(images) for store in (store_a, store_b)]
    if seen[0] != seen[1] or store_a.images != store_b.images:
        raise StoreError(
            f"{a} and {b} saw different images: {store_a.images} of {store_a.attrs['samples']} and "
            f"{store_b.images} of {store_b.attrs['samples']}, or of two versions of it. Dump both "
            "from one sample set."
        )


def refuse_impossible(stores: tuple[MapSource, MapSource], nearest: int, splits: int) -> None:
    """Refuse numbers of neighbours and splits that are impossible for these sources.

    Raises:
        ValueError: A number is impossible; the message gives the possible range.
    """
    units = [sum(store.channels.values()) for store in stores]
    if not 0 <= nearest <= min(units):
        raise UserError(
            f"{nearest} nearest of {units[0]} and {units[1]} units: at least 1 and at most the "
            "smaller number, or 0 for the table."
        )
    refuse_splits(stores[0].images, splits)
    if splits > 1 and nearest:
        raise UserError(f"{splits} splits are kept as tables: leave out nearest (keep: table).")


def refuse_other_moments(
    path: Path, store: MapSource, moments: xr.DataTree, splits: int, made_of: dict[str, str]
) -> None:
    """Refuse moments that were measured on other maps or with another number of splits.

    Args:
        path: Path of the maps.
        store: Source of the maps.
        moments: Moments of the same model.
        splits: Number of splits of the images.
        made_of: Names and digests of the inputs of the moments.

    Raises:
        ValueError: The moments do not belong to these maps or splits.
    """
    layers = {name: layer.to_dataset() for name, layer in moments.children.items()}
    shapes = {name: (of["mean_map"].shape, int(of["count"])) for name, of in layers.items()}
    own = {
        name: ((store.channels[name], *store.sizes[name]), store.images) for name in store.layers
    }
    same = all(moments.attrs[key] == store.attrs[key] for key in ("model", "samples"))
    if not same or shapes != own or store.state["name"] not in made_of:
        raise UserError(
            f"the moments of {moments.attrs['model']} on {moments.attrs['samples']} are not of "
            f"{path}, which is of {store.attrs['model']} on {store.attrs['samples']}: give "
            "each model's own (--moments-a, --moments-b), measured on these maps."
        )
    found = next(iter(layers.values())).sizes.get("split", 1)
    if found != splits:
        raise UserError(
            f"the moments of {moments.attrs['model']} have {found} splits, not {splits}: measure "
            f"them with --splits {splits} (in the config, correlation.splits)."
        )


def compute(
    client: Client, job: Job, units: tuple[Units, Units], strips: list[slice], *, total: Total, bar
) -> None:
    """Compute the pieces of a tile on the workers and add them to its total.

    Raises:
        ValueError: Worker processes are killed repeatedly.
        StoreError: A piece cannot be read, or the disk is full.
    """
    if there := total.added + sum(file.exists() for file in total.pieces[total.added :]):
        bar.write(f"  going on: {there} of {len(strips)} pieces of this tile are there already")
    bar.update(sum(strip.stop - strip.start for strip in strips[: total.added]))
    number_of = {
        client.submit(
            piece,
            job,
            units,
            (strip.start, strip.stop),
            str(total.pieces[number]),
            total.measured.layers if total.measured else (),
            pure=False,
        ): number
        for number, strip in enumerate(strips)
        if number >= total.added
    }
    finished = set()
    for task in as_completed(number_of):
        with explained(bar.desc):
            task.result()
        task.release()  # otherwise Dask recomputes it if its worker dies
        strip = strips[number_of[task]]
        bar.update(strip.stop - strip.start)
        finished.add(number_of[task])
        total.add(finished)
