"""Errors that a user can mend are one line with the remedy; any other keeps its traceback."""

import sys
import traceback
from collections.abc import Callable

from rosetta_steps.runtime.advice import remedy


class UserError(ValueError):
    """What a user gave, or what lies on their disk, cannot be used: says what, and the remedy."""


class StoreError(UserError):
    """A store or table is missing, half-written, damaged, or does not belong to another one."""


def run(main: Callable[[], None]) -> None:
    """Run a step's command line.

    An error that the user can mend is printed as one message; so is one of the system, such as a
    file that is not there. Anything else is a mistake of this package, and keeps its traceback.
    """
    if spec := sys.modules["__main__"].__spec__:  # so that --help shows what one types
        sys.argv[0] = f"python -m {spec.name.removesuffix('.__main__')}"
    try:
        main()
    except UserError as error:
        sys.exit(f"Error: {error}")
    except OSError as error:
        advice = remedy(error, error.filename) if error.filename else ""
        sys.exit(f"Error: {error}. {advice}".strip())
    except Exception:
        traceback.print_exc()
        sys.exit(
            "This is a mistake of rosetta_steps, not of yours: please report it with these lines."
        )
