"""Tensors of a checkpoint, and their way into a module, every name and shape exactly."""

from pathlib import Path


def read_tensors(path: Path, key: str | None = None) -> dict:
    """Tensors of a checkpoint by name: safetensors, or a torch file read as data.

    Args:
        path: Of the file.
        key: Where the state dict lies in it, when it is not the whole.

    Raises:
        ValueError: The file is truncated, would have to run code, or holds no such state dict.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise half a dozen types here
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ValueError(
            f"{path} cannot be read as tensors alone ({first}). It is truncated, no checkpoint, or "
            "would run code when loaded, which is never done here."
        ) from None
    if key is not None:
        if not isinstance(content, dict) or key not in content:
            held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content)
            raise ValueError(f"{path} holds no '{key}' (weights.key of its entry), but: {held}.")
        content = content[key]
    return content


def load_state(module, tensors: dict, name: str, by_order: bool = False) -> None:
    """Load a state dict into a module, every name and shape exactly.

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
    left = [key for key in tensors if key not in own]
    other = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if missing or left or other:
        parts = [
            f"{len(names)} {what} (first {names[0]})"
            for what, names in (
                ("missing", missing),
                ("left over", left),
                ("of other shape", other),
            )
            if names
        ]
        raise ValueError(
            f"{name}: the checkpoint does not fit the architecture: {', '.join(parts)}. Check "
            "`architecture` and `weights` in config/models.yaml."
        )
    module.load_state_dict(tensors)
