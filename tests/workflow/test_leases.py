"""Rules ask for a GPU if, and only if, the step that they run takes one."""

import ast
import re
from functools import cache

import pytest
from conftest import ROOT

# A step with several kinds of output, one of which computes on the processor alone.
NEVER = {"figure_of_arms": "--kind comparison", "moments_of_the_pass": "--taken"}


@cache
def module(name):
    """Syntax tree, definitions by name, and where imported names come from."""
    path = ROOT / (name.replace(".", "/") + ".py")
    if not path.is_file():
        path = ROOT / name.replace(".", "/") / "__init__.py"
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.ClassDef)
    defined = {node.name: node for node in tree.body if isinstance(node, kinds)}
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rosetta_steps")
        for alias in node.names
    }
    return defined, imported


def leases(name, function="main", seen=None):
    """Whether a function, or one that it names, takes devices."""
    seen = set() if seen is None else seen
    if (name, function) in seen:
        return False
    seen.add((name, function))
    if (name, function) == ("rosetta_steps.runtime.devices", "lease"):
        return True
    defined, imported = module(name)
    if function not in defined:
        return function in imported and leases(*imported[function], seen)
    names = {n.id for n in ast.walk(defined[function]) if isinstance(n, ast.Name)}
    return any(leases(name, other, seen) for other in names if other in {*defined, *imported})


def rules():
    """Rule, its body and the step that it runs."""
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for name, body in re.findall(
            r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.M | re.S
        ):
            if step := re.search(r"python -m (rosetta_steps[\w.]*)", body):
                yield name, body, step[1]


@pytest.mark.parametrize(
    ("rule", "body", "step"), list(rules()), ids=[name for name, *_ in rules()]
)
def test_a_rule_asks_for_a_gpu_if_its_step_takes_one(rule, body, step):
    main = step if "main" in module(step)[0] else f"{step}.__main__"
    takes = leases(main)
    if rule in NEVER:
        assert NEVER[rule] in body
        takes = False
    assert takes == ("gpu=" in body)


def test_the_search_finds_what_is_taken_by_a_function_that_a_step_calls():
    assert leases("rosetta_steps.activations") and leases("rosetta_steps.inversion.figures.paper")
    assert not leases("rosetta_steps.best_buddies") and not leases("rosetta_steps.figures")
