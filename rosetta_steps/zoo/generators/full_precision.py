"""Exclusion of latents, styles and phases from mixed precision (autocast)."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(like: Tensor) -> AbstractContextManager:
    """Return a context that disables autocast on a tensor's device (not on the meta device)."""
    kind = like.device.type
    if not torch.amp.is_autocast_available(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)
