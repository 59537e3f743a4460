"""PyTorch's setting of whether a GPU rounds float32 products to TF32, shared between threads.

The setting holds for the whole process. So threads that run models and threads that multiply maps
take turns: each holds a lock while it depends on the setting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

_turn = RLock()


@contextmanager
def rounding_to_tf32() -> Iterator[None]:
    """Allow TF32 within the context, and restore the setting afterwards."""
    settings = torch.backends.cuda.matmul
    with _turn:
        before, settings.allow_tf32 = settings.allow_tf32, True
        try:
            yield
        finally:
            settings.allow_tf32 = before


@contextmanager
def rounding_as_set() -> Iterator[None]:
    """Keep other threads from changing the setting within the context."""
    with _turn:
        yield
