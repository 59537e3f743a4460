"""Checkpoints of every kind the zoo meets, read as data, and their way into a module."""

import json
import mmap
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from rosetta_steps.zoo.checkpoints.differences import SHOWN, differences
from rosetta_steps.zoo.checkpoints.modules import (
    fields_of,
    is_plain,
    network_of,
    plain,
    scripted_fields_of,
    settings_of,
    state_dict,
    tensorflow_settings,
    tensorflow_variables,
)
from rosetta_steps.zoo.checkpoints.pickles import (
    HANDLERS,
    Budget,
    Inert,
    TruncatedError,
    described,
)
from rosetta_steps.zoo.checkpoints.stand_ins import Array, StoredTensor
from rosetta_steps.zoo.checkpoints.stylegan2_layouts import (
    from_rosinality,
    from_tensorflow,
    is_rosinality,
)
from rosetta_steps.zoo.checkpoints.torch_files import read_archive, read_stream

FORMAT = "rosetta_steps checkpoint"
FETCH_AGAIN = "Fetch or copy it again."
SAFETENSORS, ZIP, PICKLE = "a safetensors file", "a zip archive", "a pickle"
LONGEST_HEADER = 100_000_000  # bytes, of a safetensors file
TENSORFLOW_NETWORKS = ("G", "D", "Gs")
# CLIP's TorchScript archives store these three sizes among their buffers.
CLIP_SIZES = ("input_resolution", "context_length", "vocab_size")


class NoTensorsError(ValueError):
    """There is something where tensors are expected, and it holds none."""


@dataclass
class Checkpoint:
    """Tensors of a file, and what it says about the network they belong to.

    Attributes:
        tensors: State dict, as stored (16 bits stay 16 bits), on the CPU.
        settings: What JSON can hold. class, init_args, init_kwargs and attributes of modules in
            pickles; truncation_statistics and noise_seed of converted StyleGAN2s; plain values
            beside the tensors.
        layout: Of the file: safetensors, torch, torchscript, persistent (NVIDIA's PyTorch pickles),
            tensorflow, rosinality. The last two come back in NVIDIA's PyTorch layout.
        left_out: Names of what the file holds besides, in tensors and settings not at all or not
            whole: other networks, an optimiser.
    """

    tensors: dict[str, Tensor]
    settings: dict = field(default_factory=dict)
    layout: str = "torch"
    left_out: list[str] = field(default_factory=list)


def read_tensors(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, as read_checkpoint has them."""
    return read_checkpoint(path, key).tensors


def read_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """Read a checkpoint as data, whatever its kind: its first bytes tell, not its name.

    Args:
        path: Of the file.
        key: Where the state dict or the module lies in it, when it is not the whole; without one,
            the averaged generator (G_ema, Gs, g_ema) of a file that holds several networks.

    Returns:
        Its tensors and settings.

    Raises:
        ValueError: The file is missing or truncated, holds no tensors or none at that key, claims
            more than it holds, or would have to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist, or is no file.")
    with path.open("rb") as file:
        start, size = file.read(9), path.stat().st_size
        if not size:
            raise ValueError(f"{path} cannot be read: it is empty (0 bytes). {FETCH_AGAIN}")
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    kind = _kind(path, start)
    if kind is None:
        raise ValueError(
            f"{path} cannot be read: its {size} bytes begin with {start!r}, as no checkpoint does "
            f"(a web page that says an error, a pointer of Git LFS?). {FETCH_AGAIN}"
        )
    budget = Budget(size)
    try:
        if kind == SAFETENSORS:
            return _safetensors(path, data)
        if kind == ZIP:
            content, scripted = read_archive(path, data, budget)
            layout = "torchscript" if scripted else "torch"
        else:
            content, legacy = read_stream(data, budget)
            layout = "torch" if legacy else "pickle"
    except (ValueError, OSError) as error:
        raise _refused(path, f"has {size} bytes and begins as {kind}", error) from None
    chosen = _at(path, content, key)
    try:
        checkpoint = _checkpoint(chosen, content, layout, budget)
    except NoTensorsError as error:
        raise _refused(path, f"is {kind} of {size} bytes", error) from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}.") from None
    checkpoint.left_out = _left_out(chosen, content, checkpoint)
    return checkpoint


def _kind(path: Path, start: bytes) -> str | None:
    """What a file begins as, by its first 9 bytes; None where no checkpoint begins so."""
    header = int.from_bytes(start[:8], "little")
    if start[8:] == b"{" and header <= LONGEST_HEADER:
        return SAFETENSORS
    if len(start) < 9 and path.suffix == ".safetensors":
        return SAFETENSORS
    if start.startswith(b"PK"):
        return ZIP
    return PICKLE if start[0] in HANDLERS else None


