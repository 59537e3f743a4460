"""A bundle: one folder with what others need of a dictionary, its origin and its checksums.

bundle.json               format, sample set, models with origin and licence, settings, versions
manifest-sha256.txt       sha256 of every other file, for `sha256sum -c`
ro-crate-metadata.json    the same for Zenodo and other archives (RO-Crate 1.1)
results/                  laid out as the workflow does, so that open_results reads it
"""

import argparse
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from tqdm import tqdm

import rosetta_steps
from rosetta_steps.runtime.environment import versions
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.sharing.crate import crate
from rosetta_steps.storage.digests import sha256_of
from rosetta_steps.storage.files import (
    explain_full_disk,
    files_under,
    is_hidden,
    replace_folder,
    write_json,
)
from rosetta_steps.storage.leftovers import partial
from rosetta_steps.storage.manifests import manifest_path, read_manifest
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.weights import describe

FORMAT = 1
BUNDLE, SUMS, CRATE, RESULTS = (
    "bundle.json",
    "manifest-sha256.txt",
    "ro-crate-metadata.json",
    "results",
)


@dataclass(frozen=True)
class Origin:
    """Where a model of a bundle comes from.

    Attributes:
        name: Its name in the zoo.
        source: In words.
        licence: Of the weights.
        weights: Where they can be had.
        sha256: Of their file; empty where the entry gives none.
    """

    name: str
    source: str
    licence: str
    weights: str
    sha256: str

    @classmethod
    def of(cls, name: str, zoo: str | Path) -> "Origin":
        """The origin of a model of the zoo."""
        entry = find_entry(name, zoo)
        weights = entry.weights
        return cls(name, entry.source, entry.licence, describe(weights), weights.sha256 or "")


def write_bundle(
    artefacts: Iterable[Path],
    output: Path,
    *,
    settings: Mapping,
    zoo: str | Path,
    identity: str | None = None,
) -> None:
    """Copy artefacts into a bundle, whole or not at all.

    Args:
        artefacts: Stores, tables, pages and folders under results/, the dictionary among them.
            Those with a manifest bring it along.
        output: Folder to write; one that is a bundle is replaced.
        settings: With what the dictionary was mined, by section of the config.
        zoo: File with the entries of its models.
        identity: Digest of the config settings that determine it.

    Raises:
        StoreError: An artefact is not finished or damaged, or the disk is full.
        ValueError: There is something else in the place of the folder.
    """
    artefacts = list(artefacts)
    refuse_other_folder(output)
    table = next((path for path in artefacts if path.name == "rosetta.csv"), None)
    if table is None:
        raise UserError("a bundle is of a dictionary: rosetta.csv is not among the artefacts.")
    state = read_manifest(table)
    building = partial(output)
    try:
        with explain_full_disk(output):
            for path in tqdm(artefacts, "copying", unit="artefact"):
                _copy(path, building)
            about = {
                "format": FORMAT,
                "sample_set": state["sample_set"],
                "models": [asdict(Origin.of(name, zoo)) for name in state["models"]],
                "settings": settings,
                "rosetta_steps": rosetta_steps.__version__,
                "versions": versions().split(", "),
                "written": date.today().isoformat(),
                "identity": identity,
            }
            write_json(building / BUNDLE, about)
            files = files_under(building)
            sizes = {file: (building / file).stat().st_size for file in files}
            write_json(building / CRATE, crate(about, sizes))
            lines = [f"{sha256_of(building / f)}  {f}\n" for f in [*files, CRATE]]
            (building / SUMS).write_text("".join(lines), encoding="utf-8")
            replace_folder(building, output)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _copy(path: Path, bundle: Path) -> None:
    """Copy an artefact with its manifest, and of pages what lies beside them."""
    relative = path.parts[path.parts.index(RESULTS) :]
    target = bundle.joinpath(*relative)
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".zarr", ".csv"):
        read_manifest(path)
        shutil.copy2(manifest_path(path), manifest_path(target))
    if not path.is_dir():
        shutil.copy2(path, target)
        return
    # Not copytree, which goes on after a full disk and then says so of every file.
    for file in files_under(path):
        if not is_hidden(file):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path / file, target / file)


