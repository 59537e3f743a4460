"""In what a checkpoint and an architecture differ, in words."""

SHOWN = 3


def differences(missing: list[str], left_over: list[str], other_shape: list[str] = ()) -> str:
    """How many names are missing, left over or of another shape, and the first of each.

    Returns:
        Words to put into an error; empty where nothing differs.
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
