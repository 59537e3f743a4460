"""Entries of config/models.yaml: everything in which one model differs from another.

Nothing here imports torch: the workflow reads entries while it is parsed.
"""

import ast
import hashlib
import json
import os
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from rosetta_steps.config.names import problem_of, split_untrained
from rosetta_steps.config.schema import check, quoted, suggestion
from rosetta_steps.config.yaml_files import read_yaml
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.digests import digest_of
from rosetta_steps.storage.revisions import revision
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.loaders import GENERATOR, LOADERS, loaders_of

__all__ = ["check", "read_yaml", "suggestion"]  # beside what is defined here, for its importers


def read_entries(path: str | Path = "config/models.yaml") -> dict[str, Entry]:
    """All entries of a zoo file, validated by workflow/schemas/models.schema.yaml.

    Raises:
        ValueError: The file is missing or an entry does not follow the schema.
    """
    return _read_entries(path, os.path.abspath(path))


@lru_cache
def _read_entries(path: str | Path, place: str) -> dict[str, Entry]:
    # By its place too: the same relative path may mean another file in another working folder.
    mappings = read_yaml(Path(path))
    if isinstance(mappings, dict):
        for name in mappings:
            if problem := problem_of("model", name):
                raise UserError(f"{path}: {problem}")
    check(mappings, "models", str(path))
    entries = {name: Entry.from_mapping(mapping) for name, mapping in mappings.items()}
    for name, entry in entries.items():
        if problem := _contradiction(entry):
            raise UserError(f"{path}, at {name}: {problem}")
        for preset in entry.layers:
            if problem := problem_of("preset", preset):
                raise UserError(f"{path}, at {name}.layers: {problem}")
    return entries


# What only one role has.
OF_ROLES = {"generator": ("autocast", "classes"), "model": ("preprocessing",)}


def _contradiction(entry: Entry) -> str | None:
    # What each key allows by itself and the entry as a whole does not, in words.
    role, loader = entry.role, entry.loader
    loaders = loaders_of(role)
    if loader not in loaders:
        return f"loader '{loader}' loads no {role}. {suggestion(loader, list(loaders))}"
    for other, keys in OF_ROLES.items():
        if other != role and (vain := [key for key in keys if getattr(entry, key) is not None]):
            return f"'{vain[0]}' says nothing of a {role}. Leave it out."
    source = entry.weights.source
    if not loaders[loader].weights:
        if source != "function":
            return (
                f"a model of the loader {loader} has no weights. Write weights: {{function: true}}."
            )
        return None
    of_others = {one.own_source: one.name for one in LOADERS if one.name != loader}
    if source in of_others and source:
        return (
            f"weights.{source} are of the loader {of_others[source]}, and this one is {loader}. "
            "Say where its weights lie: package, url or path."
        )
    one_of = loaders[loader].one_of
    if one_of and not entry.keywords.keys() & one_of.keys():
        return f"its architecture needs {', or '.join(one_of.values())}."
    names, count = entry.classes, entry.keywords.get("classes")
    if isinstance(names, list) and isinstance(count, int) and len(names) != count:
        return f"it names {len(names)} classes, and its architecture has {count}. Correct one."
    return None


def find_entry(name: str, path: str | Path = "config/models.yaml") -> Entry:
    """The entry of one model, or of its untrained copy (config.names.untrained_name).

    Raises:
        ValueError: There is none; the nearest names are given.
    """
    entries = read_entries(path)
    model, seed = split_untrained(name)
    if model not in entries:
        raise UserError(f"no model '{model}' in {path}. {suggestion(model, list(entries))}")
    entry = entries[model]
    if seed is not None and entry.role != "model":
        raise UserError(f"{name}: {model} is a {entry.role}, of which no untrained copy is made.")
    return replace(entry, untrained=seed)


def has_weights(entry: Entry) -> bool:
    """Whether the model of an entry has weights, of which untrained copies could have others."""
    return loaders_of(entry.role)[entry.loader].weights


def loader_module(entry: Entry) -> str:
    """Full name of the module whose `load` builds the model of an entry."""
    if entry.role == "generator":
        return f"rosetta_steps.{GENERATOR}"
    return f"rosetta_steps.{loaders_of('model')[entry.loader].module}"


