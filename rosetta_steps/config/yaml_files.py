"""Reading of hand-written YAML and JSON files, in bounded time and with line numbers in errors.

Only the standard library and PyYAML are imported: the launcher loads this file by its path.
"""

import json
import re
from pathlib import Path

import yaml

from rosetta_steps.runtime.errors import UserError

MOST_BYTES = 2_000_000
MOST_VALUES = 200_000  # with aliases expanded
DEEPEST = 40
MERGE = "tag:yaml.org,2002:merge"
# Integers that YAML 1.1 reads in another way than meant: 010 is 8 (octal), 1:30 is 90 (base 60).
SURPRISING_INTEGER = re.compile(r"[-+]?(0[0-7_]+|[0-9_]+(:[0-9_]+)+)$")
SPACES = "Indent with spaces, not with tabs."


class _Reader(yaml.SafeLoader):
    """YAML loader that refuses duplicate keys, surprising integers and recursive or deep nesting.

    The checks run while nodes are composed, before merge keys (<<) are expanded and before aliases
    are followed.
    """

    def __init__(self, stream):
        super().__init__(stream)
        self.depth = 0

    def get_single_node(self):
        node = super().get_single_node()
        if node is not None:
            _written_out(node)
        return node

    def compose_node(self, parent, index):
        self.depth += 1
        if self.depth > DEEPEST:
            line = self.peek_event().start_mark.line + 1
            raise UserError(f"line {line} is nested more than {DEEPEST} deep. Flatten it.")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor):
        mapping = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            line = key.start_mark.line + 1
            if (first := lines.get((key.tag, key.value))) is not None:
                raise UserError(
                    f"'{key.value}' stands in line {first} and again in line {line}, where it "
                    "would replace the first. Rename or delete one of them."
                )
            lines[key.tag, key.value] = line
        return mapping

    def construct_yaml_int(self, node):
        value = super().construct_yaml_int(node)
        if SURPRISING_INTEGER.match(node.value) and node.value.strip("0+-"):
            raise UserError(
                f"line {node.start_mark.line + 1}: YAML reads {node.value} as the number {value}. "
                f"Write {value}, or '{node.value}' in quotes for the text."
            )
        return value


_Reader.add_constructor("tag:yaml.org,2002:int", _Reader.construct_yaml_int)


def read_yaml(path: Path):
    """Parse a YAML file, or a JSON file if its name ends in .json.

    Args:
        path: Path of a file in UTF-8, with or without a byte order mark.

    Returns:
        The content; None if the file is empty.

    Raises:
        ValueError: The file is missing, too large, not in UTF-8 or not valid; a mapping has a key
            twice; nesting is too deep or recursive, or aliases expand to too many values. The
            message is one line with the file and, if known, the line number.
    """
    path = Path(path)
    try:
        return _parsed(_text(path), path.suffix.lower() == ".json")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run from the folder that holds config/.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start + 1} is {error.object[error.start]:#04x})"
            ". Save it as UTF-8."
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {_words(error)}") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deep. Flatten it.") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _text(path: Path) -> str:
    if not path.exists():
        raise FileNotFoundError
    if not path.is_file():  # reading a pipe could block forever
        raise UserError("is a folder or a device, not a file. Name a YAML file.")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise UserError(f"has {size} bytes, and at most {MOST_BYTES} are read. Split it.")
    return path.read_text(encoding="utf-8-sig")


def _parsed(text: str, is_json: bool):
    if not is_json:
        return yaml.load(text, _Reader)
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise UserError(f"line {error.lineno}, column {error.colno}: {error.msg}.") from None
    _shallow(value)
    return value


def _once(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"'{twice}' stands twice in one object. Rename or delete one of them.")
    return found


def _shallow(value, depth: int = 1) -> None:
    if depth > DEEPEST:
        raise UserError(f"is nested more than {DEEPEST} deep. Flatten it.")
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            _shallow(inner, depth + 1)


def _written_out(root: yaml.Node) -> None:
    """Refuse a node that contains itself, or is too large or too deep once aliases are expanded."""
    sizes: dict[int, tuple[int, int]] = {}  # of finished nodes: number of values and depth
    open_nodes: set[int] = set()

    def of(node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            return 1, 1
        if (known := sizes.get(id(node))) is not None:
            return known
        line = node.start_mark.line + 1
        if id(node) in open_nodes:
            raise UserError(
                f"what begins in line {line} contains itself through an alias (*). Write out what "
                "is meant."
            )
        open_nodes.add(id(node))
        inner = node.value
        if isinstance(node, yaml.MappingNode):
            inner = [one for pair in node.value for one in pair]
        found = [of(one) for one in inner]
        open_nodes.discard(id(node))
        size, depth = 1 + sum(s for s, _ in found), 1 + max((d for _, d in found), default=0)
        if size > MOST_VALUES:
            raise UserError(
                f"what begins in line {line} stands for more than {MOST_VALUES} values once its "
                "aliases (*) are written out. Use fewer."
            )
        if depth > DEEPEST:
            raise UserError(f"what begins in line {line} is nested more than {DEEPEST} deep.")
        sizes[id(node)] = size, depth
        return sizes[id(node)]

    of(root)


def _words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    context = getattr(error, "context", None)
    said = ", ".join(part for part in (context, error.problem) if part)
    tab = f" {SPACES}" if "\\t" in said or _has_tab(mark) else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}.{tab}"


def _has_tab(mark: yaml.Mark) -> bool:
    lines = (mark.buffer or "").rstrip("\0").splitlines()
    shown = lines[mark.line] if mark.line < len(lines) else ""
    return "\t" in shown[: len(shown) - len(shown.lstrip())]
