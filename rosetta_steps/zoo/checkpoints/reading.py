"""Reading of checkpoints of all supported formats as data, and loading them into a module."""

import json
import mmap
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.advice import COUNTER, advice
from rosetta_steps.zoo.checkpoints.differences import SHOWN, differences
from rosetta_steps.zoo.checkpoints.keras_files import (
    from_keras,
    is_keras_pickle,
    read_hdf5,
    read_pickled,
)
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
from rosetta_steps.zoo.checkpoints.shards import INDEX, read_index
from rosetta_steps.zoo.checkpoints.stand_ins import Array, StoredTensor
from rosetta_steps.zoo.checkpoints.stylegan2_layouts import (
    from_rosinality,
    from_tensorflow,
    is_rosinality,
)
from rosetta_steps.zoo.checkpoints.torch_files import OtherFormatError, read_archive, read_stream
from rosetta_steps.zoo.entry import Entry, Weights

FORMAT = "rosetta_steps checkpoint"
FETCH_AGAIN = "Fetch or copy it again."
SAFETENSORS, ZIP, PICKLE = "a safetensors file", "a zip archive", "a pickle"
HDF5, HDF5_BEGINS = "an HDF5 file", b"\x89HDF\r\n\x1a\n"
LONGEST_HEADER = 100_000_000  # bytes, maximum for a safetensors file
TENSORFLOW_NETWORKS = ("G", "D", "Gs")
# CLIP's TorchScript archives store these three sizes among their buffers.
CLIP_SIZES = ("input_resolution", "context_length", "vocab_size")
# Descriptions of files that are mistaken for checkpoints, by their first bytes.
OTHERS = {
    b"GGUF": "a GGUF file (llama.cpp)",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"7z\xbc\xaf": "compressed by 7-Zip: unpack it first",
}
# Buffers with statistics, which must be finite, unlike masks.
STATISTICS = ("running_mean", "running_var")


class PartError(UserError):
    """A file has no tensors at the key or prefix that its entry gives."""


class NoTensorsError(UserError):
    """An object at which tensors are expected contains none."""


@dataclass
class Checkpoint:
    """Tensors of a file, and the settings that it states of their network.

    Attributes:
        tensors: State dict on the CPU in the stored dtypes.
        settings: JSON-like settings: class, init_args, init_kwargs and attributes of modules in
            pickles; truncation_statistics and noise_seed of converted StyleGAN2s; plain values
            beside the tensors.
        layout: Layout of the file: safetensors, sharded, torch, torchscript, persistent (NVIDIA's
            PyTorch pickles), tensorflow, rosinality, keras. Tensors of tensorflow and rosinality
            are converted to NVIDIA's PyTorch layout, those of keras to torch's.
        left_out: Names of other content of the file, which `tensors` and `settings` lack or hold
            only in part, such as other networks or an optimiser.
    """

    tensors: dict[str, Tensor]
    settings: dict = field(default_factory=dict)
    layout: str = "torch"
    left_out: list[str] = field(default_factory=list)


@dataclass
class Part:
    """Selection of tensors from a state dict.

    Attributes:
        prefix: Prefix of the names to take, which is removed; other names are left out.
        ignore: Patterns of further names to leave out, without the prefix.
        left_out: Names in the file that were left out.
    """

    prefix: str = ""
    ignore: tuple[str, ...] = ()
    left_out: list[str] = field(default_factory=list)

    def of(self, stored: dict) -> dict:
        """Return the selected tensors under their names without prefix.

        Raises:
            ValueError: No name has the prefix, or a pattern to ignore matches nothing.
        """
        start = len(self.prefix)
        under = {k[start:]: v for k, v in stored.items() if k.startswith(self.prefix) and k[start:]}
        if self.prefix and not under:
            raise PartError(
                f"no name in it begins with '{self.prefix}' (weights.prefix of its entry, --prefix "
                f"of convert), but there are: {_shown(list(stored))}"
            )
        unused = [one for one in self.ignore if not any(fnmatchcase(key, one) for key in under)]
        if unused:
            raise PartError(
                f"weights.ignore of its entry has '{unused[0]}', which matches none of its names "
                f"({_shown(list(under))}): correct it, or take it out"
            )
        taken = {
            key: value
            for key, value in under.items()
            if not any(fnmatchcase(key, one) for one in self.ignore)
        }
        self.left_out += [
            key for key in stored if not key.startswith(self.prefix) or key[start:] not in taken
        ]
        if stored and not taken:
            raise PartError("weights.ignore of its entry leaves out all its tensors")
        return taken


