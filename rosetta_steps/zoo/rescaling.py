"""How channels with new weights keep the mean and the standard deviation that they had."""

import numpy as np

IMAGES = 16  # that both are measured on, of random texture
# Values of a channel, below which its mean and deviation say nothing.
FEWEST = 32
Moments = tuple[np.ndarray, np.ndarray]  # mean and standard deviation, (channel) each


def moments_of(rows: np.ndarray) -> Moments | None:
    """Mean and standard deviation of each channel, (channel, value); None where values are few."""
    if rows.shape[1] < FEWEST:
        return None
    return rows.mean(1), rows.std(1)


def change_of(now: Moments | None, wanted: Moments | None) -> tuple[np.ndarray, np.ndarray] | None:
    """What channels are multiplied by and what is then added, so that both moments are as wanted.

    Args:
        now: Mean and standard deviation of each channel, as `moments_of` gives them.
        wanted: The same.

    Returns:
        Scale and shift (channel); None where moments are not known. A channel that never varies
        takes the mean alone.
    """
    if now is None or wanted is None:
        return None
    scale = np.divide(wanted[1], now[1], out=np.zeros_like(now[1]), where=now[1] > 0)
    return scale, wanted[0] - scale * now[0]
