"""Memory that a process may take, and the batch sizes that follow from it."""

from math import prod
from pathlib import Path

import psutil

# Files of a control group (cgroup), by version: its memory limit, the memory in use, and the entry
# of memory.stat that counts reclaimable memory (the cache of files that were read).
FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes(
    groups: Path = Path("/sys/fs/cgroup"), cgroup_file: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the bytes of memory that this process may still take.

    This is the minimum of the machine's free memory and what each control group (cgroup) of the
    process leaves.

    Args:
        groups: Folder where control groups are mounted.
        cgroup_file: File that lists the control groups of this process.
    """
    free = psutil.virtual_memory().available
    for line in cgroup_file.read_text().splitlines() if cgroup_file.is_file() else []:
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
        return float("inf")  # the root group has no limit; a group may also vanish
    if most == "max":
        return float("inf")
    of = dict(line.split() for line in statistics)
    return int(most) - used + int(of.get(reclaimable, 0))


# Limits on the float32 maps of one batch: all kept layers together, and the largest layer alone (a
# forward pass holds a few layers that are not kept).
KEPT_BYTES = 2e9
LARGEST_MAP_BYTES = 0.25e9


def images_at_once(layers: list, kept: list, max_batch: int) -> int:
    """Return the batch size of a forward pass: as many images as fit into memory, at least one.

    Args:
        layers: All layers of the model (zoo.hooks.Layer).
        kept: Layers whose maps are kept until the batch is done.
        max_batch: Maximum batch size.
    """
    largest = max((_bytes(layer) for layer in layers), default=0)
    together = sum(_bytes(layer) for layer in kept)
    fits = min(KEPT_BYTES // max(together, 1), LARGEST_MAP_BYTES // max(largest, 1))
    return int(max(1, min(max_batch, fits)))


def _bytes(layer) -> int:
    return 4 * layer.channels * prod(layer.size)


def image_blocks(images: int, images_per_block: int) -> list[slice]:
    """Cut images 0 to `images` - 1 into blocks of fixed length; the last may be shorter."""
    starts = range(0, images, images_per_block)
    return [slice(start, min(start + images_per_block, images)) for start in starts]
