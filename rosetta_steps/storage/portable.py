"""What stores hold, in a form that xarray, pandas, netCDF and zarr-python all take.

Attributes are text, numbers or lists of numbers; anything else becomes JSON text. Strings have a
fixed width, as in a NumPy array of str: variable-length ones refuse `.astype(str)` and
`chunks="auto"` when they are opened.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

# Attributes of maps that are stored as float16. NumPy and Dask add float16 up in float16, whose
# greatest number is 65504: a mean over a layer is then 0, infinite or NaN. With a scale factor,
# even of 1, xarray decodes what it opens to float64 (CF conventions), and sums are right. What is
# stored stays float16, and so does what zarr-python reads, or xarray with mask_and_scale=False.
DECODED = {"scale_factor": 1.0}


def attrs_of_maps(dtype: str | np.dtype) -> dict:
    """Attributes of maps in a dtype, from which xarray knows how to show them."""
    return dict(DECODED) if np.dtype(dtype) == np.float16 else {}


def plain_attrs(attrs: Mapping) -> dict:
    """Attributes as netCDF takes them, in every version of it: text, numbers, lists of numbers.

    Dicts, lists of text and empty lists become JSON text (`json.loads`, or `listed`), truth values
    0 or 1; what is None is left out.

    Args:
        attrs: Names to values that JSON knows, or NumPy's.

    Raises:
        TypeError: A value is none of these.
    """
    return {str(name): _plain(value) for name, value in attrs.items() if value is not None}


def listed(value) -> Any:
    """A list or dict as it was before plain_attrs; of a store written earlier, as it stands.

    Args:
        value: Of an attribute; None for one that is absent: an empty list.
    """
    if value is None:
        return []
    return json.loads(value) if isinstance(value, str) else value


def portable(dataset: xr.Dataset | xr.DataTree) -> xr.Dataset | xr.DataTree:
    """The same with plain attributes and with strings of a fixed width.

    Raises:
        TypeError: An attribute is nothing that JSON knows, or a variable of objects holds other
            things than strings.
    """
    if isinstance(dataset, xr.DataTree):
        return xr.DataTree.from_dict(
            {node.path: portable(node.to_dataset(inherit=False)) for node in dataset.subtree}
        )
    dataset = dataset.copy()
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OT":
            strings = variable.copy(data=fixed_width(variable.values))
            strings.encoding = {}
            put = dataset.assign_coords if name in dataset.coords else dataset.assign
            dataset = put({name: strings})
        dataset[name].attrs = plain_attrs(variable.attrs)
    dataset.attrs = plain_attrs(dataset.attrs)
    return dataset


def fixed_width(strings: np.ndarray, least: int = 1) -> np.ndarray:
    """Strings in NumPy's fixed-width form, as wide as the longest.

    Args:
        strings: Of objects or variable-length strings.
        least: Characters of the width at least, where longer ones will be appended.

    Raises:
        TypeError: One of them is no string.
    """
    values = strings.ravel().tolist()
    if others := [value for value in values if not isinstance(value, str)]:
        raise TypeError(f"{others[0]!r} is a {type(others[0]).__name__}, expected text.")
    width = max([least, *map(len, values)])
    return np.array(values, dtype=f"U{width}").reshape(strings.shape)


def _plain(value):
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple) and value:
        numbers = [one.item() if isinstance(one, np.generic) else one for one in value]
        if all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
            return numbers
    return json.dumps(value, ensure_ascii=False, default=_plain)
