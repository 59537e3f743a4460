"""Conversion of StyleGAN2 from TensorFlow's and rosinality's layouts to NVIDIA's PyTorch layout.

NVIDIA's is the layout of generators/stylegan2.py. The layouts differ in names, in the order of
axes, and in values that are stored plus 1 or times 4.

Source: the networks of Karras et al. 2020 (arXiv 1912.04958) as published by NVIDIA for TensorFlow
and PyTorch, and rosinality/stylegan2-pytorch (MIT), whose .pt files hold the same networks.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.differences import differences

FILTER = torch.tensor([1.0, 3.0, 3.0, 1.0]).outer(torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64
NOISE_SEED = 0
MEAN_W = "mapping.w_avg"
# For each of NVIDIA's keys: the key in the other layout, and the function that converts its tensor.
Table = dict[str, tuple[str, Callable[[Tensor], Tensor]]]


def is_rosinality(state: dict) -> bool:
    """Whether a state dict has rosinality's names."""
    return {"input.input", "conv1.conv.weight", "style.1.weight"} <= set(state)


def from_tensorflow(variables: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
    """Convert the variables of a TensorFlow network to NVIDIA's layout.

    Args:
        variables: Variables of the network Gs by name; names of its components begin with
            "mapping/" and "synthesis/".

    Returns:
        The tensors, and settings as from_rosinality returns them.

    Raises:
        ValueError: The network is no unconditional StyleGAN2 with skips; the message names the
            variables that do not fit.
    """
    resolution = 4
    while f"synthesis/{2 * resolution}x{2 * resolution}/Conv1/weight" in variables:
        resolution *= 2
    depth = sum(name.startswith("mapping/Dense") for name in variables) // 2
    table: Table = {MEAN_W: ("dlatent_avg", _same)}
    for i in range(depth):
        table[f"mapping.fc{i}.weight"] = (f"mapping/Dense{i}/weight", _transposed)
        table[f"mapping.fc{i}.bias"] = (f"mapping/Dense{i}/bias", _same)
    table["synthesis.b4.const"] = ("synthesis/4x4/Const/const", _first)
    for key, noise in _layers(resolution):
        _, block, part = key.split(".")
        rate = int(block[1:])
        name = {"conv0": "Conv0_up", "conv1": "Conv1" if rate > 4 else "Conv", "torgb": "ToRGB"}
        source = f"synthesis/{rate}x{rate}/{name[part]}"
        weight = _flipped_kernel if part == "conv0" else _kernel
        table[f"{key}.weight"] = (f"{source}/weight", weight)
        table[f"{key}.bias"] = (f"{source}/bias", _same)
        table[f"{key}.affine.weight"] = (f"{source}/mod_weight", _transposed)
        table[f"{key}.affine.bias"] = (f"{source}/mod_bias", lambda bias: bias + 1)
        if noise is not None:
            table[f"{key}.noise_strength"] = (f"{source}/noise_strength", _scalar)
            table[f"{key}.noise_const"] = (f"synthesis/noise{noise}", _plane)
    # The level of detail is for progressive growing; StyleGAN2 stores it without using it.
    ignored = {"lod", "synthesis/lod"}
    return _converted(variables, table, resolution, ignored)


def from_rosinality(
    state: dict[str, Tensor], mean_w: Tensor | None
) -> tuple[dict[str, Tensor], dict]:
    """Convert a state dict of rosinality's generator to NVIDIA's layout.

    Args:
        state: State dict `g_ema`.
        mean_w: Mean `latent_avg`, (component); None leaves out `mapping.w_avg`.

    Returns:
        The tensors, and settings: img_resolution; truncation_statistics, whether there is a mean of
        w for truncation; noise_seed, if the file had no constant noise and it was drawn from
        N(0, 1).

    Raises:
        ValueError: The size or architecture does not fit; the message names the tensors.
    """
    depth = sum(key.startswith("style.") and key.endswith(".weight") for key in state)
    resolution = 4
    while f"to_rgbs.{round(math.log2(resolution)) - 2}.bias" in state:
        resolution *= 2
    tensors = dict(state) if mean_w is None else {**state, "latent_avg": mean_w}
    table: Table = {MEAN_W: ("latent_avg", torch.flatten)}
    for i in range(depth):
        table[f"mapping.fc{i}.weight"] = (f"style.{i + 1}.weight", _same)
        table[f"mapping.fc{i}.bias"] = (f"style.{i + 1}.bias", _same)
    table["synthesis.b4.const"] = ("input.input", _first)
    for key, noise in _layers(resolution):
        _, block, part = key.split(".")
        j = round(math.log2(int(block[1:]))) - 3
        name = {"conv0": f"convs.{2 * j}", "conv1": f"convs.{2 * j + 1}", "torgb": f"to_rgbs.{j}"}
        source = name[part] if j >= 0 else {"conv1": "conv1", "torgb": "to_rgb1"}[part]
        table[f"{key}.weight"] = (f"{source}.conv.weight", _first)
        table[f"{key}.affine.weight"] = (f"{source}.conv.modulation.weight", _same)
        table[f"{key}.affine.bias"] = (f"{source}.conv.modulation.bias", _same)
        bias = f"{source}.bias" if noise is None else f"{source}.activate.bias"
        table[f"{key}.bias"] = (bias, torch.flatten)
        if noise is not None:
            table[f"{key}.noise_strength"] = (f"{source}.noise.weight", _scalar)
            table[f"{key}.noise_const"] = (f"noises.noise_{noise}", _plane)
    kernels = {key for key in tensors if key.endswith((".blur.kernel", ".upsample.kernel"))}
    for key in sorted(kernels):
        if tensors[key].shape != (4, 4) or not torch.allclose(tensors[key].float(), 4 * FILTER):
            raise UserError(f"its {key} is not the filter [1, 3, 3, 1] of StyleGAN2")
    return _converted(tensors, table, resolution, kernels)


def _layers(resolution: int) -> list[tuple[str, int | None]]:
    """Return path and noise number of each modulated convolution in order; None for toRGB."""
    layers: list[tuple[str, int | None]] = []
    for level in range(2, round(math.log2(resolution)) + 1):
        block = f"synthesis.b{2**level}"
        if level > 2:
            layers.append((f"{block}.conv0", 2 * level - 5))
        layers += [(f"{block}.conv1", 2 * level - 4), (f"{block}.torgb", None)]
    return layers


def _converted(
    source: dict[str, Tensor], table: Table, resolution: int, ignored: set[str]
) -> tuple[dict[str, Tensor], dict]:
    absent = [key for key, (name, _) in table.items() if name not in source]
    missing = [
        table[key][0] for key in absent if key != MEAN_W and not key.endswith(".noise_const")
    ]
    left_over = sorted(source.keys() - {name for name, _ in table.values()} - ignored)
    if missing or left_over:
        raise UserError(
            "it is not an unconditional StyleGAN2 with skip connections (configuration F): at "
            f"resolution {resolution}, {differences(missing, left_over)}"
        )
    tensors = {}
    settings = {"img_resolution": resolution, "truncation_statistics": MEAN_W not in absent}
    for key, (name, change) in table.items():
        if key not in absent:
            tensors[key] = _changed(source[name], change, name)
    random = torch.Generator().manual_seed(NOISE_SEED)
    for key, noise in _layers(resolution):
        block, part = key.rsplit(".", 1)
        rate = int(block.rsplit("b", 1)[1])
        tensors[f"{block}.resample_filter"] = FILTER.clone()
        if noise is not None:
            tensors[f"{key}.resample_filter"] = FILTER.clone()
            drawn = torch.randn(rate, rate, generator=random)  # the same whichever are missing
            if f"{key}.noise_const" in absent:
                tensors[f"{key}.noise_const"] = drawn
                settings["noise_seed"] = NOISE_SEED
    return tensors, settings


def _changed(tensor: Tensor, change: Callable[[Tensor], Tensor], name: str) -> Tensor:
    try:
        return change(tensor).contiguous()
    except (RuntimeError, IndexError):
        raise UserError(
            f"its {name} has the shape {tuple(tensor.shape)}, as no StyleGAN2 has it"
        ) from None


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.permute(1, 0)


def _first(tensor: Tensor) -> Tensor:
    return tensor.squeeze(0)


def _kernel(tensor: Tensor) -> Tensor:
    return tensor.permute(3, 2, 0, 1)  # (y, x, in, out) to (out, in, y, x)


def _flipped_kernel(tensor: Tensor) -> Tensor:
    return _kernel(tensor).flip(2, 3)


def _plane(tensor: Tensor) -> Tensor:
    return tensor.reshape(tensor.shape[-2:])


def _scalar(tensor: Tensor) -> Tensor:
    return tensor.reshape(())
