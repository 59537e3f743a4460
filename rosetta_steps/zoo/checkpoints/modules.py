"""Networks in pickles: state dicts and constructor values of recorded torch modules and networks.

Sources: torch_utils/persistence.py of StyleGAN2-ADA-PyTorch, StyleGAN3 and StyleGAN-XL, whose
modules carry their fields in the argument of one call; dnnlib/tflib/network.py of StyleGAN2
(TensorFlow).
Records may contain each other in cycles, or one record many times. So all functions that traverse
them count their steps.
"""

from collections.abc import Callable, Iterator
from typing import Any

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.pickles import PLAIN, Inert, described
from rosetta_steps.zoo.checkpoints.stand_ins import Array, StoredTensor

PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
TENSORFLOW = "dnnlib.tflib.network.Network"
MOST_NAMES = 100_000
LONGEST_NAME = 1000
DEEPEST = 50
MOST_VALUES = 200_000
LONGEST_TEXT = 1000
OMITTED = object()


def fields_of(value) -> dict | None:
    """Return the fields of a recorded torch module; None for anything else."""
    if type(value) is not Inert:
        return None
    if value.name == PERSISTENT:
        meta = value.arguments[0] if value.arguments else None
        fields = meta.get("state") if type(meta) is dict else None
    else:
        fields = value.state
    return fields if type(fields) is dict and type(fields.get("_modules")) is dict else None


def scripted_fields_of(value) -> dict | None:
    """Return tensors and modules of a recorded TorchScript module; None for anything else."""
    if type(value) is not Inert or type(value.state) is not dict:
        return None
    fields: dict = {"_buffers": {}, "_modules": {}}
    for name, held in value.state.items():
        if isinstance(held, StoredTensor):
            fields["_buffers"][name] = held
        elif type(held) is Inert and type(held.state) is dict:
            fields["_modules"][name] = held
    return fields


def state_dict(
    module: Inert, look: Callable[[object], dict | None] = fields_of
) -> dict[str, StoredTensor | Array]:
    """Return the tensors of a recorded torch module, ordered and named as by torch's state_dict().

    Args:
        module: Record of the module.
        look: Function that returns a module's fields: fields_of or scripted_fields_of.

    Raises:
        ValueError: A module contains itself, or there are too many modules.
    """
    found: dict[str, StoredTensor | Array] = {}
    for path, fields in _walk(module, ".", look, "_modules"):
        unsaved = fields.get("_non_persistent_buffers_set")
        for table in ("_parameters", "_buffers"):
            for name, value in _entries(fields, table):
                if value is None or (table == "_buffers" and unsaved and name in unsaved):
                    continue
                if not isinstance(value, StoredTensor | Array):
                    raise UserError(f"its {path}{name} is {described(value)}, which is no tensor")
                found[f"{path}{name}"] = value
                if len(found) > MOST_NAMES:
                    raise UserError(f"it has more than {MOST_NAMES} tensors")
    if not found:
        raise UserError("it is a network without tensors")
    return found


def settings_of(module: Inert) -> dict:
    """Return class, constructor arguments and plain attributes of a recorded torch module.

    Returns:
        Dict with class, init_args, init_kwargs and attributes. `attributes` maps the path of each
        module ("" is the whole network) to its plain public attributes. Unlike the constructor
        arguments they are right even if modules were changed after construction (StyleGAN-XL).
    """
    left = [MOST_VALUES]
    attributes = {}
    for path, fields in _walk(module, ".", fields_of, "_modules"):
        public = {name: value for name, value in fields.items() if _is_public(name)}
        if kept := plain(public, left):
            attributes[path.removesuffix(".")] = kept
    whole = fields_of(module)
    assert whole is not None, "the walk began with it"
    persistent = module.name == PERSISTENT
    return {
        "class": plain(module.arguments[0].get("class_name")) if persistent else module.name,
        "init_args": plain(whole.get("_init_args", ()), left),
        "init_kwargs": plain(whole.get("_init_kwargs", {}), left),
        "attributes": attributes,
    }


def _is_public(name) -> bool:
    return type(name) is str and not name.startswith("_") and name != "training"


def network_of(value) -> dict | None:
    """Return the state of a recorded Network of dnnlib.tflib; None for anything else."""
    recorded = type(value) is Inert and value.name == TENSORFLOW and type(value.state) is dict
    return value.state if recorded else None


