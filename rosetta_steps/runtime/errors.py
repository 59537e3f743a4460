"""Errors that a user can fix, printed as one message with the remedy, and the runner of steps."""

import gc
import sys
import traceback
from collections.abc import Callable

from rosetta_steps.runtime.advice import remedy


class UserError(ValueError):
    """The user's input or a file on disk cannot be used; the message says why and what to do."""


class StoreError(UserError):
    """A store or table is missing, half-written, damaged, or does not belong to another one."""


def run(main: Callable[[], None]) -> None:
    """Run a step's command line.

    A UserError is printed as one message without traceback; so is an OSError, such as a missing
    file. Any other error is a bug of this package and is printed with its traceback.
    """
    if spec := sys.modules["__main__"].__spec__:  # so that --help shows the command as it is typed
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
    finally:
        # At its end Python looks through everything that was imported for cycles to free, which
        # takes two seconds of torch and timm. The system frees it all the same.
        gc.freeze()
