"""The package's rooms: what each may import, and what the root may list."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

import rosetta_steps

PACKAGE = Path(rosetta_steps.__file__).parent
# A room imports those before it; "" is the root with its steps.
ROOMS = [
    "runtime",
    "storage",
    "config",
    "zoo",
    "stimuli",
    "matching",
    "maps",
    "correlation",
    "evidence",
    "labelling",
    "display",
    "website",
    "inversion",
    "editing",
    "interventions",
    "workflow",
    "sharing",
    "",
    "testing",
    "training",
    "benchmarks",
]
STEPS = {
    "plan",
    "sampling",
    "image_folder",
    "pictures",
    "streams",
    "activations",
    "moments",
    "best_buddies",
    "matched_maps",
    "image_sums",
    "covariances",
    "permute",
    "parts",
    "untrained",
    "names",
    "labels",
    "replicated_pairs",
    "replication",
    "intervention",
    "concepts",
    "dictionary",
    "figures",
    "summary",
    "compare",
    "site",
    "partners",
    "coverage",
    "links",
    "firing",
    "shared",
    "bundle",
    "join",
    "verify",
}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
    for path in PACKAGE.rglob("*.py")
}


@cache
def imported(module: str) -> frozenset[str]:
    """Modules of the package that a module imports, wherever in it."""
    return frozenset(_imported(module))


def _imported(module: str) -> Iterator[str]:
    stem = PACKAGE.joinpath(*module.split("."))
    file = stem / "__init__.py" if (stem / "__init__.py").is_file() else stem.with_suffix(".py")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rosetta_steps"):
            base = node.module.removeprefix("rosetta_steps").lstrip(".")
            names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            yield from {name if name in MODULES else base for name in names}


def room_of(module: str) -> str:
    room = module.partition(".")[0]
    return room if (PACKAGE / room).is_dir() else ""


def test_the_root_lists_the_steps_of_the_paper_and_nothing_else():
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} == STEPS
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(ROOMS) - {""}


@pytest.mark.parametrize("step", sorted(STEPS))
def test_a_step_of_the_root_is_a_command_line_and_its_work_is_done_in_a_room(step):
    tree = ast.parse((PACKAGE / f"{step}.py").read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    assert [node.name for node in tree.body if isinstance(node, kinds)] == ["main"]
    names = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    names += [n.name for node in tree.body if isinstance(node, ast.Import) for n in node.names]
    light = {*sys.stdlib_module_names, "rosetta_steps"}
    assert [name for name in names if name.partition(".")[0] not in light] == []


@pytest.mark.parametrize("module", sorted(MODULES - {""}))
def test_a_module_imports_its_own_room_and_those_below_it(module):
    own = ROOMS.index(room_of(module))
    above = [other for other in imported(module) if ROOMS.index(room_of(other)) > own]
    assert above == []


def test_no_imports_go_round_in_a_circle():
    waiting = {module: set(imported(module)) - {module, ""} for module in MODULES - {""}}
    while free := [module for module, others in waiting.items() if not others & waiting.keys()]:
        for module in free:
            del waiting[module]
    assert sorted(waiting) == []


@pytest.mark.parametrize(
    "module",
    ["evidence.table", "display.dictionary", "display.figures", "matching.best_buddies"],
)
def test_steps_that_read_tables_do_not_wait_for_torch(module):
    code = f"import sys, rosetta_steps.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_every_room_says_what_it_is_for():
    for room in set(ROOMS) - {""}:
        tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), room


def test_every_folder_of_tests_is_a_room():
    folders = {
        path.parent.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
    }
    packages = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert folders <= packages, folders - packages
    assert {folder.partition("/")[0] for folder in folders} == set(ROOMS) - {""} | {"."}
