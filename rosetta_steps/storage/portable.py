"""Attributes and strings of stores in a form that xarray, pandas, netCDF and zarr-python accept.

Attributes are text, numbers or lists of numbers; any other value becomes JSON text. Strings have a
fixed width, as in a NumPy array of dtype U: opened arrays of variable-length strings support
neither `.astype(str)` nor `chunks="auto"`.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

# Attributes of maps that are stored as float16. NumPy and Dask sum float16 in float16, whose
# maximum is 65504: a mean over a layer would be 0, infinite or NaN. With a scale factor, even of
# 1, xarray decodes the array to float64 (CF conventions), and sums are right. The stored values
# stay float16, as does what zarr-python reads, or xarray with mask_and_scale=False.
DECODED = {"scale_factor": 1.0}


def attrs_of_maps(dtype: str | np.dtype) -> dict:
    """Return the attributes by which xarray decodes maps of a dtype; empty unless it is float16."""
    return dict(DECODED) if np.dtype(dtype) == np.float16 else {}


def plain_attrs(attrs: Mapping) -> dict:
    """Convert attributes to values that every version of netCDF accepts.

    Text, numbers and lists of numbers stay. Dicts, lists of text and empty lists become JSON text
    (read it with `json.loads` or `listed`), booleans become 0 or 1, and None is left out.

    Args:
        attrs: Names and values; a value is JSON-like or a NumPy scalar or array.

    Raises:
        TypeError: A value cannot be written as JSON.
    """
    return {str(name): _plain(value) for name, value in attrs.items() if value is not None}


def listed(value) -> Any:
    """Return the list or dict that `plain_attrs` turned into JSON text.

    Args:
        value: Value of the attribute. A value that is no text is returned as it is (older stores
            hold lists); None, for an absent attribute, gives an empty list.
    """
    if value is None:
        return []
    return json.loads(value) if isinstance(value, str) else value


def portable(dataset: xr.Dataset | xr.DataTree) -> xr.Dataset | xr.DataTree:
    """Return a copy of a dataset with plain attributes and fixed-width strings.

    Raises:
        TypeError: An attribute cannot be written as JSON, or a variable of dtype object holds
            values that are no strings.
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
    """Convert strings to NumPy's fixed-width dtype, as wide as the longest string.

    Args:
        strings: Array of dtype object or of variable-length strings.
        least: Minimum width in characters, for arrays to which longer strings will be appended.

    Raises:
        TypeError: A value is no string.
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
