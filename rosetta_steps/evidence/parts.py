"""The three parts of a correlation: where two units respond, on which images, and the rest.

With A and B the maps of two units at their size of comparison (s positions, n images), the
covariance is a sum of three,

    where    (1/s) sum over positions of (mean map of A - mean) (mean map of B - mean)
    amount   (1/n) sum over images of (mean of A on the image - mean) (mean of B - mean)
    place    what is left: both respond at the same place of the same image

each divided by both standard deviations: their sum is r. `where` and `amount` are what remains,
on average, when images are permuted and when the maps of each image are rolled (Hoeffding 1951).
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.evidence.compared import sizes_in, sizes_of_comparison, sizes_of_layers
from rosetta_steps.maps.resampling import Size, comparison_size, size_of, upsampling
from rosetta_steps.maps.statistics import mean_and_variance

PAIR = ["layer_a", "channel_a", "layer_b", "channel_b"]
LAYERS = ["layer_a", "layer_b"]
PARTS = ["deviations", "where", "left"]


def parts_of_variance(moments: xr.Dataset, size: Size) -> dict[str, np.ndarray]:
    """Mean, variance and mean map of a layer's units upsampled to a size.

    Args:
        moments: Moments of the layer, as maps.statistics gives them.
        size: Height and width, at least those of the layer's maps.

    Returns:
        `mean`, `variance`, `where` (variance of the mean map over positions), each (channel), and
        `mean_map` (channel, position) about the mean; float64, NaN for a unit that never varies.
    """
    mean, variance = mean_and_variance(moments, size)
    centred = _about_the_mean(moments["mean_map"].values, mean, size)
    return {
        "mean": mean,
        "variance": variance,
        "where": np.square(centred).mean(1),
        "mean_map": centred,
    }


def _about_the_mean(mean_maps: np.ndarray, mean: np.ndarray, size: Size) -> np.ndarray:
    """Mean maps (unit, y, x) upsampled to a size, less their means there, (unit, position)."""
    own = size_of(mean_maps)
    mean_maps = mean_maps.astype(np.float64)
    if own != size:
        up_y, up_x = (upsampling(own[axis], size[axis]) for axis in (0, 1))
        mean_maps = up_y @ mean_maps @ up_x.T
    return mean_maps.reshape(len(mean), -1) - mean[:, None]


def sizes_compared(moments: Sequence[xr.DataTree]) -> Callable[[str, str], Size]:
    """Function from a layer of each model to the size at which their units are compared."""
    of_a, of_b = map(sizes_of_layers, moments)
    return lambda layer_a, layer_b: comparison_size(of_a[layer_a], of_b[layer_b])


class _Layer:
    """What is kept of a layer's moments, at each size at which its units are compared.

    Args:
        moments: Moments of the layer.
        sizes: The sizes.
    """

    def __init__(self, moments: xr.Dataset, sizes: Sequence[Size]):
        read = moments[["mean_map", "mean_product", "minimum", "maximum", "nonfinite"]].compute()
        self._mean_maps = read["mean_map"].values
        self._of_size = {size: mean_and_variance(read, size) for size in sizes}

    def parts(self, channels: np.ndarray, size: Size) -> dict[str, np.ndarray]:
        """`variance`, `where` and `mean_map` of some units, as parts_of_variance has them."""
        mean, variance = self._of_size[size]
        # Upsampled mean maps are large: they are those of the units asked for, and not kept.
        units, places = np.unique(channels, return_inverse=True)
        centred = _about_the_mean(self._mean_maps[units], mean[units], size)
        where = np.square(centred).mean(1)
        return {
            "variance": variance[channels],
            "where": where[places],
            "mean_map": centred[places],
        }


class PartsOfPairs:
    """What moments say of pairs of units of two models; no image is read.

    Every layer's moments are read once, and every pair is computed once.

    Args:
        moments: Moments of both models; those of splits are not looked at.
    """

    def __init__(self, moments: Sequence[xr.DataTree]):
        self.moments = moments
        self._compared = sizes_compared(moments)
        self._layers: dict[tuple[int, str], _Layer] = {}
        self._known = pd.DataFrame(
            columns=PARTS, index=pd.MultiIndex.from_arrays([[]] * len(PAIR)), dtype=np.float64
        )

    def of(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Parts of pairs of units.

        Args:
            pairs: layer_a, channel_a, layer_b, channel_b.

        Returns:
            In the order and with the index of the pairs: `deviations` (product of both standard
            deviations), `where` (of r), `left` (product of the standard deviations that both units
            have about their own mean maps); NaN where a unit never varies.
        """
        wanted = pd.MultiIndex.from_frame(pairs[PAIR])
        new = pairs[~(wanted.isin(self._known.index) | wanted.duplicated())]
        computed = [self._known]
        for (layer_a, layer_b), group in new.groupby(LAYERS, sort=False):
            computed.append(self._between(layer_a, layer_b, group))
        self._known = pd.concat(computed)
        return self._known.reindex(wanted).set_axis(pairs.index)

    def _between(self, layer_a: str, layer_b: str, pairs: pd.DataFrame) -> pd.DataFrame:
        """Parts of pairs of units of two layers, by their units."""
        size = self._compared(layer_a, layer_b)
        a = self._layer(0, layer_a).parts(pairs["channel_a"].to_numpy(), size)
        b = self._layer(1, layer_b).parts(pairs["channel_b"].to_numpy(), size)
        deviations = np.sqrt(a["variance"] * b["variance"])
        with np.errstate(invalid="ignore", divide="ignore"):
            where = (a["mean_map"] * b["mean_map"]).mean(1) / deviations
        left = np.sqrt(
            np.maximum(a["variance"] - a["where"], 0) * np.maximum(b["variance"] - b["where"], 0)
        )
        units = pd.MultiIndex.from_frame(pairs[PAIR])
        return pd.DataFrame({"deviations": deviations, "where": where, "left": left}, units)

    def _layer(self, side: int, name: str) -> _Layer:
        if (side, name) not in self._layers:
            of_layer = self.moments[side][name].to_dataset()
            others = sizes_in(self.moments[1 - side])
            sizes = sizes_of_comparison(size_of(of_layer["mean_map"]), others)
            self._layers[side, name] = _Layer(of_layer, sizes)
        return self._layers[side, name]


def correlation_left(correlation: np.ndarray, of_pairs: pd.DataFrame) -> np.ndarray:
    """The correlation of pairs once both units' mean maps are taken out; 0 where nothing is left.

    Args:
        correlation: r of each pair.
        of_pairs: What PartsOfPairs says of them.
    """
    covariance = (correlation - of_pairs["where"]) * of_pairs["deviations"]
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(of_pairs["left"] > 0, covariance / of_pairs["left"], 0.0)
    return np.clip(r, -1, 1)