def read_tensors(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name; see read_checkpoint."""
    return read_checkpoint(path, key).tensors


def read_checkpoint(
    path: Path, key: str | None = None, prefix: str = "", ignore: tuple[str, ...] | list[str] = ()
) -> Checkpoint:
    """Read a checkpoint as data; its format is recognised by its first bytes, not by its name.

    Args:
        path: Path of the file, or of the index of a checkpoint in shards.
        key: Key of the state dict or module within the file; nested keys are joined by dots. None
            takes the whole content, or the averaged generator (G_ema, Gs, g_ema) of a file that
            holds several networks.
        prefix: Prefix of the names to take, which is removed; other names are left out.
        ignore: Patterns of names to leave out, without the prefix.

    Returns:
        Its tensors and settings.

    Raises:
        ValueError: The file is missing or truncated, holds no tensors (at the key or with the
            prefix), claims more than it holds, or could only be read by running code; or a shard
            is missing or differs from its index.
    """
    path, part = Path(path), Part(prefix, tuple(ignore))
    if not path.is_file():
        raise UserError(f"{path} does not exist, or is no file.")
    with path.open("rb") as file:
        start, size = file.read(9), path.stat().st_size
        if not size:
            raise UserError(f"{path} cannot be read: it is empty (0 bytes). {FETCH_AGAIN}")
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if path.name.endswith(INDEX) or start.lstrip()[:1] == b"{":
        return _sharded(path, key, part)
    for head, what in OTHERS.items():
        if start.startswith(head):
            raise UserError(
                f"{path} is {what}. Of checkpoints, torch's files, safetensors and NVIDIA's "
                "pickles are read here."
            )
    kind = _kind(path, start)
    if kind is None:
        raise UserError(
            f"{path} cannot be read: its {size} bytes begin with {start!r}, as no checkpoint does "
            f"(a web page that says an error, a pointer of Git LFS?). {FETCH_AGAIN}"
        )
    budget = Budget(size)
    try:
        if kind in (SAFETENSORS, HDF5):
            checkpoint = _hdf5(path, budget) if kind == HDF5 else _safetensors(path, data)
            checkpoint.tensors = part.of(checkpoint.tensors)
            checkpoint.left_out = [*checkpoint.left_out, *part.left_out]
            return checkpoint
        if kind == ZIP:
            content, scripted = read_archive(path, data, budget)
            layout = "torchscript" if scripted else "torch"
        else:
            content, legacy = read_stream(data, budget)
            layout = "torch" if legacy else "pickle"
    except PartError as error:
        raise UserError(f"{path}: {error}.") from None
    except OtherFormatError as error:
        raise UserError(f"{path} {error}.") from None
    except (ValueError, OSError) as error:
        raise _refused(path, f"has {size} bytes and begins as {kind}", error) from None
    chosen = _at(path, content, key)
    try:
        checkpoint = _checkpoint(chosen, content, layout, budget, part)
    except PartError as error:
        raise UserError(f"{path}: {error}.") from None
    except NoTensorsError as error:
        raise _refused(path, f"is {kind} of {size} bytes", error) from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint: {error}.") from None
    checkpoint.left_out = [*_left_out(chosen, content, checkpoint), *part.left_out]
    return checkpoint


def _sharded(path: Path, key: str | None, part: Part) -> Checkpoint:
    """Read the checkpoint whose shards an index names."""
    weight_map = read_index(path)
    if key is not None:
        raise UserError(
            f"{path} is an index of shards, which have no parts: take out weights.key ('{key}')."
        )
    tensors: dict[str, Tensor] = {}
    for shard in dict.fromkeys(weight_map.values()):
        file = path.with_name(shard)
        if not file.is_file():
            raise UserError(
                f"{path} names the shard {shard}, which is not there. Put all its shards into its "
                "folder."
            )
        found = read_checkpoint(file).tensors
        listed = {name for name, held_in in weight_map.items() if held_in == shard}
        if lost := sorted(listed - found.keys()):
            raise UserError(
                f"{file} lacks {len(lost)} tensors that {path.name} says it holds (first "
                f"{lost[0]:.120}): they are of different versions. Copy all again."
            )
        if extra := sorted(found.keys() - listed):
            there = weight_map.get(extra[0])
            why = f"of which it says that {there} holds it" if there else "which it does not name"
            raise UserError(
                f"{file} holds {extra[0]:.120} too, {why} ({path.name}): they are of different "
                "versions. Copy all again."
            )
        tensors |= found
    try:
        taken = part.of({name: tensors[name] for name in weight_map})
    except PartError as error:
        raise UserError(f"{path}: {error}.") from None
    return Checkpoint(taken, layout="sharded", left_out=part.left_out)


def _kind(path: Path, start: bytes) -> str | None:
    """Return the format of a file by its first 9 bytes; None if it is no checkpoint."""
    header = int.from_bytes(start[:8], "little")
    if start[8:] == b"{" and header <= LONGEST_HEADER:
        return SAFETENSORS
    if len(start) < 9 and path.suffix == ".safetensors":
        return SAFETENSORS
    if start.startswith(b"PK"):
        return ZIP
    if start.startswith(HDF5_BEGINS):
        return HDF5
    return PICKLE if start[0] in HANDLERS else None


def _refused(path: Path, what: str, reason: Exception) -> ValueError:
    if isinstance(reason, TruncatedError):
        remedy = f"It is truncated or damaged. {FETCH_AGAIN}"
    elif "QInt" in str(reason) or "QUInt" in str(reason):
        remedy = "Its tensors are quantised, which are not read here: save the network before that."
    else:
        remedy = (
            "It is damaged, no checkpoint, or would run code when loaded, which is never done here."
        )
    said = str(reason).strip() or repr(reason)
    return UserError(f"{path} cannot be read as tensors alone. It {what}, but {said}. {remedy}")


def _hdf5(path: Path, budget: Budget) -> Checkpoint:
    tensors = from_keras(read_hdf5(path, budget))
    if not tensors:
        raise UserError("it holds no arrays")
    return Checkpoint(tensors, layout="keras")


def _safetensors(path: Path, data: memoryview) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        end = _end_of_safetensors(data)
        if end > len(data):
            raise TruncatedError(f"by its header it goes on to byte {end} at least") from None
        raise UserError(str(error)) from None
    beside = path.with_suffix(".json")
    try:
        # Only a regular file is opened, because opening a pipe could block.
        said = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else None
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        said = None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        return Checkpoint(tensors, layout="safetensors")
    if said.get("tensors") != len(tensors):
        raise UserError(
            f"{beside} describes {said.get('tensors')} tensors, the file holds {len(tensors)}: "
            "convert the checkpoint again"
        )
    names = said.get("names", list(tensors))
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(tensors):
        raise UserError(f"{beside} names other tensors than the file: convert the checkpoint again")
    ordered = {name: tensors[name] for name in names}
    return Checkpoint(ordered, said["settings"], said["layout"], said.get("left_out", []))


def _end_of_safetensors(data: memoryview) -> int:
    """Return the minimum length that a safetensors file claims; 0 if it claims none."""
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
    """Return the content at a key, or without a key the averaged generator or the whole."""
    networks = _networks(content)
    if key is None:
        for usual in ("G_ema", "Gs", "g_ema"):
            if usual in networks:
                return networks[usual]
        return content
    held = content if type(content) is dict else networks
    if key in held:
        return held[key]
    first, dot, rest = key.partition(".")
    while dot and first in held and type(held[first]) is dict:
        held = held[first]
        if rest in held:
            return held[rest]
        first, dot, rest = rest.partition(".")
    raise UserError(
        f"{path} holds no '{key}' (weights.key of its entry), but: "
        f"{_names(held) if held else described(content)}."
    )


def _networks(content) -> dict:
    """Return the networks of a file that holds several, by name."""
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


def _checkpoint(chosen, content, layout: str, budget: Budget, part: Part) -> Checkpoint:
    if network_of(chosen) is not None:
        variables = _read(part.of(tensorflow_variables(chosen)), budget)
        tensors, settings = from_tensorflow(variables)
        return Checkpoint(tensors, tensorflow_settings(chosen) | settings, "tensorflow")
    if fields_of(chosen) is not None:
        layout = "persistent" if layout == "pickle" else layout
        stored = part.of(state_dict(chosen))
        return Checkpoint(_read(stored, budget), settings_of(chosen), layout)
    if layout == "torchscript":
        tensors = _read(part.of(state_dict(chosen, scripted_fields_of)), budget)
        sizes = {name: tensors.pop(name).item() for name in CLIP_SIZES if name in tensors}
        return Checkpoint(tensors, sizes, layout)
    if is_keras_pickle(chosen):
        return Checkpoint(part.of(from_keras(read_pickled(chosen, budget))), layout="keras")
    if type(chosen) is not dict:
        raise NoTensorsError(f"it holds {described(chosen)}, where a state dict is expected")
    state = {name: value for name, value in chosen.items() if _is_tensor(value)}
    _check_names(state, chosen)
    beside = {name: value for name, value in chosen.items() if name not in state}
    state = part.of(state)
    if before := _before_rosinality(state):
        raise PartError(
            f"its names are those of rosinality's StyleGAN2 behind '{before}': write prefix: "
            f'"{part.prefix}{before}" into `weights` of its entry (--prefix of convert)'
        )
    if is_rosinality(state):
        mean_w = content.get("latent_avg") if content is not chosen else None
        stored = {"mean": mean_w} if _is_tensor(mean_w) else {}
        tensors, settings = from_rosinality(_read(state, budget), _read(stored, budget).get("mean"))
        return Checkpoint(tensors, settings, "rosinality")
    return Checkpoint(_read(state, budget), plain(beside), layout)


def _before_rosinality(state: dict) -> str:
    """Return the prefix after which a state dict has rosinality's names; empty if it has none."""
    for name in state:
        before = name.removesuffix("style.1.weight")
        if before and before != name:
            under = {key.removeprefix(before) for key in state if key.startswith(before)}
            if is_rosinality(dict.fromkeys(under)):
                return before
    return ""


def _left_out(chosen, content, checkpoint: Checkpoint) -> list[str]:
    """Return the names of content beside the chosen part and of its values that are no tensors."""
    used = ("latent_avg",) if checkpoint.layout == "rosinality" else ()
    beside: dict = {}
    if chosen is not content:
        beside = content if type(content) is dict else _networks(content)
    names = [name for name in beside if beside[name] is not chosen and name not in used]
    if type(chosen) is dict and checkpoint.layout != "keras":  # all of its lists are arrays
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
            raise UserError(
                f"it holds tensors ({_shown(list(state))}) beside parts with tensors of their own "
                f"({parts}), and which are meant is not clear: name a part {key}, or save the "
                "tensors beside them alone"
            )
        raise UserError(f"its tensors lie one level down: name one of its parts {key}: {parts}")
    if not state:
        held = [f"{described(name)}: {described(value)}" for name, value in chosen.items()]
        raise NoTensorsError(f"it holds no tensors, but {', '.join(held[:SHOWN]) or 'nothing'}")
    for name, value in chosen.items():
        if name in state and type(name) is not str:
            raise UserError(f"the name of a tensor is {described(name)}, which is no text")
        if type(value) is Inert and value.name.startswith(("torch._utils.", "torch._tensor.")):
            raise UserError(
                f"its tensor {described(name)} is of a kind not read here: {value.name}"
            )


def _shown(names: list) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(described(name) for name in names[:SHOWN]) + more


def _read(stored: dict, budget: Budget) -> dict[str, Tensor]:
    """Read tensors into memory; two names of one tensor in the file share one tensor."""
    read: dict = {}
    tensors = {}
    for name, value in stored.items():
        place = value.place if isinstance(value, StoredTensor) else id(value)
        if place not in read:
            read[place] = value.read(budget)
        tensors[name] = read[place]
    return tensors


def read_weights(name: str, entry: Entry, weights: Path) -> tuple[Checkpoint, bool]:
    """Read the checkpoint of an entry; also return whether tensors are matched by order.

    Raises:
        ValueError: The checkpoint cannot be read; or the entry has `keys: by_order`, but the
            checkpoint has no order.
    """
    source = entry.weights
    checkpoint = read_checkpoint(weights, source.key, source.prefix, source.ignore)
    by_order = entry.keys == "by_order"
    if by_order and checkpoint.layout in ("safetensors", "sharded"):
        raise UserError(
            f"{name}: keys: by_order, but {weights} (a safetensors file, or an index) sorts its "
            "tensors: use the checkpoint it was made from, or what `zoo convert` makes of that."
        )
    return checkpoint, by_order


def load_weights(module: nn.Module, name: str, entry: Entry, weights: Path) -> Checkpoint:
    """Read the checkpoint of an entry and load it into a module by load_state.

    Raises:
        ValueError: The checkpoint cannot be read or does not fit.
    """
    checkpoint, by_order = read_weights(name, entry, weights)
    load_state(
        module, checkpoint.tensors, name, by_order=by_order, path=weights, source=entry.weights
    )
    return checkpoint


def load_state(
    module: nn.Module,
    tensors: dict,
    name: str,
    *,
    by_order: bool = False,
    path: Path | None = None,
    source: Weights | None = None,
) -> None:
    """Load a state dict into a module; names and shapes must match, dtypes are cast.

    BatchNorm's counters of batches may be missing, because they have no effect in eval mode (torch
    before 0.4.1 had none, and torchvision's files lack them). The module's own are then kept.

    Args:
        module: Torch module.
        tensors: Tensors by name.
        name: Name of the model, for errors.
        by_order: Whether names are ignored and tensors matched by order (entry: `keys: by_order`).
        path: Path of the file, for errors.
        source: `weights` of its entry, for errors.

    Raises:
        ValueError: Names or shapes do not match, or a value is not finite. The message says which
            names are missing, left over or of another shape, and the remedy.
    """
    own, counters = module.state_dict(), _counters(module)
    file = path or "the checkpoint"
    if by_order:
        tensors = _in_order(own, counters, tensors, name, file)
    missing = [key for key in own if key not in tensors and key not in counters]
    left_over = [key for key in tensors if key not in own]
    other = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if missing or left_over or other:
        shapes = {key: tuple(tensor.shape) for key, tensor in own.items()}
        found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        what_to_do = advice(
            name, shapes, found, source=source or Weights(), path=path, counters=counters
        )
        raise UserError(
            f"{name}: {file} does not fit the architecture: of {len(own)} tensors, "
            f"{differences(missing, left_over, other)}. {what_to_do}"
        )
    _refuse_what_is_not_finite(module, tensors, own, name, file)
    module.load_state_dict({**{key: own[key] for key in counters}, **tensors})


def _counters(module: nn.Module) -> set[str]:
    """Return the names of the batch counters of the module's normalisations of torch."""
    return {
        f"{path}.{COUNTER}" if path else COUNTER
        for path, child in module.named_modules(remove_duplicate=False)
        if isinstance(child, nn.modules.batchnorm._NormBase)
        and getattr(child, COUNTER, None) is not None
    }


def _in_order(own: dict, counters: set[str], tensors: dict, name: str, file) -> dict:
    """Assign tensors to the module's names in order, with or without its counters."""
    for names in (list(own), [key for key in own if key not in counters]):
        if len(names) == len(tensors):
            return dict(zip(names, tensors.values(), strict=True))
    without = f" ({len(own) - len(counters)} without {COUNTER})" if counters else ""
    raise UserError(
        f"{name}: {file} has {len(tensors)} tensors, the architecture {len(own)}{without}. "
        "Check `architecture` in config/models.yaml."
    )


def _refuse_what_is_not_finite(module: nn.Module, tensors: dict, own: dict, name: str, file):
    # Checked after casting to the module's dtypes, in which a number may be too large. A mask in a
    # buffer may be -inf; NaN is never allowed.
    buffers = {key for key, _ in module.named_buffers(remove_duplicate=False)}
    for key, tensor in tensors.items():
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        cast = tensor.to(own[key].dtype)
        if torch.isfinite(cast).all():
            continue
        mask = key in buffers and key.split(".")[-1] not in STATISTICS
        if mask and not cast.isnan().any():
            continue
        count = int((~torch.isfinite(cast)).sum())
        raise UserError(
            f"{name}: {file} holds NaN or infinity in {key} ({count} of {cast.numel()} values, as "
            f"{str(cast.dtype).removeprefix('torch.')}): its training diverged, or the file is "
            "damaged. Use another checkpoint."
        )
