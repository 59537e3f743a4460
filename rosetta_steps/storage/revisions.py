"""Revisions of steps: numbers that are raised when a step gives other results for the same inputs.

Snakemake does not see an edit in an imported package. So what a step writes follows from its
revision, a number in revisions.toml, and is made again when that is raised. Beside the numbers
stands a digest of the code of every module: where one differs, somebody has to decide.

    python -m rosetta_steps.storage.revisions                 what changed, and which steps run it
    python -m rosetta_steps.storage.revisions raise STEP ...  their results change, or a step is new
    python -m rosetta_steps.storage.revisions record          they do not
"""

import argparse
import ast
import hashlib
import io
import sys
import tokenize
import tomllib
from collections import deque
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from rosetta_steps.runtime.errors import UserError, run
from rosetta_steps.storage.digests import digest_of_files
from rosetta_steps.storage.files import whole_file

PACKAGE = Path(__file__).parents[1]
FILE = Path(__file__).with_name("revisions.toml")
COMMAND = "python -m rosetta_steps.storage.revisions"
HEAD = f"""\
# What a step writes follows from its revision. `{COMMAND}`
# says what has changed since it was written, and how to decide: do not edit it by hand, but for
# the name of a step whose module was moved.
"""


@cache
def revision(step: str) -> int:
    """Return the revision of a step.

    Args:
        step: Name of its module in the package, such as "moments" or "correlation.step".

    Raises:
        ValueError: The step has no revision.
    """
    steps = _read(FILE)["steps"]
    if step not in steps:
        raise UserError(f"step '{step}' has no revision yet: {COMMAND} raise {step}")
    return steps[step]


@cache
def code_of_package(package: Path = PACKAGE) -> str:
    """Return a digest of the package's source files, by which two processes compare their versions.

    Args:
        package: Folder of the package.
    """
    return digest_of_files(package, sorted(package.rglob("*.py")))[:12]


def changes(file: Path = FILE, package: Path = PACKAGE) -> dict[str, list[str]]:
    """Return the modules whose code differs from the recorded code, and the steps that run them.

    Steps with the fewest imports between them and the module come first.

    Args:
        file: Path of revisions.toml, with revisions and digests.
        package: Folder of the package.
    """
    recorded = _read(file)
    now, users = _code_of_steps(recorded["steps"], package)
    before = recorded["code"]
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return {module: users.get(module, []) for module in sorted(changed)}


def record(
    raised: Iterable[str] = (), file: Path = FILE, package: Path = PACKAGE
) -> dict[str, int]:
    """Record the code as it is now, and raise the revisions of some steps.

    Args:
        raised: Steps whose numbers or figures change; a new step gets revision 1.
        file: Path of revisions.toml, with revisions and digests.
        package: Folder of the package.

    Returns:
        The raised steps and their new revisions.

    Raises:
        ValueError: There is no such step, or a recorded step has no module.
    """
    steps, raised = dict(_read(file)["steps"]), list(raised)
    for step in raised:
        if step not in steps and _file_of(step, package) is None:
            raise UserError(f"no step '{step}'. Steps: {', '.join(sorted(steps))}.")
        steps[step] = steps.get(step, 0) + 1
    code, _ = _code_of_steps(steps, package)
    lines = [HEAD, "[steps]", *(f'"{step}" = {steps[step]}' for step in sorted(steps))]
    lines += ["", "[code]", *(f'"{module}" = "{code[module]}"' for module in sorted(code))]
    with whole_file(file) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {step: steps[step] for step in raised}


def advice(changed: dict[str, list[str]]) -> str:
    """Return the message about changed code and the commands to run; empty if nothing changed.

    Args:
        changed: Changed modules and the steps that run them, as `changes` returns them.
    """
    if not changed:
        return ""
    # The nearest steps come first: they are most likely to need a new revision.
    places = [(place, step) for of in changed.values() for place, step in enumerate(of)]
    steps = list(dict.fromkeys(step for _, step in sorted(places)))
    return (
        f"Changed since revisions were recorded: {', '.join(changed)}. "
        f"Run by {', '.join(steps) or 'no step'}. Where the same inputs now give other numbers or "
        f"pictures, raise these steps:\n  {COMMAND} raise {' '.join(steps[:2] or ['STEP'])}\n"
        f"Where none does:\n  {COMMAND} record"
    )


def _read(file: Path) -> dict:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _code_of_steps(
    steps: Iterable[str], package: Path
) -> tuple[dict[str, str], dict[str, list[str]]]:
    # Returns the digest of every module that a step runs, and the steps that run each module, those
    # with the fewest imports between them first.
    code: dict[str, str] = {}
    imports: dict[str, list[str]] = {}
    users: dict[str, list[tuple[int, str]]] = {}
    for step in steps:
        if _file_of(step, package) is None:
            raise UserError(f"'{step}' of {FILE} has no module: was it moved? Rename it there.")
        waiting, seen = deque([(0, step)]), set()
        while waiting:
            distance, module = waiting.popleft()
            if module in seen:
                continue
            seen.add(module)
            if module not in code:
                file = _file_of(module, package)
                assert file is not None, f"{module} is a step's or was found when it was imported"
                text = file.read_text(encoding="utf-8")
                code[module], imports[module] = _digest_of(text, file), _imports_of(text, package)
            users.setdefault(module, []).append((distance, step))
            waiting += [(distance + 1, imported) for imported in imports[module]]
    return code, {module: [step for _, step in sorted(of)] for module, of in users.items()}


def _digest_of(text: str, file: Path) -> str:
    # Files with the module's stem, such as an HTML template, and those in a folder of that name
    # count as its code.
    total = hashlib.sha256(code_alone(text).encode())
    beside, within = file.parent.glob(f"{file.stem}.*"), file.with_suffix("").glob("*.*")
    for other in [*sorted(beside), *(sorted(within) if file.stem != "__init__" else [])]:
        if other.suffix not in (".py", ".pyc", ".toml"):
            total.update(other.read_bytes())
    return total.hexdigest()[:12]


def code_alone(text: str) -> str:
    """Return source code without comments, docstrings and empty lines.

    The result does not depend on the Python version.

    Args:
        text: Source code of a module.
    """
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                start, end = first.lineno - 1, first.end_lineno
                assert end is not None, "ast.parse says where everything ends"
                lines[start:end] = [""] * (end - start)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _imports_of(text: str, package: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module or ""
        if module.startswith("rosetta_steps"):
            base = module.removeprefix("rosetta_steps").lstrip(".")
            names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            found += [name for name in (base, *names) if name and _file_of(name, package)]
    return found


def _file_of(module: str, package: Path) -> Path | None:
    stem = package.joinpath(*module.split("."))
    files = (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    raising = commands.add_parser("raise", help="numbers or pictures of some steps change")
    raising.add_argument("steps", nargs="+", metavar="STEP")
    commands.add_parser("record", help="no number and no picture changes")
    a = parser.parse_args()
    if a.command:
        for step, number in record(getattr(a, "steps", ())).items():
            print(f"{step}: revision {number}")
    elif words := advice(changes()):
        sys.exit(words)


if __name__ == "__main__":
    run(main)
