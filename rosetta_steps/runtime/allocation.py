"""How the C library keeps memory that was freed."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of mallopt in malloc.h
KEPT_BYTES, LARGEST_BYTES = 2**30, 2**25


def keep_freed_memory() -> None:
    """Have freed memory used again by this process instead of being returned to the system.

    Blocks of maps are some megabytes each. glibc returns those at once, and the next block costs
    more time to be cleared by the kernel than to be read (a fifth of a correlation on a CPU).
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(MMAP_THRESHOLD, LARGEST_BYTES)
        library.mallopt(TRIM_THRESHOLD, KEPT_BYTES)
