"""Name the algorithm behind an artefact, so that a change of it reruns what depends on it.

Snakemake does not see an edit in an imported package, so every rule carries the digest of the
modules that compute its output. Comments, docstrings and formatting do not count.
"""

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path

from rosetta_steps.runtime.errors import UserError

PACKAGE = Path(__file__).parents[1]


@lru_cache
def algorithm(*modules: str) -> str:
    """Digest of the syntax trees of modules of this package and of all they import from it.

    Args:
        modules: Names relative to the package, such as "moments" or "zoo.timm".

    Returns:
        Twelve hexadecimal digits.

    Raises:
        ValueError: There is no such module.
    """
    found: dict[str, str] = {}
    _collect(modules, found)
    return digest_of(sorted(found.items()))


def digest_of(value) -> str:
    """Twelve hexadecimal digits that follow from a JSON-like value and not from its key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _collect(modules, found: dict[str, str]) -> None:
    for module in modules:
        if module not in found:
            found[module], imported = _read(module)
            _collect(imported, found)


@lru_cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    path = _path(module)
    if path is None:
        raise UserError(f"no module '{module}' in {PACKAGE}: name one relative to the package.")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rosetta_steps"):
            base = node.module.removeprefix("rosetta_steps").lstrip(".")
            names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            imported += [name for name in (base, *names) if name and _path(name)]
        elif isinstance(node, ast.Import):
            imported += [
                alias.name.removeprefix("rosetta_steps.")
                for alias in node.names
                if alias.name.startswith("rosetta_steps.")
            ]
    return ast.dump(_without_docstrings(tree)), tuple(imported)


def _path(module: str) -> Path | None:
    stem = PACKAGE.joinpath(*module.split("."))
    for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:]
    return tree


def digest_of_files(store: Path, files: list[Path]) -> str:
    """The sha256 over names and contents of files."""
    total = hashlib.sha256()
    for path in files:
        total.update(str(path.relative_to(store)).encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def sha256_of(path: Path) -> str:
    """The sha256 of a small file, in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
