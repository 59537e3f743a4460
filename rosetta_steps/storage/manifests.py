"""Manifests, which record what a finished artefact is and which inputs it was computed from.

An artefact is a store `X.zarr` or a table `X.csv`. Its manifest, `X.zarr.done.json` or
`X.csv.done.json`, is written last. It holds sizes and digests of files, which reveal damage, and

    file        the name under which the artefact was written
    name        what it is, in words: "moments of resnet50 on faces"
    models      names of the models it describes, in order
    sample_set  name of the sample set whose images it describes or was mined on
    identity    digest of the config settings that determine it (rosetta_steps.workflow.recipes);
                null where a step was run by hand
    made_of     names and digests of all artefacts and weights it was made of, direct or indirect

The digest of an artefact is the sha256 of its manifest. Two artefacts belong together if their
digests agree for everything that both were made of, wherever the files are.
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
    """Origin of an artefact: models, sample set, inputs.

    Attributes:
        kind: Kind of artefact, such as "moments".
        models: Names of the models that it describes, in order.
        sample_set: Name of the sample set whose images it describes or was mined on.
        made_of: Names and digests of its inputs, as `ingredients` returns them.
        identity: Digest of the config settings that determine it; None if a step is run by hand.
    """

    kind: str
    models: Sequence[str] = ()
    sample_set: str = ""
    made_of: Mapping[str, str] = field(default_factory=dict)
    identity: str | None = None

    @property
    def name(self) -> str:
        """Description of the artefact, such as "moments of resnet50 on faces"."""
        models = f" of {' and '.join(self.models)}" if self.models else ""
        return f"{self.kind}{models} on {self.sample_set}"

    def state(self, artefact: Path) -> dict:
        """Return the entries that the provenance contributes to the manifest of an artefact."""
        return {
            "file": Path(artefact).name,
            "name": self.name,
            "models": list(self.models),
            "sample_set": self.sample_set,
            "identity": self.identity,
            "made_of": dict(sorted(self.made_of.items())),
        }


def manifest_path(artefact: Path) -> Path:
    """Return the path of the manifest of a finished artefact."""
    artefact = Path(artefact)
    return artefact.with_name(artefact.name + ".done.json")


def partial_path(store: Path) -> Path:
    """Return the path of the manifest of an unfinished store."""
    return store.with_name(store.name + ".partial.json")


def step_that_writes(target: Path) -> str:
    """Return the advice to run the step that writes a file, with its Snakemake command."""
    return f"Run the step that writes it (snakemake --cores all {os.path.relpath(target)})"


def read_manifest(artefact: Path, keys: Mapping[str, type] | None = None) -> dict:
    """Read the manifest of a finished artefact.

    Args:
        artefact: The store or table.
        keys: Additional keys that the manifest must have, and the types of their values.

    Raises:
        StoreError: The artefact is not finished or was written under another name; or its manifest
            is damaged, and is then removed.
    """
    artefact, path = Path(artefact), manifest_path(artefact)
    try:
        state = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(
            f"{artefact} is not finished: {path.name} is missing. {step_that_writes(path)}."
        ) from None
    except (ValueError, RecursionError, IsADirectoryError) as error:
        refuse_manifest(artefact, f"it is no JSON ({error})")
    wanted = KEYS | dict(keys or {})
    if not isinstance(state, dict):
        refuse_manifest(artefact, f"it holds a {type(state).__name__}, not keys with values")
    if wrong := [key for key, kind in wanted.items() if not isinstance(state.get(key), kind)]:
        if wrong[0] not in KEYS and wrong[0] not in state and "identity" in state:
            raise StoreError(
                f"{artefact} is {state['name']}, which is another kind than is read here: it has "
                f"no '{wrong[0]}'. Give the one that belongs there."
            )
        refuse_manifest(artefact, f"its '{wrong[0]}' is {str(state.get(wrong[0]))[:60]!r}")
    if state["file"] != artefact.name:
        raise StoreError(
            f"{artefact} is {state['name']} and was written as {state['file']}: it was copied or "
            f"renamed. Name it so again, or delete it with {path.name} and run the step that "
            f"writes it (snakemake --cores all {os.path.relpath(path)})."
        )
    return state


def refuse_manifest(artefact: Path, reason: str) -> None:
    """Remove a damaged manifest, so that the next run writes the artefact again, and raise.

    Raises:
        StoreError: Always.
    """
    path = manifest_path(artefact)
    if path.is_file():
        path.unlink()
    raise StoreError(f"{path} is damaged: {reason}. {step_that_writes(path)}.")


def digest_of_artefact(artefact: Path) -> str:
    """Return the sha256 of an artefact's manifest, which depends on its content and origin.

    Raises:
        StoreError: The artefact is not finished.
    """
    read_manifest(artefact)
    return hashlib.sha256(manifest_path(artefact).read_bytes()).hexdigest()


def identity_recorded(artefact: Path) -> str | None:
    """Return the identity recorded for an artefact; None if there is none or it cannot be read.

    Stores, tables and streams record it in their manifest. Pages and figures record it within: HTML
    in a meta element, PNG in its description, WebP in its XMP.
    """
    if artefact.suffix in (".html", ".png", ".webp"):
        return _identity_within(artefact)
    # The file of a stream is also its manifest.
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
    """Return names and digests of artefacts and of everything they were made of.

    Args:
        artefacts: Paths of stores, tables and streams that are read together.
        others: Names and digests of inputs without a manifest, such as weights.

    Raises:
        StoreError: An artefact is not finished; or two do not belong together, because they were
            made of different versions of the same input.
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
    """Refuse artefacts that were not made of the present version of a source.

    Args:
        artefacts: Paths of stores and tables.
        source: Path of a store, such as the samples.

    Raises:
        StoreError: An artefact was not made of the source or of another version of it; the first
            such artefact is named.
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
    """Read the manifest of an artefact and refuse it if it describes other models than expected.

    Raises:
        StoreError: The artefact describes other models, or read_manifest refuses it.
    """
    state = read_manifest(artefact)
    if state["models"] != list(models):
        raise StoreError(
            f"{artefact} is {state['name']}, of {' and '.join(state['models']) or 'no model'}, and "
            f"read as that of {' and '.join(models)}. Give the one that belongs there, or delete "
            "it with its manifest and run the step that writes it."
        )
    return state


def refuse_mixed(artefacts: Mapping[Path, Sequence[str]]) -> None:
    """Refuse artefacts of other models than each is meant for, or of several sample sets.

    Args:
        artefacts: Each with the names of its models.

    Raises:
        StoreError: The first that differs is named.
    """
    states = [refuse_other_models(path, models) for path, models in artefacts.items()]
    first, *others = zip(artefacts, states, strict=True)
    for path, state in others:
        if state["sample_set"] != first[1]["sample_set"]:
            raise StoreError(
                f"{path} is of sample set {state['sample_set']}, and {first[0]} of "
                f"{first[1]['sample_set']}. Give those of one sample set."
            )


def add_identity_argument(parser) -> None:
    """Add the option --identity, by which the workflow passes the identity for the manifest."""
    parser.add_argument(
        "--identity", metavar="DIGEST", help="what the output follows from; the workflow says it"
    )
