"""A whole run of the workflow, stage by stage, beside what its work costs bare.

One go: the workflow in a fresh folder (everything is made anew, with the weights of the cache);
then the bare costs of the same sample set (benchmarks/bare.py says what they are); then the
published way, re-implemented plainly (benchmarks/published.py), for one pair on a few images,
scaled linearly to all images of the sample set.

OUTPUTS  whole.csv  each stage: seconds of the wall clock, bare seconds, ratio and share
         jobs.csv   every job with its seconds, as Snakemake measured them
         bare.csv   the bare costs of every model and pair
         pair.csv   the published way by its parts, and ours by its stages
         whole.png  and .pdf, to look at

    python -m rosetta_steps.benchmarks.whole --sample-set faces-quick
    python -m rosetta_steps.benchmarks.whole --sample-set faces --skip-workflow   # on results/
"""

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pandas as pd
import torch
from snakemake.utils import update_config

from rosetta_steps.benchmarks import account
from rosetta_steps.benchmarks.account import Pair, seconds_of_the_pair
from rosetta_steps.benchmarks.bare import bare_costs, streams_of
from rosetta_steps.benchmarks.correlation import machine, wait
from rosetta_steps.benchmarks.jobs import jobs_of, prepare_folder, run_workflow
from rosetta_steps.benchmarks.published import IMAGES_AT_ONCE, measure
from rosetta_steps.config.yaml_files import read_yaml
from rosetta_steps.correlation.cluster import environment_of_a_worker
from rosetta_steps.display.drawing import save_figures
from rosetta_steps.matching.tables import write_table
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError, run
from rosetta_steps.workflow.checking import check_config, settled
from rosetta_steps.workflow.chosen import Chosen
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.weights import weights_file

Result = TypeVar("Result")
USUAL_MODEL = "efficientnet-lite0"
CONFIG = Path("config/config.yaml")


def read_config(sample_set: str, configfiles: Sequence[Path] = ()) -> Chosen:
    """Read and check the config of this folder, as the workflow does.

    Args:
        sample_set: Name of the sample set that is asked for.
        configfiles: Files to lay over config/config.yaml.

    Raises:
        UserError: The config is wrong, or has no such sample set.
    """
    config: dict = {}
    for file in (CONFIG, *configfiles):
        update_config(config, read_yaml(file))
    config = settled(config | {"sample_set": sample_set})
    check_config(config)
    return Chosen(config)


def published_seconds(
    chosen: Chosen, sample_set: str, results: Path, cores: int, *, model: str, images: int
) -> tuple[pd.Series, int, int]:
    """Measure the published way for the generator and a model on some images.

    Returns:
        Seconds of its parts, scaled to all images; how many it ran on; how many there are.
    """
    device = lease()
    torch.set_num_threads(cores)
    streams = streams_of(chosen, sample_set, results, device)
    first = streams[chosen.first_of(sample_set)]
    images = min(images, first.images)
    neighbours = chosen.config["neighbours"]
    seconds = measure(
        first, streams[model], images=images, neighbours=neighbours, device=device, wait=wait
    )
    return seconds, images, first.images


def in_a_process(cores: int, call: Callable[..., Result], *given: Any, **named: Any) -> Result:
    """Call a function in a process of its own, with the memory settings and threads of a job."""
    before = dict(os.environ)
    os.environ.update(environment_of_a_worker(cores))  # read when a process starts
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(call, *given, **named).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def model_of_the_pair(chosen: Chosen, sample_set: str, asked: str | None) -> str:
    """The model that is matched in the published way: the one asked for, or the usual one.

    Raises:
        UserError: It is not mined.
    """
    others = chosen.others_of(sample_set)
    if asked is None:
        return USUAL_MODEL if USUAL_MODEL in others else others[0]
    if asked not in others:
        raise UserError(f"{asked} is not mined in {sample_set}. Give one of {', '.join(others)}.")
    return asked


