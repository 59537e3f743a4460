"""Test that an object implements the protocol maps.sources.MapSource."""

import numpy as np
import torch

from rosetta_steps.maps.sources import MapSource

DTYPES = ("float16", "float32")


def check_source(source: MapSource) -> None:
    """Read a source in several ways and compare the maps with what its attributes declare.

    Each layer is read for all images at once, then on a few blocks of images (the first two, the
    last, one image in the middle, and the first again), with and without a selection of channels.
    Each block is announced by `prefetch` before. Afterwards all layers of the source are selected.
    Use a source of few images, because the maps of all images are held in memory.

    Args:
        source: Store, stream, or an object of your own class.

    Raises:
        AssertionError: A check failed; the message names the first fault.
    """
    _check_what_it_says(source)
    layers = list(source.layers)
    source.select_layers(layers)
    together = source.images_per_read(1e6)
    assert isinstance(together, int) and together >= 1, (
        f"images_per_read gives {together!r}, not a number of images of at least 1"
    )
    whole = {}
    for layer in layers:
        source.prefetch(slice(0, source.images))
        whole[layer] = _read(source, layer, slice(0, source.images))
    step = max(1, min(together, (source.images + 1) // 2))
    blocks = [slice(n, min(n + step, source.images)) for n in range(0, source.images, step)]
    middle = source.images // 2
    for block in (*blocks[:2], blocks[-1], slice(middle, middle + 1), blocks[0]):
        source.prefetch(block)
        for layer in layers:
            expected = whole[layer][block]
            _same(_read(source, layer, block), expected, layer, block, "of all images")
            for channels in _runs(source.channels[layer], source.channels_per_read(layer)):
                found = _read(source, layer, block, channels)
                _same(found, expected[:, channels], layer, block, f"{_words(channels)} of all")
    last = layers[-1]
    source.select_layers([last])
    found, expected = _read(source, last, blocks[0]), whole[last][blocks[0]]
    _same(found, expected, last, blocks[0], "when all were selected")
    source.select_layers(layers)


def _check_what_it_says(source: MapSource) -> None:
    """Check the attributes without reading maps."""
    wanted = ("state", "attrs", "images", "sizes", "channels", "device", "layers", "dtype")
    methods = ("layer_attrs", "channels_per_read", "images_per_read", "select_layers", "prefetch")
    for name in (*wanted, *methods, "read"):
        assert hasattr(source, name), f"it has no {name}"
    for key in ("name", "sample_set", "made_of"):
        assert key in source.state, f"its state has no {key!r}"
    assert isinstance(source.state["made_of"], dict), "made_of is not a dict of names to digests"
    assert "model" in source.attrs, "its attrs do not name the model"
    assert isinstance(source.images, int) and source.images >= 1, f"{source.images!r} images"
    assert source.device in ("cpu", "cuda"), f"device {source.device!r} is neither cpu nor cuda"
    dtype = np.dtype(source.dtype)
    assert isinstance(source.dtype, np.dtype) and dtype.name in DTYPES, (
        f"dtype {source.dtype!r} is not NumPy's float16 or float32"
    )
    layers = list(source.layers)
    assert layers, "it has no layers"
    assert len(set(layers)) == len(layers), f"a layer stands twice in {layers}"
    for of, named in (("sizes", source.sizes), ("channels", source.channels)):
        assert list(named) == layers, f"{of} are of {list(named)}, layers are {layers}"
    for layer in layers:
        size, channels = source.sizes[layer], source.channels[layer]
        assert isinstance(size, tuple) and len(size) == 2 and min(size) >= 1, (
            f"layer {layer}: the size {size!r} is no tuple (y, x)"
        )
        assert isinstance(channels, int) and channels >= 1, f"layer {layer}: {channels!r} channels"
        per_read = source.channels_per_read(layer)
        assert isinstance(per_read, int) and per_read >= 1, (
            f"layer {layer}: channels_per_read gives {per_read!r}"
        )
        said = source.layer_attrs(layer)
        assert isinstance(said, dict), f"layer {layer}: layer_attrs gives {said!r}, not a dict"


def _read(source: MapSource, layer: str, block: slice, channels: slice = slice(None)) -> np.ndarray:
    """Read maps and check their shape, dtype and device, and that they are finite."""
    found = source.read(layer, block, channels)
    where = f"layer {layer}, images {block.start} to {block.stop}, {_words(channels)}"
    assert isinstance(found, np.ndarray | torch.Tensor), (
        f"{where}: read gives {type(found).__name__}, not an array or a tensor"
    )
    device = found.device.type if isinstance(found, torch.Tensor) else "cpu"
    assert device == source.device, f"{where}: lies on {device}, not on {source.device}"
    values = found.cpu().numpy() if isinstance(found, torch.Tensor) else found
    count = len(range(source.channels[layer])[channels])
    shape = (block.stop - block.start, count, *source.sizes[layer])
    assert values.shape == shape, f"{where}: has the shape {values.shape}, not {shape}"
    assert values.dtype == source.dtype, f"{where}: is {values.dtype}, not {source.dtype}"
    assert np.isfinite(values).all(), f"{where}: has values that are not finite"
    return values.copy()


def _runs(channels: int, per_read: int) -> list[slice]:
    """Return channel slices to test: first, one read, second half, last with open end."""
    middle = channels // 2
    found = [(0, 1), (0, min(per_read, channels)), (middle, channels), (channels - 1, channels)]
    return [*(slice(*run) for run in dict.fromkeys(found)), slice(channels - 1, None)]


def _words(channels: slice) -> str:
    if channels == slice(None):
        return "all channels"
    return f"channels {channels.start} to {'the end' if channels.stop is None else channels.stop}"


def _same(found: np.ndarray, expected: np.ndarray, layer: str, block: slice, of: str) -> None:
    """Compare maps within rounding, which depends on the other images of a batch."""
    eps = np.finfo(expected.dtype).eps
    most = max(1.0, float(np.abs(expected).max(initial=0)))
    difference = float(np.abs(found.astype(np.float64) - expected).max(initial=0))
    assert difference <= 16 * max(eps, 1e-4) * most, (
        f"layer {layer}, images {block.start} to {block.stop}: other values than the same ones "
        f"read {of} (difference {difference:.3g})"
    )
