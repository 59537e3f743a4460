"""Description of the differences between a checkpoint and an architecture."""

from collections.abc import Sequence

SHOWN = 3


def differences(
    missing: Sequence[str], left_over: Sequence[str], other_shape: Sequence[str] = ()
) -> str:
    """Describe how many names are missing, left over or of another shape, and the first of each.

    Returns:
        Words for an error; empty if nothing differs.
    """
    parts = (
        ("missing", missing),
        ("left over", left_over),
        ("of other shape", other_shape),
    )
    return "; ".join(
        f"{len(names)} {what} (first {', '.join(f'{name:.120}' for name in names[:SHOWN])})"
        for what, names in parts
        if names
    )
