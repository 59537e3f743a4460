"""Whether a GPU rounds products of float32 to TF32.

PyTorch has one setting of it for the whole process, so that threads which run models and threads
which multiply maps take turns.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

_turn = RLock()


@contextmanager
def rounding_to_tf32() -> Iterator[None]:
    """Have products of float32 rounded to TF32."""
    settings = torch.backends.cuda.matmul
    with _turn:
        before, settings.allow_tf32 = settings.allow_tf32, True
        try:
            yield
        finally:
            settings.allow_tf32 = before


@contextmanager
def rounding_as_set() -> Iterator[None]:
    """Nobody changes the setting meanwhile."""
    with _turn:
        yield
