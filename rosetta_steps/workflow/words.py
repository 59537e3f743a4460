"""Words of command lines that a thousand models do not make too long."""

import os
import re
import shlex
from collections.abc import Iterable


def braced(paths: Iterable[str]) -> str:
    """Many paths as one word that bash expands to them, because a command has 128 kB at most.

    >>> braced(["maps/one.zarr", "maps/two.zarr"]), braced(["a b/c"])
    ('maps/{one,two}.zarr', "'a b/c'")
    """
    paths = list(map(str, paths))
    start = os.path.commonprefix(paths)
    left = [path[len(start) :] for path in paths]
    end = os.path.commonprefix([one[::-1] for one in left])[::-1]
    middle = [one[: len(one) - len(end)] for one in left]
    if len(set(paths)) < 2 or not all(re.fullmatch(r"[\w./-]*", one) for one in middle):
        return " ".join(map(shlex.quote, paths))
    before, after = (shlex.quote(part) if part else "" for part in (start, end))
    return f"{before}{{{','.join(middle)}}}{after}"
