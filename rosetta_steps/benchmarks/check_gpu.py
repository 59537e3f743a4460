"""Everything that needs a GPU, in at most six minutes (make check-gpu): one page of what came out.

Tests that need a device, a whole small workflow and Table 1 of eight images as a user types them,
the benchmarks that use a card, and the workflow's correlations beside those of the processor. A
step that fails holds up no other; the page has versions, figures, and how failures ended.

    python -m rosetta_steps.benchmarks.check_gpu
    python3 -m rosetta_steps.benchmarks.check_gpu --wheels wheels   # no network, no environment

With --wheels what lies there is installed into a folder of its own for these minutes, and weights
that come from Python packages are taken from there. What must not be in it is what the machine has
already, such as torch. Without a card one line says so, and nothing is run.
"""

import argparse
import csv
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rosetta_steps.benchmarks.timed_steps import (
    PASSED,
    Outcome,
    Step,
    fenced,
    page_of,
    run_steps,
    table_of,
)
from rosetta_steps.runtime.devices import visible_devices
from rosetta_steps.runtime.errors import UserError, run

ROOT = Path(__file__).parents[2]
MINUTES = 6.0
SAMPLE_SET, GENERATOR, MODEL = "faces-quick", "dcgan-digiface", "efficientnet-lite0"
# Laid over config/config.yaml: Table 1 of eight images, guided by what the small workflow mined.
EIGHT_IMAGES = f"""\
sample_set: {SAMPLE_SET}
sample_sets: {{faces-heldout: {{generator: {GENERATOR}, images: 8, seed: 1}}}}
inversions: {{faces-heldout: {{matches: {SAMPLE_SET}, targets: faces-heldout}}}}
"""
PACKAGES = ("torch", "torchvision", "timm", "snakemake", "onnxruntime", "numpy", "xarray", "zarr")
# Of the same maps both compute in float32. On the whole way a card rounds convolutions in another
# order, and maps to float16 after it: a unit that hardly ever fires may differ by any amount, so
# that the mean is held.
SAME_MAPS = ("--at-most", "1e-5")
WHOLE_WAY = ("--mean-at-most", "1e-4")
NO_CARD = "check-gpu: there is no usable NVIDIA card here ({why}), so nothing was checked."