def entry_digest(entry: Entry) -> str:
    """Digest of what the maps of a model follow from: its entry and the revision of its loader.

    Source, licence and presets of layers are left out: they change no map.

    Args:
        entry: Of the model.
    """
    said = entry.to_mapping()
    matter = {key: said[key] for key in said if key not in ("source", "licence", "layers")}
    matter["weights"].pop("elsewhere", None)
    modules = [loaders_of(entry.role)[entry.loader].module]
    if entry.role == "generator":
        modules.append(GENERATOR)
    if entry.untrained is not None:
        modules.append("zoo.untrained")
    if ours := _module_of_ours(entry):
        modules.append(ours)
    revisions = [revision(module) for module in modules]
    return digest_of([json.dumps(matter, sort_keys=True), revisions, _own_code(entry)])


def _module_of_ours(entry: Entry) -> str | None:
    # A network of the zoo, as a step: it has a revision, wherever the package lies.
    module = str(entry.keywords.get("function", "")).split(":")[0]
    home = "rosetta_steps."
    return module.removeprefix(home) if module.startswith(f"{home}zoo.") else None


def _own_code(entry: Entry) -> list[tuple[str, str]] | None:
    # The user's own module and what it imports, as far as it lies below the working folder: found
    # without running it. The files by name, each with its sha256.
    architecture = entry.architecture
    if entry.loader != "function" or not isinstance(architecture, dict):
        return None
    if _module_of_ours(entry):
        return None
    modules, seen = [str(architecture.get("function")).split(":")[0]], set()
    found: dict[str, str] = {}
    while modules:
        module = modules.pop()
        if module in seen:
            continue
        seen.add(module)
        if parent := module.rpartition(".")[0]:  # its __init__.py runs first
            modules.append(parent)
        if file := _module_file(module):
            content = file.read_bytes()
            found[file.as_posix()] = hashlib.sha256(content).hexdigest()
            modules += _imported(content, module, file.name == "__init__.py")
    return sorted(found.items())


def _module_file(module: str) -> Path | None:
    # Of a package and a module of one name, Python takes the package.
    if not all(parts := module.split(".")):
        return None
    stem = Path(*parts)
    files = (stem / "__init__.py", stem.with_name(stem.name + ".py"))
    return next((file for file in files if file.is_file()), None)


def _imported(content: bytes, module: str, is_package: bool) -> list[str]:
    # Full names of what a module imports, and of what might be a module: y of `from x import y`.
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return []  # says so when it is run
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")
            base = base[: max(0, len(base) - node.level + is_package)] if node.level else []
            base += [node.module] if node.module else []
            names += [".".join([*base, alias.name]) for alias in node.names]
            names += [".".join(base)] if base else []
    return [name for name in names if "*" not in name]


def layer_patterns(entry: Entry, layers: str | list[str], model: str) -> list[str]:
    """The patterns that a `layers` setting means for one model.

    Args:
        entry: Of the model.
        layers: "all" (every post-activation), the name of a preset of the entry, or patterns.
        model: Its name, for errors.

    Raises:
        ValueError: The model has no such preset.
    """
    if isinstance(layers, list):
        return layers
    if layers == "all":
        return ["*"]
    presets = entry.layers
    if layers not in presets:
        raise UserError(
            f"{model} has no layer preset '{layers}'. {suggestion(layers, ['all', *presets])} "
            "A list of patterns works as well: layers: ['blocks.*.act']."
        )
    return presets[layers]


def unmatched(names: list[str], patterns: list[str]) -> list[str]:
    """The patterns that match no layer."""
    globs = {pattern: pattern.removeprefix("module:") for pattern in patterns}
    return [p for p in patterns if not any(fnmatchcase(name, globs[p]) for name in names)]


def no_layer_matches(patterns: list[str], model: str, names: list[str]) -> str:
    """The words for it, with the layers there are."""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return (
        f"layer pattern {quoted(patterns)} matches no layer of {model}. Its {len(names)} layers "
        f"(python -m rosetta_steps.zoo show {model}): {shown}"
    )
