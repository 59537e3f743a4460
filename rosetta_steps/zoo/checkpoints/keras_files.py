"""Weights as Keras keeps them: a list of arrays for each layer, in HDF5 files and in pickles.

`model.save_weights` writes HDF5, in which the arrays of a layer are numbered (Keras 3) or named
(before it). Pickles hold {layer.name: layer.get_weights()}. Both come out under torch's names in
torch's layout: a kernel (y, x, in, out) as a weight (out, in, y, x), a matrix (in, out) as its
transpose.

HDF5 files are read by h5py, which runs no code of theirs. A link to another file is not followed,
and datasets that lie in other files or that take less room than they claim are refused.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.pickles import Budget, Inert, TruncatedError, described
from rosetta_steps.zoo.checkpoints.stand_ins import Array

# Names of the arrays of a layer by their number: kernel and bias; gamma, beta and the statistics.
NAMES = {
    1: ("weight",),
    2: ("weight", "bias"),
    4: ("weight", "bias", "running_mean", "running_var"),
}
# The same by their names before Keras 3, as in kernel:0.
NAMED = (("kernel",), ("kernel", "bias"), ("gamma", "beta", "moving_mean", "moving_variance"))
MOST_DATASETS = 100_000
DEEPEST = 50


def is_keras_pickle(content: object) -> bool:
    """Whether a pickle holds lists of arrays, one for each layer, or of calls beside them."""
    if type(content) is not dict or not content:
        return False
    lists = [held for held in content.values() if type(held) is list and held]
    items = [one for held in lists for one in held]
    whole = len(lists) == len(content) and all(isinstance(one, Inert) for one in items)
    return whole and any(type(one) is Array for one in items)


def from_keras(layers: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    """Return arrays of Keras under torch's names in torch's layout.

    Args:
        layers: Arrays of each layer, in the order of its get_weights(). The arrays of one layer are
            kernel and bias, or gamma, beta, moving mean and moving variance.

    Returns:
        Tensors by name: layer.weight and layer.bias, in the order of the layers; slashes in names
        of layers become dots.

    Raises:
        ValueError: A layer has another number of arrays.
    """
    tensors = {}
    for layer, arrays in layers.items():
        names = NAMES.get(len(arrays))
        if names is None:
            raise UserError(
                f"its layer {layer:.100} has {len(arrays)} arrays, and only convolutions, matrices "
                "and batch norms of Keras are read here (1, 2 or 4 arrays)"
            )
        for name, array in zip(names, arrays, strict=True):
            tensors[f"{layer.replace('/', '.')}.{name}"] = _torch_layout(array)
    return tensors


def _torch_layout(array: Tensor) -> Tensor:
    # Of a transposed convolution, (y, x, out, in) so becomes torch's (in, out, y, x).
    if array.ndim == 4:
        return array.permute(3, 2, 0, 1).contiguous()
    return array.T.contiguous() if array.ndim == 2 else array


def read_pickled(content: dict, budget: Budget) -> dict[str, list[Tensor]]:
    """Return the arrays of each layer of a pickle for which is_keras_pickle holds.

    Raises:
        ValueError: A layer has no name, or holds something that is no array of numbers.
    """
    for layer, held in content.items():
        if type(layer) is not str:
            raise UserError(f"the name of a layer is {described(layer)}, which is no text")
        for one in held:
            if type(one) is not Array or one.dtype is None:
                raise UserError(
                    f"its layer {layer:.100} holds {described(one)}, which is no array of numbers"
                )
    return {layer: [array.read(budget) for array in held] for layer, held in content.items()}


def read_hdf5(path: Path, budget: Budget) -> dict[str, list[Tensor]]:
    """Return the arrays of each group of an HDF5 file, numbers in names in the order of counting.

    Args:
        path: Of the file.
        budget: Of the file.

    Raises:
        ValueError: It is truncated or damaged, or holds what is no plain array.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _groups(h5py, file, budget)
    except OSError as error:
        kind = TruncatedError if "truncated" in str(error) else UserError
        raise kind(f"as HDF5 it cannot be opened: {error}") from None
    except (RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"as HDF5 it is damaged: {error}") from None


def _groups(h5py, file, budget: Budget) -> dict[str, list[Tensor]]:
    layers: dict[str, list[Tensor]] = {}
    waiting = [("", file, 0)]
    seen = 0
    while waiting:
        path, group, depth = waiting.pop()
        inner, arrays = [], {}
        for name in sorted(group, key=_counting):
            seen += 1
            if seen > MOST_DATASETS or depth > DEEPEST:
                raise UserError("it has absurdly many groups, or a group that holds itself")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UserError(f"its {path}{name:.100} is a link, maybe to another file")
            held = group[name]
            if isinstance(held, h5py.Group):
                inner.append((f"{path}{name}/", held, depth + 1))
            else:
                arrays[name] = _array(h5py, f"{path}{name}", held, budget)
        if arrays:
            layer = path.removesuffix("/").removesuffix("/vars")
            layers[layer] = [arrays[name] for name in _in_order(layer, list(arrays))]
        waiting += reversed(inner)
    return layers


def _in_order(layer: str, names: list[str]) -> list[str]:
    """Names of a layer's arrays in the order of get_weights(): numbers as they count, or NAMED."""
    if all(name.isdecimal() for name in names):
        return names
    by_stem = {name.partition(":")[0]: name for name in names}
    for stems in NAMED:
        if set(stems) == set(by_stem) and len(by_stem) == len(names):
            return [by_stem[stem] for stem in stems]
    raise UserError(
        f"its layer {layer:.100} has {', '.join(names)[:200]}, which are those of no convolution, "
        "matrix or batch norm of Keras"
    )


def _counting(name: str) -> list:
    # conv2d, conv2d_1, conv2d_2, conv2d_10.
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _array(h5py, name: str, dataset, budget: Budget) -> Tensor:
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu":
        raise UserError(f"its {name:.100} is no array of numbers")
    if dataset.external or dataset.is_virtual:
        raise UserError(f"its {name:.100} lies in another file")
    if dataset.id.get_storage_size() != dataset.nbytes:
        raise UserError(f"its {name:.100} is compressed or not whole, as Keras writes none")
    budget.spend_bytes(dataset.nbytes)
    return torch.from_numpy(dataset[()].astype(dataset.dtype.newbyteorder("=")))