def versions() -> dict[str, str]:
    """The card, and the versions that figures depend on, of this process's Python."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    try:
        import torch

        found["cuda"] = str(torch.version.cuda)
        found["card"] = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    except ImportError as error:
        found["cuda"], found["card"] = f"torch cannot be imported: {error}", ""
    return found


def unmet_requirements() -> list[str]:
    """What pyproject.toml and the packages that it names ask for, and this Python does not have."""
    import tomllib
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tests = [word for word in project["optional-dependencies"]["test"] if "test" in word]
    left = [(words, "rosetta_steps") for words in [*project["dependencies"], *tests]]
    seen, unmet = set(), []
    while left:
        words, by = left.pop()
        requirement = Requirement(words)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(requirement.name)
        except PackageNotFoundError:
            there = "none"
        if there == "none" or not requirement.specifier.contains(there, prereleases=True):
            unmet.append(f"{words.partition(';')[0].strip()} of {by}, and there is {there}")
        elif _plain(requirement.name) not in seen:
            seen.add(_plain(requirement.name))
            left += [(further, requirement.name) for further in requires(requirement.name) or []]
    return sorted(set(unmet))


def say_versions() -> None:
    """Print versions as JSON; the exit status tells whether all requirements are met."""
    print(json.dumps(versions()))
    if unmet := unmet_requirements():
        sys.exit("\n".join(["Not met:", *unmet]))


def wheels_to_install(folders: Iterable[Path]) -> list[Path]:
    """The wheels in some folders, without those of weights, which `zoo fetch` unpacks itself.

    Raises:
        ValueError: A folder has none.
    """
    zoo = (ROOT / "config/models.yaml").read_text(encoding="utf-8")
    of_weights = {_plain(name) for name in re.findall(r"^ +package: *(\S+)", zoo, re.MULTILINE)}
    found = []
    for folder in folders:
        wheels = sorted(Path(folder).glob("*.whl"))
        if not wheels:
            raise UserError(
                f"{folder} has no wheels (*.whl). `pip download -d` fills such a folder."
            )
        found += [path for path in wheels if _plain(path.name.partition("-")[0]) not in of_weights]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def environment(place: Path, wheels: Sequence[Path]) -> dict[str, str]:
    """Variables of every step: this Python under the name `python`, and the wheels.

    Args:
        place: Folder of these minutes.
        wheels: Folders of wheels.
    """
    # A job says `python`, which on a bare machine may be another Python or none. No link: a virtual
    # environment is found by the folder of the program that was called.
    programs = place / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (programs / name).chmod(0o755)
    found = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    if wheels:
        before = os.environ.get("PYTHONPATH", "")
        found["PYTHONPATH"] = f"{place / 'site'}{os.pathsep}{before}".rstrip(os.pathsep)
        found["PIP_NO_INDEX"] = "1"
        found["PIP_FIND_LINKS"] = " ".join(str(Path(folder).absolute()) for folder in wheels)
    return found


def checkout(folder: Path) -> None:
    """Copy what Snakemake needs of this checkout, without results."""
    for name in ("workflow", "rosetta_steps", "config"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "eight.yaml").write_text(EIGHT_IMAGES, encoding="utf-8")


def with_the_same_maps(of: Path, folder: Path) -> None:
    """Copy a checkout with its results; files are linked, because steps replace what they write."""
    written_over = shutil.ignore_patterns(".snakemake", "logs", "benchmarks")

    def ignore(parent: str, names: list[str]) -> set[str]:
        return written_over(parent, names) if Path(parent) == of else set()

    shutil.copytree(of, folder, copy_function=os.link, ignore=ignore)


def install_step(place: Path, wheels: Sequence[Path]) -> Step:
    """Install wheels for these minutes, beside what the machine has."""
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
    files = [str(path) for path in wheels_to_install(wheels)]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(place / "site")]
    if not files:  # weights alone
        command = [sys.executable, "-c", "print('nothing to install')"]
    return Step("installation of wheels", [*command, *files], 60, ROOT)


def steps_of(place: Path) -> list[Step]:
    """All that is checked, in the order in which it would be missed.

    Args:
        place: Folder of these minutes.
    """
    card, same, processor = (place / name for name in ("card", "same-maps", "processor"))
    stores = [
        f"results/correlations/{SAMPLE_SET}/{GENERATOR}--{other}.zarr.done.json"
        for other in (GENERATOR, MODEL, "open-nsfw")  # all pairs that are compared
    ]
    gpu, hidden = ["--cores", "all", "--resources", "gpu=1"], {"CUDA_VISIBLE_DEVICES": ""}
    small = ["--config", f"sample_set={SAMPLE_SET}"]
    return [
        Step(
            "tests that need a device",
            _python("pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "-rfE", *_tests()),
            120,
            ROOT,
            figures=figures_of_tests,
        ),
        Step(
            "workflow",
            _python("snakemake", "dictionary", *gpu, *small),
            150,
            card,
            prepare=lambda: checkout(card),
            figures=lambda log: seconds_of_rules(card),
        ),
        Step(
            "correlations of the same maps on the processor",
            _python("snakemake", *stores, "--cores", "all", "--forcerun", "correlation", *small),
            60,
            same,
            environment=hidden,
            prepare=lambda: with_the_same_maps(card, same),
            needs=("workflow",),
        ),
        Step(
            "difference of correlations of the same maps",
            _compare(card, same, *SAME_MAPS),
            30,
            ROOT,
            figures=fenced,
            needs=("correlations of the same maps on the processor",),
        ),
        Step(
            "Table 1 of eight images",
            _python("snakemake", "results/inversions/table1.csv", *gpu)
            + ["--configfile", "eight.yaml"],
            150,
            card,
            figures=lambda log: table_1(card),
            needs=("workflow",),
        ),
        Step(
            "correlation of the workflow's maps",
            _benchmark("correlation", "--folder", str(card / "results"))
            + ["--sample-set", SAMPLE_SET, "--images", "64", "--resident", "640", *ONE],
            60,
            ROOT,
            figures=last_lines,
            needs=("workflow",),
        ),
        Step(
            "correlation of shapes of the paper's zoo",
            _benchmark("correlation", "--zoo-shapes", "stylegan2-lsun-cat", "resnet50")
            + ["--images", "96", "--resident", "960", *ONE],
            75,
            ROOT,
            figures=last_lines,
        ),
        Step(
            "running models of the paper's zoo",
            _benchmark("running", "stylegan2-lsun-cat", "resnet50", "--images", "64")
            + ["--images-per-block", "32"],
            75,
            ROOT,
            figures=last_lines,
        ),
        Step(
            "correlations of the whole way on the processor",
            _python("snakemake", *stores, "--cores", "all", *small),
            150,
            processor,
            environment=hidden,
            prepare=lambda: checkout(processor),
            needs=("workflow",),
        ),
        Step(
            "difference of correlations of the whole way",
            _compare(card, processor, *WHOLE_WAY),
            30,
            ROOT,
            figures=fenced,
            needs=("correlations of the whole way on the processor",),
        ),
    ]


ONE = ("--workers", "1", "--repeats", "2")


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _benchmark(name: str, *arguments: str) -> list[str]:
    return _python(f"rosetta_steps.benchmarks.{name}", *arguments)


def _compare(one: Path, other: Path, *limit: str) -> list[str]:
    folders = [str(one / "results"), str(other / "results")]
    return _benchmark("card_and_processor", *folders, SAMPLE_SET, *limit)


def _tests() -> list[str]:
    """Files of tests with the marker: to collect all others takes half a minute."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    marked = [f for f in files if re.search(r"\bmark\.cuda\b", f.read_text(encoding="utf-8"))]
    return [str(file.relative_to(ROOT)) for file in marked]