def report(
    title: str,
    output: Path,
    bare: pd.DataFrame,
    *,
    jobs: pd.DataFrame | None,
    wall: float,
    pair: Pair | None,
) -> None:
    """Print what was measured, write the tables, and draw the picture of a run.

    Args:
        title: Sample set and machine.
        output: Folder to write to.
        bare: As bare_costs returns it.
        jobs: As jobs_of returns it; None: no workflow was run.
        wall: Wall clock of the run in seconds.
        pair: One pair in the published way; None: it was left out.
    """
    tables = {"bare": bare}
    if pair is not None:
        tables["pair"] = pair.table()
    print(title, end="\n\n")
    if jobs is None:
        print(printed(bare), end="\n\n")
        print(f"sum of the bare costs: {bare['seconds'].sum():.1f} s")
    else:
        stages = account.stages(jobs, bare, wall)
        tables |= {"whole": stages, "jobs": jobs}
        print(printed(stages.assign(share=[f"{share:.0%}" for share in stages["share"]])))
        print(printed(account.jobs_beside_bare(jobs, bare)))
        whole = stages.iloc[-1]
        print(
            f"whole: {whole['seconds']:.1f} s, {whole['ratio']:.2f} times the sum of its bare "
            f"costs, {whole['bare']:.1f} s"
        )
        save_figures({output / "whole": account.picture(stages, bare, pair, title)})
    if pair is not None:
        print(pair.in_words())
    for name, table in tables.items():
        write_table(table.assign(machine=title), output / f"{name}.csv")


def printed(table: pd.DataFrame) -> str:
    """A table as text, with a line below it."""
    return f"{table.to_string(index=False, na_rep='', float_format='{:.2f}'.format)}\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample-set", default="faces", help="default %(default)s")
    parser.add_argument(
        "--configfile", type=Path, nargs="+", default=[], help="laid over config/config.yaml"
    )
    parser.add_argument(
        "--cores", type=int, default=os.cpu_count(), help="of the workflow, default %(default)s"
    )
    parser.add_argument(
        "--published-images",
        type=int,
        default=IMAGES_AT_ONCE,
        help="that the published way is run on, or 0 to leave it out; default %(default)s",
    )
    parser.add_argument(
        "--published-model", help=f"of the pair; default {USUAL_MODEL}, else the first model"
    )
    parser.add_argument(
        "--skip-workflow", action="store_true", help="only bare costs, on the results in --folder"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("results"), help="with --skip-workflow, %(default)s"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results/benchmarks"), help="default %(default)s"
    )
    o = parser.parse_args()
    if o.cores < 1 or o.published_images < 0:
        parser.error("--cores is at least 1, --published-images at least 0")
    chosen = read_config(o.sample_set, o.configfile)
    first = chosen.first_of(o.sample_set)
    model = model_of_the_pair(chosen, o.sample_set, o.published_model)
    for name in chosen.everyone(o.sample_set):  # so that no download counts
        weights_file(name, find_entry(name, chosen.config["zoo"]))
    o.output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        results, jobs, wall = o.folder, None, 0.0
        if not o.skip_workflow:
            scratch = TemporaryDirectory(dir=o.output, prefix="whole-")
            folder = Path(stack.enter_context(scratch)).absolute()
            prepare_folder(Path(), folder)
            print(f"1. the workflow, in {folder}", flush=True)
            begin, wall = run_workflow(folder, o.sample_set, o.cores, o.configfile)
            results, jobs = folder / "results", jobs_of(folder, begin, wall)
        measured = (chosen, o.sample_set, results, o.cores)
        print("2. bare costs", flush=True)
        bare = in_a_process(o.cores, bare_costs, *measured)
        pair = None
        if o.published_images:
            print(f"3. the published way, on {o.published_images} images\n", flush=True)
            found = in_a_process(
                o.cores, published_seconds, *measured, model=model, images=o.published_images
            )
            ours = None if jobs is None else seconds_of_the_pair(jobs, o.sample_set, first, model)
            pair = Pair(f"{first} × {model}", *found, ours)
    images = chosen.images_of(o.sample_set)
    title = f"{o.sample_set}, {images} images, {o.cores} cores, {machine()}"
    report(title, o.output, bare, jobs=jobs, wall=wall, pair=pair)


if __name__ == "__main__":
    # By its name, so that the processes of the bare costs find its functions.
    from rosetta_steps.benchmarks.whole import main as by_name

    run(by_name)
