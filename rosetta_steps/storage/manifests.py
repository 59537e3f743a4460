"""Manifests: what a finished artefact is, what it follows from and what it was made of.

Beside a store `X.zarr` or a table `X.csv` stands its manifest, `X.zarr.done.json`, which is written
last. Besides what tells damage (sizes and digests of files) it has

    file        the name under which the artefact was written
    name        what it is, in words: "moments of resnet50 on faces"
    models      the models that it is of, in order
    sample_set  whose images it is of, or was mined on
    identity    what it follows from by the config (rosetta_steps.workflow.recipes); null by hand
    made_of     name to digest of all that it was made of, directly or through others

The digest of an artefact is the sha256 of its manifest. So two artefacts belong together if they
agree on the digest of everything that both were made of, wherever they lie.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from rosetta_steps.runtime.errors import StoreError

KEYS = {"file": str, "name": str, "models": list, "sample_set": str, "made_of": dict}


@dataclass(frozen=True)
class Provenance:
    """Where an artefact comes from.

    Attributes:
        kind: Of artefact, such as "moments".
        models: Names of the models that it is of, in order.
        sample_set: Whose images it is of, or was mined on.
        made_of: As `ingredients` gives it.
        identity: What it follows from by the config; None where a step is run by hand.
    """

    kind: str
    models: Sequence[str] = ()
    sample_set: str = ""
    made_of: Mapping[str, str] = field(default_factory=dict)
    identity: str | None = None

    @property
    def name(self) -> str:
        """What the artefact is, in words: "moments of resnet50 on faces"."""
        models = f" of {' and '.join(self.models)}" if self.models else ""
        return f"{self.kind}{models} on {self.sample_set}"

    def state(self, artefact: Path) -> dict:
        """Its part of the manifest of an artefact."""
        return {
            "file": Path(artefact).name,
            "name": self.name,
            "models": list(self.models),
            "sample_set": self.sample_set,
            "identity": self.identity,
            "made_of": dict(sorted(self.made_of.items())),
        }


def manifest_path(artefact: Path) -> Path:
    """Where the manifest of a finished artefact lies."""
    artefact = Path(artefact)
    return artefact.with_name(artefact.name + ".done.json")


def partial_path(store: Path) -> Path:
    """Where the manifest of a store that is not finished lies."""
    return store.with_name(store.name + ".partial.json")


def step_that_writes(target: Path) -> str:
    """The advice to make a file again, by its name."""
    return f"Run the step that writes it (snakemake --cores all {os.path.relpath(target)})"


def read_manifest(artefact: Path, keys: Mapping[str, type] | None = None) -> dict:
    """The manifest of a finished artefact.

    Args:
        artefact: The store or table.
        keys: Further keys that it must have, and the types of their values.

    Raises:
        StoreError: The artefact is not finished, was written under another name, or its manifest is
            damaged, which is then removed.
    """
    artefact, path = Path(artefact), manifest_path(artefact)
    try:
        state = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        again = "it goes on where it stopped" if artefact.suffix == ".zarr" else "it is made anew"
        raise StoreError(
            f"{artefact} is not finished: {path.name} is missing. {step_that_writes(path)}: "
            f"{again}."
        ) from None
    except (ValueError, RecursionError, IsADirectoryError) as error:
        refuse_manifest(artefact, f"it is no JSON ({error})")
    wanted = KEYS | dict(keys or {})
    if not isinstance(state, dict):
        refuse_manifest(artefact, f"it holds a {type(state).__name__}, not keys with values")
    if wrong := [key for key, kind in wanted.items() if not isinstance(state.get(key), kind)]:
        refuse_manifest(artefact, f"its '{wrong[0]}' is {str(state.get(wrong[0]))[:60]!r}")
    if state["file"] != artefact.name:
        raise StoreError(
            f"{artefact} is {state['name']} and was written as {state['file']}: it was copied or "
            f"renamed. Name it so again, or delete it with {path.name} and run the step that "
            f"writes it (snakemake --cores all {os.path.relpath(path)})."
        )
    return state


def refuse_manifest(artefact: Path, reason: str) -> None:
    """Remove a damaged manifest, so that its artefact is made again, and say so.

    Raises:
        StoreError: Always.
    """
    path = manifest_path(artefact)
    if path.is_file():
        path.unlink()
    raise StoreError(f"{path} is damaged: {reason}. {step_that_writes(path)}.")


def digest_of_artefact(artefact: Path) -> str:
    """The sha256 of an artefact's manifest, which follows from content and origin.

    Raises:
        StoreError: It is not finished.
    """
    read_manifest(artefact)
    return hashlib.sha256(manifest_path(artefact).read_bytes()).hexdigest()


def identity_recorded(artefact: Path) -> str | None:
    """What an artefact says that it follows from; None where it says nothing that can be read.

    What is looked at says it itself: a page in a meta element, a PNG in its description, a WebP in
    its XMP.
    """
    if artefact.suffix in (".html", ".png", ".webp"):
        return _identity_within(artefact)
    # A stream is its own manifest.
    path = artefact if artefact.suffix == ".json" else manifest_path(artefact)
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return state.get("identity") if isinstance(state, dict) else None


def _identity_within(shown: Path) -> str | None:
    try:
        if shown.suffix in (".png", ".webp"):
            with Image.open(shown) as picture:
                found = picture.info.get("Description", picture.info.get("xmp"))
                return found.decode() if isinstance(found, bytes) else found
        with shown.open(encoding="utf-8") as page:
            found = re.search(r'<meta name="identity" content="(\w*)">', page.read(1000))
    except (OSError, ValueError):
        return None
    return found and found[1]


def ingredients(
    artefacts: Iterable[Path], others: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Names and digests of artefacts and of all that they were made of.

    Args:
        artefacts: Stores and tables that are read together.
        others: Names and digests of what has no manifest, such as weights.

    Raises:
        StoreError: One is not finished; or two do not belong together, because they were made of
            two versions of one thing.
    """
    together: dict[str, str] = {}
    named_by: dict[str, Path | None] = {}
    for artefact in map(Path, artefacts):
        if artefact.suffix == ".json":  # a stream, which is its own manifest
            state = json.loads(artefact.read_bytes())
            own = {state["name"]: state["digest"]}
        else:
            state = read_manifest(artefact)
            own = {state["name"]: digest_of_artefact(artefact)}
        _add(together, named_by, state["made_of"] | own, artefact)
    _add(together, named_by, others or {}, None)
    return together