def figures_of_tests(log: str) -> str:
    """The last line of pytest, without its frame.

    Raises:
        ValueError: No test passed: where all are skipped, none has seen the card.
    """
    last = log.strip().splitlines()[-1].strip("= ")
    if not re.search(r"\b[1-9]\d* passed\b", last):
        raise ValueError(f"no test has passed: {last}")
    return f"{last}."


def seconds_of_rules(folder: Path) -> str:
    """A table of the seconds of all jobs of each rule, by Snakemake's own benchmarks."""
    seconds: dict[str, list[float]] = {}
    for file in sorted((folder / "benchmarks").rglob("*.tsv")):
        with file.open(encoding="utf-8") as lines:
            row = next(csv.DictReader(lines, delimiter="\t"))
        rule = file.relative_to(folder / "benchmarks").parts[0]
        seconds.setdefault(rule, []).append(float(row["s"]))
    rows = [(rule, len(jobs), f"{sum(jobs):.1f}") for rule, jobs in seconds.items()]
    return table_of(("rule", "jobs", "seconds of all"), rows)


def table_1(folder: Path) -> str:
    """Table 1, and the seconds of every arm."""
    with (folder / "results/inversions/table1.csv").open(encoding="utf-8") as lines:
        columns, *rows = csv.reader(lines)
    arms = []
    for file in sorted((folder / "benchmarks/invert/faces-heldout").glob("*.tsv")):
        with file.open(encoding="utf-8") as lines:
            row = next(csv.DictReader(lines, delimiter="\t"))
        arms.append((file.stem, f"{float(row['s']):.1f}"))
    return f"{table_of(columns, rows)}\n\n{table_of(('arm', 'seconds'), arms)}"


