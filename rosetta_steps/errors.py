"""Errors that a user can cause: shown as one message, without a traceback."""

import sys
from collections.abc import Callable


class StoreError(ValueError):
    """A store is missing, half-written, damaged, or does not fit another one."""


def run(main: Callable[[], None]) -> None:
    """Run a step's command line; print an error the user can act on instead of a traceback."""
    if spec := sys.modules["__main__"].__spec__:  # so that --help shows what one types
        sys.argv[0] = f"python -m {spec.name.removesuffix('.__main__')}"
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
