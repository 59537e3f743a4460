"""Checkpoints of every kind the zoo meets, read as data, and their way into a module."""

import json
import mmap
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from rosetta_steps.zoo.checkpoints.differences import SHOWN, differences
from rosetta_steps.zoo.checkpoints.modules import (
    fields_of,
    network_of,
    plain,
    scripted_fields_of,
    settings_of,
    state_dict,
    tensorflow_settings,
    tensorflow_variables,
)
from rosetta_steps.zoo.checkpoints.pickles import Budget, Inert, described
from rosetta_steps.zoo.checkpoints.stand_ins import Array, StoredTensor
from rosetta_steps.zoo.checkpoints.stylegan2_layouts import (
    from_rosinality,
    from_tensorflow,
    is_rosinality,
)
from rosetta_steps.zoo.checkpoints.torch_files import read_archive, read_stream

FORMAT = "rosetta_steps checkpoint"
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
    """

    tensors: dict[str, Tensor]
    settings: dict = field(default_factory=dict)
    layout: str = "torch"


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
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
            header = int.from_bytes(start[:8], "little")
            if path.suffix == ".safetensors" or (start[8:] == b"{" and header <= size):
                return _safetensors(path)
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        budget = Budget(size)
        if start.startswith(b"PK"):
            content, scripted = read_archive(path, data, budget)
            layout = "torchscript" if scripted else "torch"
        else:
            content, legacy = read_stream(data, budget)
            layout = "torch" if legacy else "pickle"
    except (ValueError, OSError) as error:
        raise _refused(path, error) from None
    chosen = _at(path, content, key)
    try:
        return _checkpoint(chosen, content, layout, budget)
    except NoTensorsError as error:
        raise _refused(path, error) from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}.") from None


def _refused(path: Path, reason: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read as tensors alone ({str(reason).strip() or repr(reason)}). It is "
        "truncated, no checkpoint, or would run code when loaded, which is never done here."
    )


def _safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    beside = path.with_suffix(".json")
    try:
        said = json.loads(beside.read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        said = None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        return Checkpoint(tensors, layout="safetensors")
    if said.get("tensors") != len(tensors):
        raise ValueError(
            f"{beside} describes {said.get('tensors')} tensors, the file holds {len(tensors)}: "
            "convert the checkpoint again"
        )
    return Checkpoint(tensors, said["settings"], said["layout"])


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


def _is_tensor(value) -> bool:
    return isinstance(value, StoredTensor) or (type(value) is Array and value.dtype is not None)


def _holds_tensors(value) -> bool:
    held = type(value) is dict and any(map(_is_tensor, value.values()))
    return held or fields_of(value) is not None


def _check_names(state: dict, chosen: dict) -> None:
    if not state:
        nested = [name for name, value in chosen.items() if _holds_tensors(value)]
        if nested:
            raise ValueError(
                "its tensors lie one level down: name one of its parts as the key (weights.key "
                f"of its entry): {', '.join(described(name) for name in nested[:SHOWN])}"
            )
        held = [f"{described(name)}: {described(value)}" for name, value in chosen.items()]
        raise NoTensorsError(f"it holds no tensors, but {', '.join(held[:SHOWN]) or 'nothing'}")
    for name, value in chosen.items():
        if name in state and type(name) is not str:
            raise ValueError(f"the name of a tensor is {described(name)}, which is no text")
        if type(value) is Inert and value.name.startswith(("torch._utils.", "torch._tensor.")):
            raise ValueError(
                f"its tensor {described(name)} is of a kind not read here: {value.name}"
            )


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