def _refused(path: Path, what: str, reason: Exception) -> ValueError:
    if isinstance(reason, TruncatedError):
        remedy = f"It is truncated or damaged. {FETCH_AGAIN}"
    else:
        remedy = (
            "It is damaged, no checkpoint, or would run code when loaded, which is never done here."
        )
    said = str(reason).strip() or repr(reason)
    return ValueError(f"{path} cannot be read as tensors alone. It {what}, but {said}. {remedy}")


def _safetensors(path: Path, data: memoryview) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        end = _end_of_safetensors(data)
        if end > len(data):
            raise TruncatedError(f"by its header it goes on to byte {end} at least") from None
        raise ValueError(str(error)) from None
    beside = path.with_suffix(".json")
    try:
        said = json.loads(beside.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        said = None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        return Checkpoint(tensors, layout="safetensors")
    if said.get("tensors") != len(tensors):
        raise ValueError(
            f"{beside} describes {said.get('tensors')} tensors, the file holds {len(tensors)}: "
            "convert the checkpoint again"
        )
    names = said.get("names", list(tensors))
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(tensors):
        raise ValueError(
            f"{beside} names other tensors than the file: convert the checkpoint again"
        )
    ordered = {name: tensors[name] for name in names}
    return Checkpoint(ordered, said["settings"], said["layout"], said.get("left_out", []))


def _end_of_safetensors(data: memoryview) -> int:
    """Byte at which a safetensors file claims to end, at least; 0 where it claims nothing."""
    if len(data) < 9:
        return 9
    end = 8 + int.from_bytes(data[:8], "little")
    if end > len(data):
        return end
    try:
        parts = json.loads(bytes(data[8:end]))
        return end + max(part["data_offsets"][1] for part in parts.values() if "dtype" in part)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return 0


def _at(path: Path, content, key: str | None):
    """The part of a file that is asked for, or that one wants without asking."""
    networks = _networks(content)
    if key is None:
        for usual in ("G_ema", "Gs", "g_ema"):
            if usual in networks:
                return networks[usual]
        return content
    held = content if type(content) is dict else networks
    if key not in held:
        raise ValueError(
            f"{path} holds no '{key}' (weights.key of its entry), but: "
            f"{_names(held) if held else described(content)}."
        )
    return held[key]


def _networks(content) -> dict:
    """Networks of a file that holds several, by name."""
    if type(content) is dict:
        return {
            name: value
            for name, value in content.items()
            if fields_of(value) is not None or (name == "g_ema" and type(value) is dict)
        }
    three = type(content) in (tuple, list) and len(content) == len(TENSORFLOW_NETWORKS)
    if three and all(network_of(value) is not None for value in content):
        return dict(zip(TENSORFLOW_NETWORKS, content, strict=True))
    return {}


def _names(content: dict) -> str:
    shown = [f"{name!s:.60}" for name in list(content)[:10] if type(name) in (str, int)]
    return ", ".join(shown) + (", ..." if len(content) > len(shown) else "")


def _checkpoint(chosen, content, layout: str, budget: Budget) -> Checkpoint:
    if network_of(chosen) is not None:
        variables = _read(tensorflow_variables(chosen), budget)
        tensors, settings = from_tensorflow(variables)
        return Checkpoint(tensors, tensorflow_settings(chosen) | settings, "tensorflow")
    if fields_of(chosen) is not None:
        layout = "persistent" if layout == "pickle" else layout
        return Checkpoint(_read(state_dict(chosen), budget), settings_of(chosen), layout)
    if layout == "torchscript":
        tensors = _read(state_dict(chosen, scripted_fields_of), budget)
        sizes = {name: tensors.pop(name).item() for name in CLIP_SIZES if name in tensors}
        return Checkpoint(tensors, sizes, layout)
    if type(chosen) is not dict:
        raise NoTensorsError(f"it holds {described(chosen)}, where a state dict is expected")
    state = {name: value for name, value in chosen.items() if _is_tensor(value)}
    _check_names(state, chosen)
    if is_rosinality(state):
        mean_w = content.get("latent_avg") if content is not chosen else None
        stored = {"mean": mean_w} if _is_tensor(mean_w) else {}
        tensors, settings = from_rosinality(_read(state, budget), _read(stored, budget).get("mean"))
        return Checkpoint(tensors, settings, "rosinality")
    beside = {name: value for name, value in chosen.items() if name not in state}
    return Checkpoint(_read(state, budget), plain(beside), layout)


def _left_out(chosen, content, checkpoint: Checkpoint) -> list[str]:
    """Names of what lies beside the chosen part, and of what it holds that is no tensor."""
    used = ("latent_avg",) if checkpoint.layout == "rosinality" else ()
    beside = [] if chosen is content else content if type(content) is dict else _networks(content)
    names = [name for name in beside if beside[name] is not chosen and name not in used]
    if type(chosen) is dict:
        held = ((name, value) for name, value in chosen.items() if not _is_tensor(value))
        names += [name for name, value in held if not is_plain(value)]
    return [f"{name!s:.60}" if type(name) in (str, int) else described(name) for name in names]


def _is_tensor(value) -> bool:
    return isinstance(value, StoredTensor) or (type(value) is Array and value.dtype is not None)


def _holds_tensors(value) -> bool:
    held = type(value) is dict and any(map(_is_tensor, value.values()))
    return held or fields_of(value) is not None


def _check_names(state: dict, chosen: dict) -> None:
    nested = [name for name, value in chosen.items() if _holds_tensors(value)]
    if nested:
        parts = _shown(nested)
        key = "as the key (weights.key of its entry, --key of convert)"
        if state:
            raise ValueError(
                f"it holds tensors ({_shown(list(state))}) beside parts with tensors of their own "
                f"({parts}), and which are meant is not clear: name a part {key}, or save the "
                "tensors beside them alone"
            )
        raise ValueError(f"its tensors lie one level down: name one of its parts {key}: {parts}")
    if not state:
        held = [f"{described(name)}: {described(value)}" for name, value in chosen.items()]
        raise NoTensorsError(f"it holds no tensors, but {', '.join(held[:SHOWN]) or 'nothing'}")
    for name, value in chosen.items():
        if name in state and type(name) is not str:
            raise ValueError(f"the name of a tensor is {described(name)}, which is no text")
        if type(value) is Inert and value.name.startswith(("torch._utils.", "torch._tensor.")):
            raise ValueError(
                f"its tensor {described(name)} is of a kind not read here: {value.name}"
            )


def _shown(names: list) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(described(name) for name in names[:SHOWN]) + more


def _read(stored: dict, budget: Budget) -> dict[str, Tensor]:
    """Tensors in memory; two names of one tensor in the file are one tensor here."""
    read: dict = {}
    tensors = {}
    for name, value in stored.items():
        place = value.place if isinstance(value, StoredTensor) else id(value)
        if place not in read:
            read[place] = value.read(budget)
        tensors[name] = read[place]
    return tensors


def read_weights(name: str, entry: dict, weights: Path) -> tuple[Checkpoint, bool]:
    """The checkpoint of an entry, and whether its tensors are taken by their order.

    Raises:
        ValueError: It cannot be read; or `keys: by_order` asks for an order that it does not have.
    """
    checkpoint = read_checkpoint(weights, entry["weights"].get("key"))
    by_order = entry.get("keys") == "by_order"
    if by_order and checkpoint.layout == "safetensors":
        raise ValueError(
            f"{name}: keys: by_order, but {weights} is a safetensors file, which sorts its "
            "tensors: use the checkpoint it was made from, or what `zoo convert` makes of that."
        )
    return checkpoint, by_order


def load_state(module, tensors: dict, name: str, by_order: bool = False) -> None:
    """Load a state dict into a module, every name and shape exactly, cast to the module's types.

    Args:
        module: A torch module.
        tensors: Name to tensor.
        name: Of the model, for errors.
        by_order: The names differ and the order is the same (entry: `keys: by_order`).

    Raises:
        ValueError: Names or shapes do not fit: which are missing, left over, of another shape.
    """
    own = module.state_dict()
    if by_order:
        if len(own) != len(tensors):
            raise ValueError(
                f"{name}: the checkpoint has {len(tensors)} tensors, the architecture {len(own)}. "
                "Check `architecture` in config/models.yaml."
            )
        tensors = dict(zip(own, tensors.values(), strict=True))
    missing = [key for key in own if key not in tensors]
    left_over = [key for key in tensors if key not in own]
    other = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if missing or left_over or other:
        raise ValueError(
            f"{name}: the checkpoint does not fit the architecture: of {len(own)} tensors, "
            f"{differences(missing, left_over, other)}. {_advice(own, missing, left_over)}"
        )
    module.load_state_dict(tensors)


def _advice(own: dict, missing: list[str], left_over: list[str]) -> str:
    """What probably went wrong: the way out for a checkpoint that does not fit."""
    if missing and len(missing) == len(own):
        prefixes = {key.split(".")[0] for key in left_over}
        if len(prefixes) == 1 and all(key.partition(".")[2] in own for key in left_over):
            return (
                f"All names in the file begin with '{prefixes.pop()}.', which the architecture's "
                "do not: save it without, or name the part with weights.key."
            )
        return (
            "They have no name in common: it is a checkpoint of another architecture, or of "
            "another part of the file (weights.key in config/models.yaml)."
        )
    return (
        "It is a checkpoint of another architecture, resolution or number of classes than its "
        "entry says: correct `architecture` or `weights` in config/models.yaml."
    )
