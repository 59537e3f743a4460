"""README and docs: the generated reference is in step, links and modules that are named exist."""

import importlib.util
import re
import unicodedata
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml
from test_rooms import ROOMS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GENERATOR = ROOT / "docs" / "generate_reference.py"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "config" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
LINES_OF_README = 150
FENCED = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODULE = re.compile(r"python3? -m (rosetta_steps[\w.]*\w)")


@cache
def generator():
    """docs/generate_reference.py as a module."""
    spec = importlib.util.spec_from_file_location("generate_reference", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """The anchor that MkDocs gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"[^\w\s-]", "", text).strip().lower()
    return re.sub(r"[-\s]+", "-", text)


def test_the_page_about_the_code_names_every_room_in_order_and_files_that_exist():
    text = (ROOT / "docs/reference/code.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(\w+)` \| .* \| `([\w./]+)` \|$", text, re.MULTILINE)
    internal = {"", "training", "benchmarks"}  # of the root there is a sentence
    assert [room for room, _ in rooms] == [room for room in ROOMS if room not in internal]
    for room, file in rooms:
        assert (ROOT / "rosetta_steps" / room / file).is_file(), (room, file)
    for row in re.findall(r"^\| (?!`).* \| (`.*)\|$", text, re.MULTILINE):
        base = ROOT / "rosetta_steps"
        for name in re.findall(r"`([\w./]+\.\w+)`", row):
            found = [folder / name for folder in (ROOT, ROOT / "rosetta_steps", base)]
            assert any(path.exists() for path in found), name
            base = next(path for path in found if path.exists()).parent


@cache
def anchors(page: Path) -> set[str]:
    found: dict[str, int] = {}
    for heading in HEADING.findall(prose(page)):
        name = anchor(heading)
        found[name] = found.get(name, 0) + 1
    numbered = {f"{name}_{i}" for name, count in found.items() for i in range(1, count)}
    return set(found) | numbered


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue  # an address; the tests use no network
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            broken.append(f"{link}: there is no {path}")
        elif fragment and target.suffix == ".md" and fragment not in anchors(target):
            broken.append(f"{link}: there is no heading #{fragment}")
    return broken


def without_required(schema):
    """A schema that asks for nothing: an example shows a part."""
    if isinstance(schema, list):
        return [without_required(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    left_out = ("required", "oneOf") if "properties" in schema else ()
    return {key: without_required(value) for key, value in schema.items() if key not in left_out}


@cache
def schemas() -> list[dict]:
    """What an example in YAML may be a part of."""
    config, models = map(generator().read_schema, ("config", "models"))
    sample_sets = config["properties"]["sample_sets"]
    entry = {**models["additionalProperties"], "$defs": models["$defs"]}
    return [without_required(schema) for schema in (config, models, sample_sets, entry)]


def misfit(example: str) -> str | None:
    """What is wrong with an example, as none of the schemas takes it."""
    value, best = yaml.safe_load(example), None
    for schema in schemas():
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(value))
        if not errors:
            return None
        deepest = max(errors, key=lambda error: len(error.absolute_path))
        if best is None or len(deepest.absolute_path) > len(best.absolute_path):
            best = deepest
    return f"{best.json_path}: {best.message}"


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_reference_of_config_keys_is_what_the_schemas_say():
    made, file, command = generator().page(), generator().PAGE, generator().COMMAND
    found = file.read_text(encoding="utf-8")
    assert found == made, f"{named(file)} is out of step. Run: {command}"


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LINES_OF_README


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_headings_that_exist(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_text_is_taken_for_html(page):
    text = re.sub(r"`[^`]*`", "", re.sub(r"<!--.*?-->", "", prose(page), flags=re.DOTALL))
    assert re.findall(r"<[a-zA-Z/][^>]*>", text) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_modules_that_are_named_can_be_imported(page):
    modules = set(MODULE.findall(page.read_text(encoding="utf-8")))
    assert [name for name in sorted(modules) if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_examples_of_config_have_keys_and_values_of_the_schemas(page):
    examples = YAML.findall(page.read_text(encoding="utf-8"))
    assert [words for words in map(misfit, examples) if words] == []


def test_a_key_that_does_not_exist_is_found():
    assert "neighbors" in misfit("correlation: {neighbors: 5}")
    assert "size_px" in misfit("sample_sets: {mine: {photos: x, size_px: [6, 6]}}")


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`: c\n[1](page.md#a-b-c) [2](page.md#d) [3](e.md)\n```\n[4](f.md)\n```\n"
    )
    assert [line.partition(":")[0] for line in broken_links(page)] == ["page.md#d", "e.md"]