def tensorflow_variables(network: Inert) -> dict[str, Array]:
    """Return the variables of a recorded Network; a component's begin with its name and a slash.

    Raises:
        ValueError: The record does not have NVIDIA's form.
    """
    found = {}
    for path, state in _walk(network, "/", network_of, "components"):
        variables: Any = state.get("variables")
        for entry in variables if type(variables) in (list, tuple) else ():
            match entry:
                case (str(name), Array() as value) if len(name) < LONGEST_NAME:
                    found[f"{path}{name}"] = value
                case (str(), float() | int()):  # a counter, no weight
                    continue
                case _:
                    raise UserError(f"a variable of its network is {described(entry)}")
            if len(found) > MOST_NAMES:
                raise UserError(f"it has more than {MOST_NAMES} variables")
    return found


def tensorflow_settings(network: Inert) -> dict:
    """Return the function that built a recorded Network and its arguments, also of components.

    Returns:
        Dict with class, init_kwargs and components; `components` maps each path to class and
        init_kwargs.
    """
    left = [MOST_VALUES]
    found = {
        path.removesuffix("/"): {
            "class": plain(state.get("build_func_name"), left),
            "init_kwargs": plain(state.get("static_kwargs"), left),
        }
        for path, state in _walk(network, "/", network_of, "components")
    }
    return {**found.pop(""), "components": found}


def _walk(whole: Inert, separator: str, look, table: str) -> Iterator[tuple[str, dict]]:
    """Yield path (ending in a separator; "" is the whole) and fields of modules, depth first."""
    waiting = [("", whole, 0)]
    seen = 0
    while waiting:
        path, value, depth = waiting.pop()
        fields = look(value)
        if fields is None:
            raise UserError(f"its part {path} is {described(value)}, no part of a network")
        yield path, fields
        children = [
            (f"{path}{name}{separator}", child, depth + 1)
            for name, child in _entries(fields, table)
            if child is not None
        ]
        seen += len(children)
        if depth > DEEPEST or seen > MOST_NAMES or len(path) > LONGEST_NAME:
            raise UserError("a part of its network holds itself, or absurdly many others")
        waiting += reversed(children)


def _entries(fields: dict, table: str) -> list[tuple[str, Any]]:
    entries = fields.get(table)
    if type(entries) is not dict:
        return []
    if any(type(name) is not str or len(name) > LONGEST_NAME for name in entries):
        raise UserError(f"a name in its {table} is no text, or of absurd length")
    return list(entries.items())


def plain(value, left: list[int] | None = None):
    """Return the part of a pickle's value that can be written as JSON.

    Args:
        value: Value of any type.
        left: List of a single number, which counts down how many values may still be kept.

    Returns:
        None, a boolean, a number, a text, or lists and dictionaries of these.
    """
    found = _plain(value, DEEPEST, [MOST_VALUES] if left is None else left)
    return None if found is OMITTED else found


def is_plain(value) -> bool:
    """Whether `plain` keeps a value completely."""
    waiting, seen = [value], 1
    while waiting:
        value = waiting.pop()
        if type(value) in (list, tuple, dict):
            seen += len(value)
            if seen > MOST_VALUES:  # also true of a value that contains itself
                return False
            if type(value) is dict and any(type(key) not in (int, str) for key in value):
                return False
            waiting += value.values() if type(value) is dict else value
        elif _plain(value, 1, [1]) is OMITTED:
            return False
    return True


def _plain(value, depth: int, left: list[int]):
    left[0] -= 1
    if depth == 0 or left[0] < 0:
        return OMITTED
    if type(value) in (list, tuple):
        items = []
        for item in value:
            if left[0] <= 0:
                break
            items.append(_plain(item, depth - 1, left))
        return [item for item in items if item is not OMITTED]
    if type(value) is dict:
        pairs = []
        for key, item in value.items():
            if left[0] <= 0:
                break
            if type(key) is int or (type(key) is str and len(key) <= LONGEST_TEXT):
                pairs.append((str(key), _plain(item, depth - 1, left)))
        return {key: item for key, item in pairs if item is not OMITTED}
    if type(value) is Array and value.dtype is not None and value.shape == ():
        value = value.flat()[0].item()
    if type(value) not in PLAIN or type(value) is bytes:
        return OMITTED
    if type(value) is str and len(value) > LONGEST_TEXT:
        return OMITTED
    return OMITTED if type(value) is int and value.bit_length() > 64 else value
