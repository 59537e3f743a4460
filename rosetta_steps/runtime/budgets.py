"""How much memory a process may take, and how many images at once follow from it."""

from math import prod
from pathlib import Path

import psutil

# Files of a control group, version 2 and 1: its limit, the memory in use, and the part of it that
# the kernel gives back when memory is short (the cache of files that were read).
FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """The least of what the machine has free and what each control group leaves.

    Args:
        groups: Where they are mounted.
        own: Says which ones this process is in.
    """
    free = psutil.virtual_memory().available
    for line in own.read_text().splitlines() if own.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        version, mount = (1, groups / "memory") if controllers else (2, groups)
        group = mount / path.strip("/")
        while group.is_relative_to(mount):
            free = min(free, _left(group, *FILES[version]))
            group = group.parent
    return int(max(0, free))


def _left(group: Path, limit: str, usage: str, reclaimable: str) -> float:
    try:
        most, used = (group / limit).read_text().strip(), int((group / usage).read_text())
        statistics = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return float("inf")  # the root has no limit, and a group may end meanwhile
    if most == "max":
        return float("inf")
    of = dict(line.split() for line in statistics)
    return int(most) - used + int(of.get(reclaimable, 0))


# Maps of one batch in float32; a forward pass holds a few of them besides those that are kept.
KEPT_BYTES = 2e9
LARGEST_MAP_BYTES = 0.25e9


def images_at_once(layers: list, kept: list, most: int) -> int:
    """Images of one forward pass: as many as fit, at least one.

    Args:
        layers: All layers of the model (zoo.hooks.Layer).
        kept: Those whose maps are kept until the batch is done.
        most: No more than these.
    """
    largest = max((_bytes(layer) for layer in layers), default=0)
    together = sum(_bytes(layer) for layer in kept)
    fits = min(KEPT_BYTES // max(together, 1), LARGEST_MAP_BYTES // max(largest, 1))
    return int(max(1, min(most, fits)))


def _bytes(layer) -> int:
    return 4 * layer.channels * prod(layer.size)


def image_blocks(images: int, images_per_block: int) -> list[slice]:
    """Fixed blocks of images; the last may be short."""
    starts = range(0, images, images_per_block)
    return [slice(start, min(start + images_per_block, images)) for start in starts]
