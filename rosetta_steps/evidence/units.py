"""Maps of matched units on a block of images, where they are compared with others."""

from functools import cached_property
from math import inf, prod

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from rosetta_steps.correlation.projection import SMALL_MAP, Memory, Projection
from rosetta_steps.evidence import low_level
from rosetta_steps.evidence.kernels import add_norms, add_squares, sum_units
from rosetta_steps.evidence.parts import parts_of_variance
from rosetta_steps.maps.channels import places_of, planes
from rosetta_steps.maps.resampling import Size, projected, upsampling
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.runtime.threads import one_thread

# A position has a high norm where the squares of all units there sum to more than the median and so
# many median absolute deviations, those of the first block: in vision transformers a few such
# tokens carry global information (Darcet et al. 2024).
HIGH_NORM = 6


class FeatureSums:
    """Low-level features at one size: their maps on a block of images, and sums over all.

    Args:
        size: Height and width at which units are compared.
    """

    def __init__(self, size: Size):
        count = len(low_level.FEATURES)
        self.size, self.values = size, 0
        self.own: list[Size] = []
        self.sum, self.product = np.zeros(count), np.zeros((count, count))

    def meets(self, own: Size) -> None:
        """Prepare for maps of a size, at most this one."""
        if own not in self.own:
            self.own.append(own)

    def add(self, features: Tensor) -> None:
        """Take the features of a block of images at the images' size, (image, feature, y, x).

        `below` then has them as products with maps of a smaller size take them, by the adjoint:
        (feature, value of the block) for each such size.
        """
        maps = low_level.resized(features, self.size).transpose(0, 1).contiguous()
        self.below = self.projection(maps)
        rows = maps.flatten(1).double()
        self.values += rows.shape[1]
        self.sum += rows.sum(1).numpy()
        with one_thread():
            self.product += (rows @ rows.T).numpy()

    @cached_property
    def projection(self) -> Projection:
        """To all sizes of maps that are compared with others at this one."""
        return Projection(self.size, self.own, Memory("cpu", torch.float32))

    @property
    def mean(self) -> np.ndarray:
        """Mean of each feature."""
        return self.sum / self.values

    def covariance(self) -> np.ndarray:
        """Covariance of the features, (feature, feature)."""
        return self.product / self.values - np.outer(self.mean, self.mean)


