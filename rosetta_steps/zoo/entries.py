"""Entries of config/models.yaml: everything in which one model differs from another.

Nothing here imports torch: the workflow reads entries while it is parsed.
"""

import ast
import difflib
import hashlib
import json
import os
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

import jsonschema
import yaml

SCHEMAS = Path(__file__).resolve().parents[2] / "workflow" / "schemas"

# Role and loader of an entry to what builds it, under rosetta_steps: the network of a generator, or
# the module that loads a model. Imported when first used.
GENERATOR = "zoo.generators.generator"
LOADERS = {
    "generator": {
        "dcgan": "zoo.generators.dcgan:DCGAN",
        "stylegan2": "zoo.generators.stylegan2:StyleGAN2",
        "stylegan3": "zoo.generators.stylegan3:StyleGAN3",
        "stylegan-xl": "zoo.generators.stylegan_xl:StyleGANXL",
        "biggan-deep": "zoo.generators.biggan_deep:BigGANDeep",
        "function": "zoo.generators.functions",
    },
    "model": {
        "timm": "zoo.models.timm_models",
        "open_clip": "zoo.models.open_clip_models",
        "onnx": "zoo.models.onnx_models",
        "function": "zoo.models.functions",
    },
}


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key twice in one mapping is an error, and not the last of both.

    Seen when a mapping is composed, before its merge keys (<<) are replaced by what they stand for.
    """

    def compose_mapping_node(self, anchor):
        mapping, lines = super().compose_mapping_node(anchor), {}
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if (first := lines.get((key.tag, key.value))) is not None:
                raise ValueError(
                    f"'{key.value}' stands in line {first} and again in line {line}, where it "
                    "would replace the first. Rename or delete one of them."
                )
            lines[key.tag, key.value] = line
        return mapping


def read_yaml(path: Path):
    """Parse a YAML file.

    Raises:
        ValueError: It is missing or not YAML, or it has a key twice in one mapping: which, and in
            which lines.
    """
    try:
        return yaml.load(Path(path).read_text(), _UniqueKeys)
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist. Run from the folder that holds config/."
        ) from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_entries(path: str = "config/models.yaml") -> dict[str, dict]:
    """All entries of a zoo file, validated by workflow/schemas/models.schema.yaml.

    Raises:
        ValueError: The file is missing or an entry does not follow the schema.
    """
    return _read_entries(path, os.path.abspath(path))


@lru_cache
def _read_entries(path: str, place: str) -> dict[str, dict]:
    # By its place too: the same relative path may mean another file in another working folder.
    entries = read_yaml(Path(path))
    check(entries, "models", path)
    for name, entry in entries.items():
        loaders = LOADERS[entry["role"]]
        if entry["loader"] not in loaders:
            raise ValueError(
                f"{path}, at {name}: loader '{entry['loader']}' loads no {entry['role']}. "
                f"{suggestion(entry['loader'], list(loaders))}"
            )
    return entries


def check(value, schema: str, file: str) -> None:
    """Hold a parsed file against workflow/schemas/{schema}.schema.yaml.

    Raises:
        ValueError: An unknown key, a wrong type or a value out of range: file, place and remedy.
    """
    validator = jsonschema.Draft202012Validator(read_yaml(SCHEMAS / f"{schema}.schema.yaml"))
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    if error is None:
        return
    while error.parent is not None:  # of the alternatives, none is what the user meant
        error = error.parent
    place = ".".join(str(part) for part in error.absolute_path) or "top level"
    message = error.message
    expected = error.schema.get("description") if isinstance(error.schema, dict) else None
    if error.validator == "oneOf":
        message, expected = _not_one_of(error), None
    elif error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        message = f"unknown key {_quoted(unknown)}. " + suggestion(str(unknown[0]), known)
    elif error.validator == "type" and str(error.instance).replace(".", "", 1).isdigit():
        # Snakemake hands on as text what stands within braces on its command line.
        message += (
            ". Within --config key={...} every value is a text: give it in a file (--configfile)"
        )
    raise ValueError(f"{file}, at {place}: {message}" + (f" ({expected})" if expected else ""))


def _not_one_of(error: jsonschema.ValidationError) -> str:
    # Alternatives in our schemas are lists of required keys.
    alternatives = [one["required"] for one in error.validator_value]
    choices = ", ".join(" + ".join(f"'{key}'" for key in keys) for keys in alternatives)
    given = dict.fromkeys(key for keys in alternatives for key in keys if key in error.instance)
    found = f"it gives {_quoted(given)}" if given else "it gives none"
    return f"{found}; give exactly one source of: {choices}"


def find_entry(name: str, path: str = "config/models.yaml") -> dict:
    """The entry of one model.

    Raises:
        ValueError: There is none; the nearest names are given.
    """
    entries = read_entries(path)
    if name not in entries:
        raise ValueError(f"no model '{name}' in {path}. {suggestion(name, list(entries))}")
    return entries[name]


def suggestion(name: str, choices: list[str]) -> str:
    """A sentence that names the choices, the nearest first where one is near."""
    near = difflib.get_close_matches(name, choices, n=1)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Choices: {', '.join(choices)}."


def _quoted(names) -> str:
    return ", ".join(f"'{name}'" for name in names)


def loader_module(entry: dict) -> str:
    """Full name of the module whose `load` builds the model of an entry."""
    if entry["role"] == "generator":
        return f"rosetta_steps.{GENERATOR}"
    return f"rosetta_steps.{LOADERS['model'][entry['loader']]}"


def entry_digest(entry: dict) -> str:
    """What the activations of a model follow from: its entry without words, and its loader."""
    from rosetta_steps.digest import algorithm, digest_of

    matter = {key: entry[key] for key in entry if key not in ("source", "licence", "layers")}
    matter["weights"] = {k: v for k, v in entry.get("weights", {}).items() if k != "elsewhere"}
    modules = [LOADERS[entry["role"]][entry["loader"]].split(":")[0]]
    if entry["role"] == "generator":
        modules.append(GENERATOR)
    return digest_of([json.dumps(matter, sort_keys=True), algorithm(*modules), _own_code(entry)])


def _own_code(entry: dict) -> list[tuple[str, str]] | None:
    # The user's own module and what it imports, as far as it lies below the working folder: found
    # without running it. The files by name, each with its sha256.
    architecture = entry["architecture"]
    if entry["loader"] != "function" or not isinstance(architecture, dict):
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


def layer_patterns(entry: dict, layers: str | list[str], model: str) -> list[str]:
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
    presets = entry.get("layers", {})
    if layers not in presets:
        raise ValueError(
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
        f"layer pattern {_quoted(patterns)} matches no layer of {model}. Its {len(names)} layers "
        f"(python -m rosetta_steps.zoo show {model}): {shown}"
    )


def add_layer_arguments(parser, default: str = "block") -> None:
    """Add the choice of layers to a command line; `layers_from` reads it."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--layers", default=default, help="all, or a preset of the entry, default %(default)s"
    )
    choice.add_argument("--patterns", nargs="+", help="instead: patterns of layer names")


def layers_from(arguments) -> str | list[str]:
    """A `layers` setting from a command line."""
    return arguments.patterns or arguments.layers
