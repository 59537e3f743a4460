"""Networks of a few layers with random weights: files, and the entries that load them.

Weights follow from torch's seed; each function takes one, or None to go on with what is drawn next.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from rosetta_steps.zoo.generators.dcgan import DCGAN

# A convolution and a ReLU, in a module of the user's own.
FUNCTION = """
import torch
from torch import nn


def build(channels):
    torch.manual_seed({seed})
    return nn.Sequential(nn.Conv2d(3, channels, 3, 2), nn.ReLU())
"""


def entry_of(
    loader: str,
    architecture: str | dict,
    weights: str | Path | dict,
    role: str = "model",
    **others: object,
) -> dict:
    """An entry of a zoo as YAML has it (workflow/schemas/models.schema.yaml).

    zoo.entry.Entry.from_mapping makes of it what `load` takes.

    Args:
        loader: Such as "timm" or "dcgan".
        architecture: As the loader takes it.
        weights: Path of a file, or a source as an entry has it.
        role: "model" or "generator".
        others: Further keys, such as `preprocessing`.
    """
    return {
        "role": role,
        "loader": loader,
        "architecture": architecture,
        "weights": weights if isinstance(weights, dict) else {"path": str(weights)},
        "source": "random weights",
        "licence": "MIT",
        **others,
    }


def write_dcgan(
    file: Path,
    latent: int = 5,
    channels: Sequence[int] = (6, 4),
    classes: int = 0,
    seed: int | None = 0,
) -> dict:
    """Write the weights of a DCGAN, and give its entry.

    Its images have 4 * 2 ** len(channels) pixels a side; its layers are main.2, main.5, ..., of
    these channels at (4, 4), (8, 8), ...

    Args:
        file: X.safetensors to write.
        latent: Components of z.
        channels: Of its blocks.
        classes: 0: none.
        seed: Of the weights.

    Returns:
        An entry whose weights lie at `file`, as it was given.
    """
    architecture: dict[str, Any] = {"latent": latent, "channels": list(channels)}
    if classes:
        architecture["classes"] = classes
    if seed is not None:
        torch.manual_seed(seed)
    save_file(DCGAN(**architecture).state_dict(), file)
    return entry_of("dcgan", architecture, file, "generator")


def write_timm(
    file: Path, architecture: str = "test_resnet", size: int = 64, seed: int | None = 0
) -> dict:
    """Write the weights of a network of timm, and give its entry.

    Args:
        file: X.safetensors to write.
        architecture: One of timm's; those that begin with test_ are small and quick.
        size: Pixels a side of the images that it takes.
        seed: Of the weights.

    Returns:
        An entry whose weights lie at `file`, as it was given.

    Raises:
        RuntimeError: timm has no such architecture.
    """
    import timm  # it takes seconds

    if seed is not None:
        torch.manual_seed(seed)
    save_file(timm.create_model(architecture, pretrained=False).state_dict(), file)
    return entry_of("timm", architecture, file, preprocessing={"size": [size, size]})


def write_function(
    file: Path, channels: int = 5, size: Sequence[int] = (32, 48), seed: int = 0
) -> dict:
    """Write a module with a function that builds a network, and give its entry.

    Args:
        file: X.py to write, in the folder from which steps are run; it replaces a file there.
        channels: Of its layer `1`, which has ((y - 1) // 2, (x - 1) // 2) positions.
        size: (y, x) of the images that it takes.
        seed: Of the weights.

    Returns:
        An entry that calls the function `build` of the module.
    """
    file.write_text(FUNCTION.format(seed=seed))
    preprocessing = {"size": list(size), "interpolation": "bilinear"}
    preprocessing |= {"mean": [0.5] * 3, "std": [0.5] * 3}
    called = {"function": f"{file.stem}:build", "arguments": {"channels": channels}}
    return entry_of("function", called, {"function": True}, preprocessing=preprocessing)