def last_lines(log: str) -> str:
    """What a benchmark has printed at the end: from the line that names the device on."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    named = [i for i, line in enumerate(lines) if re.search(r", (cuda|cpu), ", line)]
    return fenced("\n".join(lines[named[-1] if named else -12 :]))


def describe(found: dict[str, str]) -> str:
    """Machine, versions and commit as a table, for the top of a page."""
    rows = [
        ("card", found.get("card", "")),
        (
            "driver",
            _first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        ),
        ("cores", os.cpu_count()),
        ("commit", _first_line(["git", "-C", str(ROOT), "rev-parse", "HEAD"])),
        *((name, text) for name, text in found.items() if name != "card"),
    ]
    words = "Written by `make check-gpu` on {}; seconds are those of the whole step.\n\n{}"
    return words.format(datetime.date.today(), table_of(("what", "version"), rows))


def _first_line(command: list[str]) -> str:
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return said.stdout.strip().split("\n")[0] if said.returncode == 0 else "unknown"


def check(
    steps: Callable[[Path], list[Step]],
    *,
    wheels: Sequence[Path] = (),
    minutes: float = MINUTES,
    output: Path,
    logs: Path,
    needs_card: bool = True,
) -> list[Outcome] | str:
    """Run steps one after the other and write their page, anew after every step.

    Args:
        steps: Makes them for a folder that is removed at the end.
        wheels: Folders of wheels.
        minutes: Of all steps together.
        output: Folder of the page.
        logs: Folder of the logs of all steps.
        needs_card: False runs them without one, to see that their commands are right.

    Returns:
        Outcomes, or why there is no card.

    Raises:
        ValueError: A folder of wheels has none.
    """
    if needs_card and not visible_devices():
        return "nvidia-smi lists none, or CUDA_VISIBLE_DEVICES hides all"
    seconds = 60 * minutes
    with tempfile.TemporaryDirectory(prefix="check-gpu-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        variables, outcomes = environment(place, wheels), list[Outcome]()
        if wheels:
            outcomes += run_steps([install_step(place, wheels)], logs, seconds, variables)
            seconds -= outcomes[0].seconds
        door = "from rosetta_steps.benchmarks.check_gpu import say_versions as say; say()"
        met = Step("requirements", [sys.executable, "-c", door], 60, ROOT)
        outcomes += run_steps([met], logs, seconds, variables)
        seconds -= outcomes[-1].seconds
        lines = (logs / "requirements.log").read_text(encoding="utf-8").splitlines()
        found: dict[str, str] = next((json.loads(line) for line in lines if line[:1] == "{"), {})
        if needs_card and not found.get("card"):
            return f"torch {found.get('torch', '')} cannot use it"
        card = found.get("card") or "no card"
        slug = re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
        page = output / f"{datetime.date.today()}-{slug}.md"
        title, words, before = f"Checks on {card}", describe(found), list(outcomes)

        def write(so_far: list[Outcome]) -> None:
            output.mkdir(parents=True, exist_ok=True)
            page.write_text(page_of(title, words, [*before, *so_far]), encoding="utf-8")
            print(so_far[-1].line(), flush=True)

        for outcome in before:
            print(outcome.line(), flush=True)
        outcomes += run_steps(steps(place), logs, seconds, variables, write)
    print(f"{page} has the figures, {logs} the logs.")
    return outcomes


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--wheels",
        type=Path,
        nargs="+",
        default=[],
        help="folders of wheels, for want of a network",
    )
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="of all steps, default %(default)s"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs/benchmarks", help="folder of the page"
    )
    parser.add_argument(
        "--logs", type=Path, default=ROOT / "logs/check-gpu", help="folder of the logs"
    )
    a = parser.parse_args()
    outcomes = check(
        steps_of, wheels=a.wheels, minutes=a.minutes, output=a.output, logs=a.logs.absolute()
    )
    if isinstance(outcomes, str):
        print(NO_CARD.format(why=outcomes))
        return
    bad = [outcome.step.name for outcome in outcomes if outcome.state != PASSED]
    print(f"{len(outcomes) - len(bad)} of {len(outcomes)} steps passed.")
    if bad:
        raise UserError(f"not passed: {', '.join(bad)}.")


if __name__ == "__main__":
    run(main)
