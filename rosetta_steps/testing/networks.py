"""Small networks with random weights: functions that write a file and return its zoo entry.

Weights are drawn from torch's generator. Each function takes a seed; None continues the present
state of the generator.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from rosetta_steps.zoo.generators.dcgan import DCGAN

# Source code of a user's module that builds a convolution and a ReLU.
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
    """Return an entry of a zoo as YAML has it (workflow/schemas/models.schema.yaml).

    zoo.entry.Entry.from_mapping makes of it what `load` takes.

    Args:
        loader: Name of the loader, such as "timm" or "dcgan".
        architecture: Name or keywords of the architecture, as the loader expects.
        weights: Path of a file, or the dict that an entry has under `weights`.
        role: "model" or "generator".
        others: Further keys of the entry, such as `preprocessing`.
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
    """Write the weights of a DCGAN and return its entry.

    Its images have 4 * 2 ** len(channels) pixels a side. Its layers main.2, main.5, ... have the
    given channels at sizes (4, 4), (8, 8), ...

    Args:
        file: Path of the file X.safetensors to write.
        latent: Number of components of z.
        channels: Number of channels of each block.
        classes: Number of classes; 0 is unconditional.
        seed: Seed of the weights, or None.

    Returns:
        Entry whose weights have the path `file`, absolute or relative as given.
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
    """Write the weights of a timm network and return its entry.

    Args:
        file: Path of the file X.safetensors to write.
        architecture: Name of timm's architecture; those that begin with test_ are small and fast.
        size: Height and width of its input images in pixels.
        seed: Seed of the weights, or None.

    Returns:
        Entry whose weights have the path `file`, absolute or relative as given.

    Raises:
        RuntimeError: timm has no such architecture.
    """
    import timm  # imported late, because it takes seconds

    if seed is not None:
        torch.manual_seed(seed)
    save_file(timm.create_model(architecture, pretrained=False).state_dict(), file)
    return entry_of("timm", architecture, file, preprocessing={"size": [size, size]})


def write_function(
    file: Path, channels: int = 5, size: Sequence[int] = (32, 48), seed: int = 0
) -> dict:
    """Write a Python module with a function that builds a network, and return its entry.

    Args:
        file: Path of the file X.py to write, in the folder from which steps are run; an existing
            file is replaced.
        channels: Number of channels of its layer `1`, whose maps have size
            ((y - 1) // 2, (x - 1) // 2).
        size: Height and width of its input images in pixels.
        seed: Seed of the weights.

    Returns:
        Entry that calls the function `build` of the module.
    """
    file.write_text(FUNCTION.format(seed=seed))
    preprocessing = {"size": list(size), "interpolation": "bilinear"}
    preprocessing |= {"mean": [0.5] * 3, "std": [0.5] * 3}
    called = {"function": f"{file.stem}:build", "arguments": {"channels": channels}}
    return entry_of("function", called, {"function": True}, preprocessing=preprocessing)