def refuse_not_made_of(artefacts: Iterable[Path], source: Path) -> None:
    """Refuse artefacts that were not made of some other one, as it is now.

    Args:
        artefacts: Stores and tables.
        source: A store, such as the samples.

    Raises:
        StoreError: Names the first that was made of something else.
    """
    name, digest = read_manifest(source)["name"], digest_of_artefact(source)
    for artefact in artefacts:
        state = read_manifest(artefact)
        if (found := state["made_of"].get(name)) != digest:
            of = f"another version of {name} than" if found else f"other images than {name},"
            raise StoreError(
                f"{artefact} ({state['name']}) was made of {of} {source}: they do not belong "
                "together. Delete its manifest (.done.json), and run the step that writes it again."
            )


def _add(
    together: dict[str, str], by: dict[str, Path | None], parts: Mapping, artefact: Path | None
) -> None:
    for name, digest in parts.items():
        if together.setdefault(name, digest) == digest:
            by.setdefault(name, artefact)
            continue
        first, second = (str(path or "what this step runs") for path in (by[name], artefact))
        raise StoreError(
            f"{first} and {second} do not belong together: they were made of two versions of "
            f"{name} ({together[name][:12]} and {str(digest)[:12]}). Delete the manifest "
            f"(.done.json) of the older one, and run the step that writes it again."
        )


def refuse_other_models(artefact: Path, models: Sequence[str]) -> dict:
    """The manifest of an artefact, if it is of the models that it is read as.

    Raises:
        StoreError: It is of others, or as read_manifest.
    """
    state = read_manifest(artefact)
    if state["models"] != list(models):
        raise StoreError(
            f"{artefact} is {state['name']}, of {' and '.join(state['models']) or 'no model'}, and "
            f"read as that of {' and '.join(models)}. Give the one that belongs there, or delete "
            "it with its manifest and run the step that writes it."
        )
    return state


def add_identity_argument(parser) -> None:
    """Add what the workflow records in the manifest of what a step writes."""
    parser.add_argument(
        "--identity", metavar="DIGEST", help="what the output follows from; the workflow says it"
    )