class LayerMaps:
    """Maps of some units of a layer on a block of images.

    Args:
        reader: Maps of the model.
        moments: Moments of the layer, of all its channels.
        layer: Its name.
        channels: Channel numbers of the units.
    """

    def __init__(self, reader: MapSource, moments: xr.Dataset, layer: str, channels: np.ndarray):
        self.reader, self.layer, self.size = reader, layer, reader.sizes[layer]
        self.channels = np.sort(channels)
        self.moments = moments.load().isel(channel=self.channels)  # read once for all sizes
        self.places = list(places_of(reader, layer, self.channels.tolist()).values())
        self.sizes: dict[Size, UnitsAtSize] = {}
        self.limit: Tensor | None = None
        self.positions = self.high_positions = 0

    def at(self, size: Size) -> "UnitsAtSize":
        """The units at a size of comparison; one object a size."""
        if size not in self.sizes:
            self.sizes[size] = UnitsAtSize(self, size)
        return self.sizes[size]

    def values_held(self) -> int:
        """Number of values held for an image: maps, and maps about the mean at each size."""
        return len(self.places) * prod(self.size) * (1 + 2 * len(self.sizes))

    def read(self, block: slice) -> None:
        """Take a block of images."""
        maps = torch.from_numpy(planes(self.reader, self.layer, block, self.places))
        self.maps = maps.transpose(0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        norms = torch.zeros(self.maps.shape[1:])
        add_norms(self.maps.flatten(1).numpy(), norms.flatten().numpy())
        if self.limit is None:
            median = norms.median()
            deviation = (norms - median).abs().median()
            # Where most positions are silent, every other one would stand out.
            self.limit = median + HIGH_NORM * deviation if deviation > 0 else norms.new_tensor(inf)
        self.high = norms > self.limit
        self.positions += norms.numel()
        self.high_positions += int(self.high.sum())
        self._high_at: dict[Size, Tensor] = {}

    def high_at(self, meeting: Size) -> Tensor:
        """Where the norm is high at a smaller size: in some position that a cell covers."""
        if tuple(self.high.shape[1:]) == meeting:
            return self.high
        if meeting not in self._high_at:
            self._high_at[meeting] = adaptive_max_pool2d(self.high.float(), meeting) > 0
        return self._high_at[meeting]


class UnitsAtSize:
    """Units of a layer at a size of comparison.

    Args:
        layer: Their maps.
        size: Height and width, at least those of the layer.

    Attributes:
        variance: Of each unit at that size.
        sum, square, left: Of each unit and image of the block, (unit, image): sums of values and
            their squares about the unit's mean, and of squares about its mean map.
        with_features: Sum of each unit's products with each feature over all images.
        meeting: By the size at which they meet another layer's: maps of the block, (unit, image,
            position), about each unit's mean.
        mean_maps: By that size, mean maps about the mean, (unit, position).
        squares: By that size, sums over images of squared maps, (unit, position).
    """

    def __init__(self, layer: LayerMaps, size: Size):
        self.layer, self.size = layer, size
        self.own = own = layer.size
        parts = parts_of_variance(layer.moments, size)
        self.mean, self.variance = torch.from_numpy(parts["mean"]).float(), parts["variance"]
        mean_map = layer.moments["mean_map"].values - parts["mean"][:, None, None]
        self.mean_map = torch.from_numpy(mean_map).float()
        self.up = _matrices(own, size)
        self.gram = [up.T @ up for up in self.up]
        self.with_features = np.zeros((len(layer.channels), len(low_level.FEATURES)))
        self.mean_maps: dict[Size, np.ndarray] = {}
        self.squares: dict[Size, np.ndarray] = {}

    def meets(self, meeting: Size) -> None:
        """Prepare for a size at which they meet another layer's, at most their own."""
        if meeting not in self.mean_maps:
            mean_maps = projected(self.mean_map.numpy(), meeting).astype(np.float32)
            self.mean_maps[meeting] = mean_maps.reshape(len(mean_maps), -1)
            self.squares[meeting] = np.zeros(self.mean_maps[meeting].shape)

    @cached_property
    def projection(self) -> Projection:
        """To all sizes at which they meet others."""
        return Projection(self.own, list(self.mean_maps), Memory("cpu", torch.float32))

    def add(self, shown: FeatureSums) -> None:
        """Take the layer's block of images, and the features on it."""
        self.maps = self.layer.maps - self.mean[:, None, None, None]
        # All at the layer's own size: sum(U b) = <U^T 1, b>, |U b|^2 = <b, U^T U b>, and with a
        # feature F <U b, F> = <b, U^T F>.
        maps, mean_map = self._through_gram(self.maps), self._through_gram(self.mean_map)
        weights = torch.outer(*(up.sum(0) for up in self.up)).flatten().numpy()
        sums = np.empty((3, *self.maps.shape[:2]), np.float32)
        both = [of.flatten(-2).numpy() for of in (self.maps, maps, self.mean_map, mean_map)]
        sum_units(both[0], both[1], both[2], both[3], weights, sums)
        self.sum, self.square, self.left = sums
        below = shown.below[self.own].T
        with one_thread():
            self.with_features += (self.maps.flatten(1) @ below).double().numpy()
        units, images = self.maps.shape[:2]
        self.meeting = {
            meeting: matrix.view(units, images, -1).numpy()
            for meeting, matrix in self.projection(self.maps).items()
        }
        for meeting, of in self.meeting.items():
            add_squares(of, self.squares[meeting])

    def _through_gram(self, maps: Tensor) -> Tensor:
        if self.own == self.size:
            return maps
        gram_y, gram_x = self.gram
        if prod(self.own) <= SMALL_MAP["cpu"]:  # one large product is faster than many small ones
            return (maps.flatten(-2) @ torch.kron(gram_y, gram_x)).view(maps.shape)
        return gram_y @ (maps.flatten(0, -2) @ gram_x).view(maps.shape)

    def rows(self, channels: pd.Series) -> np.ndarray:
        """Where units stand among these, by their channel numbers."""
        return np.searchsorted(self.layer.channels, channels.to_numpy())

    def correlation_with(self, shown: FeatureSums) -> np.ndarray:
        """Correlation of each unit with each feature, (unit, feature); 0 where one never varies."""
        covariance = self.with_features / shown.values
        deviations = np.sqrt(np.outer(self.variance, np.diag(shown.covariance())))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(deviations > 1e-12, covariance / deviations, 0.0)


def _matrices(small: Size, large: Size) -> list[Tensor]:
    # Of the upsampling from one size to the other, along height and width.
    both = zip(small, large, strict=True)
    return [torch.from_numpy(upsampling(s, of)).float() for s, of in both]