def refuse_other_folder(output: Path) -> None:
    """Refuse to replace a folder that is no bundle.

    Raises:
        ValueError: It has files that no bundle has, or lacks those by which one is known.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(f"{output} is a file. Move it away; nothing was written.")
    found = {path.name for path in output.iterdir() if not is_hidden(path.name)}
    if others := sorted(found - {BUNDLE, SUMS, CRATE, RESULTS}):
        raise UserError(
            f"{output} is no bundle: it has {others[0]}. Move it away; nothing was written."
        )
    # Snakemake has removed bundle.json before the step begins.
    if found and not {SUMS, CRATE} <= found:
        raise UserError(
            f"{output} is no bundle: it has no {SUMS}. Move it away; nothing was written."
        )


def read_bundle(folder: Path) -> dict:
    """Read what a bundle says of itself.

    Args:
        folder: The bundle.

    Raises:
        StoreError: It is none, or of a later format than is read here.
    """
    try:
        about = json.loads((folder / BUNDLE).read_bytes())
        form = about["format"]
    except FileNotFoundError:
        raise StoreError(
            f"{folder} is no bundle: it has no {BUNDLE}. `snakemake bundle` writes one to "
            "results/bundles."
        ) from None
    except (ValueError, KeyError, TypeError, IsADirectoryError) as error:
        raise StoreError(
            f"{folder / BUNDLE} is damaged ({error!r}). Fetch the bundle again."
        ) from None
    if form != FORMAT:
        raise StoreError(
            f"{folder} is a bundle of format {form}, and rosetta_steps "
            f"{rosetta_steps.__version__} reads format {FORMAT}: it was written by "
            f"{about.get('rosetta_steps', 'another version')}. Install that version."
        )
    return about


def refuse_damage(folder: Path) -> None:
    """Compare every file of a bundle with its checksum.

    Raises:
        StoreError: A file is missing, was changed or does not belong there; names the first.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise StoreError(f"{folder / SUMS} is missing. Fetch the bundle again.") from None
    except (ValueError, IsADirectoryError):
        lines = []
    found = [re.fullmatch("([0-9a-f]{64})  (.+)", line) for line in lines]
    wanted = {line[2]: line[1] for line in found if line}
    if not all(found) or not {BUNDLE, CRATE} <= set(wanted):  # the crate's is the last line
        raise StoreError(f"{folder / SUMS} is damaged. Fetch the bundle again.")
    there = {file for file in files_under(folder) if not is_hidden(file)} - {SUMS}
    again = "Fetch the bundle again, or unpack it anew."
    if missing := sorted(set(wanted) - there):
        raise StoreError(f"{folder / missing[0]} is missing. {again}")
    if further := sorted(there - set(wanted)):
        raise StoreError(f"{folder / further[0]} does not belong to the bundle. Move it away.")
    for file in tqdm(sorted(wanted), "checking the bundle", unit="file", leave=False):
        if sha256_of(folder / file) != wanted[file]:
            raise StoreError(f"{folder / file} is another than {SUMS} says. {again}")


def carry_out(a: argparse.Namespace) -> None:
    """Write the bundle that a command line asks for."""
    if not a.output.parent.name:
        raise UserError(f"--output {a.output} names no folder: give DIR/{BUNDLE}.")
    try:
        settings = json.loads(a.settings)
    except ValueError as error:
        raise UserError(f"--settings is no JSON ({error}).") from None
    write_bundle(
        a.artefacts,
        a.output.parent,
        settings=settings,
        zoo=a.zoo,
        identity=a.identity,
    )
    folder = a.output.parent
    size = sum((folder / file).stat().st_size for file in files_under(folder))
    print(f"{folder}: {size / 1e6:.0f} MB")
