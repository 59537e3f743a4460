"""Write docs/reference/config.md from the schemas of the config, the zoo and lists of pictures.

It is run by hand (COMMAND) after a schema or config/config.yaml has changed.
"""

from pathlib import Path

import yaml

from rosetta_steps.config import schema as schemas

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "config.md"
COMMAND = "python docs/generate_reference.py"
# Keys whose values are many, each under a name of the user's choice.
NAMED = {
    "sample_sets": "name",
    "inversions": "inversion",
    "edits": "edit",
    "replications": "replication",
}
HEAD = f"""\
# Every config key

<!-- Made by `{COMMAND}` from workflow/schemas; do not edit it by hand. -->

This page is made from `workflow/schemas`, which every config is checked against before any job
starts. *Default* is what `config/config.yaml` says; where a key has none there, the meaning says
what happens without it. **Required** keys must be given, in `config/config.yaml` or in a file laid
over it.
"""
ZOO = """\
## Entries of the zoo

A model is one entry of `config/models.yaml`, under its name.
[A model of your own](../how-to/own-model.md) shows whole entries. Defaults are those of the model's
family.
"""
PICTURES = """\
## Lists of pictures

The file that `pictures` of a sample set names, such as `config/examples/face-photos.yaml`, has one
entry a picture.
"""


def page() -> str:
    """The text of docs/reference/config.md."""
    config = _yaml(ROOT / "config" / "config.yaml")
    schema, models, pictures = map(read_schema, ("config", "models", "pictures"))
    lines = [HEAD, "## Top level\n", *_table(schema, config)]
    shared = schema["properties"]["inversion"]["properties"]
    for key, value in schema["properties"].items():
        if not _has_section(key, value):
            continue
        if key in NAMED:
            named = value["additionalProperties"]
            lines += [f"## `{key}`\n", *_words(value)]
            lines += [f"Keys of `{key}: {{{NAMED[key]}: ...}}`:\n", *_table(_own(named, shared))]
            if _own(named, shared) != named:
                lines += ["And every key of [`inversion`](#inversion), for this one alone.\n"]
        else:
            lines += [f"## `{key}`\n", *_words(value), *_table(value, config.get(key, {}))]
    entry = models["additionalProperties"]
    lines += [ZOO, *_table(entry)]
    for key, value in entry["properties"].items():
        if "properties" in value:
            lines += [f"### `{key}` of an entry\n", *_words(value), *_table(value)]
    for name, value in models["$defs"].items():
        if "properties" in value:
            lines += [f"### `architecture` of {name}\n", *_words(value), *_table(value)]
    entry = pictures["additionalProperties"]
    lines += [PICTURES, *_table(entry)]
    lines += ["### `picture` of an entry\n", *_words(entry["properties"]["picture"])]
    lines += _table(entry["properties"]["picture"])
    return "\n".join(lines).rstrip() + "\n"


def read_schema(name: str) -> dict:
    """A schema of workflow/schemas, that of the config with the settings of steps.

    Args:
        name: "config", "models" or "pictures".
    """
    return schemas.read_schema(name)


def _yaml(path: Path) -> dict:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def _has_section(key: str, schema: dict) -> bool:
    return key in NAMED or "properties" in schema


def _own(schema: dict, shared: dict) -> dict:
    # Without the keys of `inversion`, where it has all of them.
    if not shared.keys() <= schema["properties"].keys():
        return schema
    own = {key: value for key, value in schema["properties"].items() if key not in shared}
    return schema | {"properties": own}


def _words(value: dict) -> list[str]:
    words = value.get("description")
    return [f"{words[0].upper()}{words[1:]}.\n"] if words else []


def _table(schema: dict, config: dict | None = None) -> list[str]:
    # A row a key; without a config there are no defaults to show.
    config, required = config or {}, schema.get("required", [])
    defaults = any(key in config for key in schema["properties"])
    heads = ["key", "value", *(["default"] if defaults else []), "meaning"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for key, value in schema["properties"].items():
        words = value.get("description", "")
        if key in required:
            words = f"**Required.** {words}".rstrip()
        cells = [f"`{key}`", _kind(value)]
        if defaults:
            cells.append(_default(key, config[key], value) if key in config else "")
        lines.append("| " + " | ".join(_cell(cell) for cell in [*cells, words]) + " |")
    return [*lines, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(key: str, value, schema: dict) -> str:
    if isinstance(value, dict):
        return f"see [below](#{key})" if _has_section(key, schema) else "in the file"
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n")
    return f"`{text.strip()}`"


def _kind(value: dict) -> str:
    """What a value may be, in words: its choices, or its type and range."""
    if "$ref" in value:
        return "see below"
    if "enum" in value:
        return ", ".join(f"`{_scalar(choice)}`" for choice in value["enum"])
    if "const" in value:
        return f"`{_scalar(value['const'])}`"
    kinds = value.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    words = []
    for kind in kinds:
        if kind in ("integer", "number"):
            words.append(" ".join([kind, _range(value)]).strip())
        elif kind == "array":
            words.append(_list(value))
        elif kind == "object":
            words.append("mapping")
        else:
            words.append({"string": "text", "boolean": "true or false"}.get(kind, kind))
    return " or ".join(words)


def _list(value: dict) -> str:
    least, most = value.get("minItems"), value.get("maxItems")
    count = f"{least} " if least is not None and least == most else ""
    item = value.get("items", {})
    if "prefixItems" in value:
        item = {"type": value["prefixItems"][0]["type"]}
    plural = {"integer": "integers", "number": "numbers", "string": "texts", "array": "lists"}
    kinds = item.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    of = " or ".join(plural.get(kind, kind) for kind in kinds) or "values"
    bounds = _range(item)
    return f"list of {count}{of}" + (f" {bounds}" if bounds else "")


def _range(value: dict) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    above, below = value.get("exclusiveMinimum"), value.get("exclusiveMaximum")
    words = []
    if low is not None:
        words.append(f"from {low}")
    if above is not None:
        words.append(f"above {above}")
    if high is not None:
        words.append(f"to {high}")
    if below is not None:
        words.append(f"below {below}")
    return " ".join(words)


def _scalar(value) -> str:
    return yaml.safe_dump(value).removesuffix("...\n").strip() if value is not None else "null"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
