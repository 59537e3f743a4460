"""Data come first, settings by name: nobody passes more than five arguments by position."""

import ast
from collections.abc import Iterator
from pathlib import Path

import rosetta_steps

PACKAGE = Path(rosetta_steps.__file__).parent
MOST = 5
# Functions whose parameters somebody else dictates, by module and name.
EXEMPT = {
    "evidence.kernels:multiply": "a numba kernel, which takes no keywords",
    "evidence.kernels:sum_units": "a numba kernel, which takes no keywords",
    "zoo.checkpoints.stand_ins:_tensor_v3": "torch's, called by a pickle",
    "zoo.weights:_HttpsOnly.redirect_request": "urllib's",
}


def test_nothing_takes_more_than_five_arguments_by_position():
    found = {
        f"{'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)}:{name}": count
        for path in PACKAGE.rglob("*.py")
        for name, count in taken(ast.parse(path.read_text(encoding="utf-8")))
    }
    many = {name: count for name, count in found.items() if count > MOST}
    assert many.keys() - EXEMPT.keys() == set(), "put *, after the data"
    assert EXEMPT.keys() - many.keys() == set(), "no exemption is needed"


def taken(node: ast.AST, inside: str = "") -> Iterator[tuple[str, int]]:
    """Name of every function and dataclass, and how many arguments it takes by position."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            count = len(child.args.posonlyargs + child.args.args)
            bound = isinstance(node, ast.ClassDef) and "staticmethod" not in decorators(child)
            yield inside + child.name, count - bound
        elif isinstance(child, ast.ClassDef) and "dataclass" in decorators(child):
            yield inside + child.name, fields(child)
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from taken(child, f"{inside}{child.name}." if named else inside)


def decorators(node) -> set[str]:
    return {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}


def fields(node: ast.ClassDef) -> int:
    """How many fields a dataclass takes by position: all before the mark KW_ONLY."""
    if any("kw_only=True" in ast.unparse(decorator) for decorator in node.decorator_list):
        return 0
    types = [ast.unparse(line.annotation) for line in node.body if isinstance(line, ast.AnnAssign)]
    return types.index("KW_ONLY") if "KW_ONLY" in types else len(types)


def test_the_count_leaves_out_self_and_what_is_given_by_name():
    code = """
@dataclass
class A:
    a: int
    _: KW_ONLY
    b: int
    def f(self, x, /, y, *, z): ...
    @staticmethod
    def g(x): ...
@dataclass(kw_only=True)
class B:
    a: int
"""
    assert dict(taken(ast.parse(code))) == {"A": 1, "A.f": 2, "A.g": 1, "B": 0}
