"""Any model of timm whose activations are maps: convolutional, hierarchical, transformers."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.reading import load_weights
from rosetta_steps.zoo.entries import suggestion
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.layouts import Tokens
from rosetta_steps.zoo.models.architecture import read_architecture
from rosetta_steps.zoo.models.preprocessing import preprocessing_of
from rosetta_steps.zoo.models.torch_models import Model
from rosetta_steps.zoo.protocols import ImageModel
from rosetta_steps.zoo.quick_imports import NoDraws, imported

timm = imported("timm")

# Transformers whose tokens lie row by row on a grid that timm gives no size of, most on one that
# shrinks from stage to stage. (Where an image is marked, the maps of each of them changed most; see
# tests/zoo/models/test_models.py.) Others are refused: those of Hiera lie in the order of its
# mask units.
ROW_BY_ROW = {
    "CoaT",
    "DaVit",
    "EfficientFormer",
    "Levit",
    "LevitDistilled",
    "MetaFormer",
    "MultiScaleVit",
    "PoolingVisionTransformer",
    "PyramidVisionTransformerV2",
    "SwinTransformer",
    "SwinTransformerV2",
    "SwinTransformerV2Cr",
    "TNT",
    "TinyVit",
    "Twins",
    "Xcit",
}
STRIDES = (4, 8, 16, 32, 64)
HUB = ("hf-hub:", "hf_hub:", "local-dir:", "timm/")
# Arguments of create_model that would bring weights past `weights`, and what to write instead.
LOADED_HERE = "the weights of an entry are those of `weights`"
NO_ARGUMENTS = {
    "checkpoint_path": f"{LOADED_HERE}: write weights: {{path: FILE}}",
    "pretrained": f"{LOADED_HERE}: write weights: {{timm: TAG}}",
    "pretrained_cfg": f"{LOADED_HERE}: write weights: {{url: ADDRESS}} or {{path: FILE}}, and what "
    "differs in `preprocessing`",
    "pretrained_cfg_overlay": f"{LOADED_HERE}: write weights: {{url: ADDRESS}} or {{path: FILE}}, "
    "and what differs in `preprocessing`",
}


def load(name: str, entry: Entry, weights: Path | None, device: str) -> ImageModel:
    """A model with its weights, or without values on the meta device.

    Raises:
        ValueError: timm has no such architecture or tag, its arguments are wrong, or the weights
            do not fit.
    """
    with torch.device("meta" if weights is None else "cpu"), NoDraws():
        module = create(name, entry)
    config: Any = module.pretrained_cfg
    default = {
        "size": config["input_size"][1:],
        "interpolation": config["interpolation"],
        "mean": config["mean"],
        "std": config["std"],
    }
    if "img_size" in (arguments := named(name, entry)[1]):
        # The config stays that of the tag.
        default["size"] = timm.layers.to_2tuple(arguments["img_size"])
    preprocessing = preprocessing_of(name, entry, default)
    _refuse_another_size(name, entry, module, preprocessing.size)
    if weights is not None:
        load_weights(module, name, entry, weights)
        module.to(device)
    return Model(
        name,
        module,
        preprocessing,
        "meta" if weights is None else device,
        tokens=tokens_of(module, preprocessing.size),
    )


def _divided(size: Sequence[int], by: int) -> tuple[int, int]:
    y, x = size
    return ceil(y / by), ceil(x / by)


def _refuse_another_size(name: str, entry: Entry, module: nn.Module, size: tuple) -> None:
    patches = getattr(module, "patch_embed", None)
    built_for: Any = getattr(patches, "img_size", None)
    if not getattr(patches, "strict_img_size", False) or tuple(built_for) == tuple(size):
        return
    patch = getattr(patches, "patch_size", None) or (1, 1)
    if any(side % step for side, step in zip(size, patch, strict=True)):
        raise UserError(
            f"{name}: preprocessing.size is {list(size)}, and {named(name, entry)[0]} is built for "
            f"images of {list(built_for)}, whose patches of {patch[0]} x {patch[1]} do not divide "
            f"{list(size)}. Choose multiples of them, and write them as arguments: "
            "{img_size: [Y, X]} too."
        )
    other = ""
    if hasattr(module, "dynamic_img_size"):
        other = ", or dynamic_img_size: true, which resamples the positions of the weights"
    raise UserError(
        f"{name}: preprocessing.size is {list(size)}, and {named(name, entry)[0]} is built for "
        f"images of {list(built_for)}. Write arguments: {{img_size: {list(size)}}} into "
        f"`architecture` of {name}, for weights of that size{other}."
    )


def create(name: str, entry: Entry, pretrained: bool = False) -> nn.Module:
    """The module of an entry, whose config is that of its tag.

    Args:
        name: Of the model, for errors.
        entry: `architecture` is a name of timm, with or without a tag, or {name, arguments}: the
            keywords of timm.create_model. The tag may also stand in weights.timm.
        pretrained: Whether timm fetches the weights of the tag.

    Raises:
        ValueError: timm has no such architecture or tag, two tags are named, or the arguments are
            wrong.
    """
    full, arguments = named(name, entry)
    if full.startswith(HUB) or "/" in full:
        raise UserError(
            f"{name}: '{full}' is an address of a hub. Write the architecture and its tag alone "
            f"(architecture: {full.rpartition('/')[2] or 'resnet50.a1_in1k'}); of weights that "
            "timm has no tag for, the architecture and weights: {path: FILE} or {url: ADDRESS} of "
            "their model.safetensors."
        )
    for argument, remedy in NO_ARGUMENTS.items():
        if argument in arguments:
            raise UserError(
                f"{name}: arguments has '{argument}', which is not for timm to do here: {remedy}."
            )
    if (channels := arguments.get("in_chans", 3)) != 3:
        raise UserError(
            f"{name}: arguments has in_chans: {channels}, and images have three channels here "
            "(rgb). Take it out; of a model of other channels, give a function of your own that "
            "makes them from rgb (loader: function)."
        )
    architecture, tag = timm.models.split_model_name_tag(full)
    if not timm.is_model(architecture):
        raise UserError(
            f"{name}: timm {timm.__version__} has no architecture '{architecture}'. "
            + suggestion(architecture, timm.list_models())[:300]
        )
    of_weights = entry.weights.timm
    if tag and of_weights and tag != of_weights:
        raise UserError(
            f"{name}: architecture says tag '{tag}', weights.timm '{of_weights}'. A tag also says "
            "how images are normalised: name one."
        )
    tag = tag or of_weights or ""
    tags = [
        timm.models.split_model_name_tag(one)[1]
        for one in timm.list_pretrained(f"{architecture}.*")
    ]
    if tag and tag not in tags:
        raise UserError(
            f"{name}: timm {timm.__version__} has no weights '{tag}' of {architecture}. "
            + suggestion(tag, tags)
        )
    full = f"{architecture}.{tag}" if tag else architecture
    try:
        return timm.create_model(full, pretrained=pretrained, **arguments)
    except (TypeError, AssertionError) as error:
        raise UserError(
            f"{name}: timm cannot build {full} with arguments {arguments}: "
            f"{error}. Correct `architecture` of its entry."
        ) from error


def fetch(name: str, entry: Entry) -> dict[str, Tensor]:
    """State dict of the weights that timm has under the tag weights.timm; needs the network."""
    return create(name, entry, pretrained=True).state_dict()


def initial(name: str, entry: Entry) -> dict[str, Tensor]:
    """State dict of random weights, as timm draws them before training."""
    return create(name, entry).state_dict()


def named(name: str, entry: Entry) -> tuple[str, dict]:
    """Name of an architecture of timm, perhaps with a tag, and arguments of its create_model."""
    architecture = read_architecture(name, entry, ("name", "arguments"), needed="name")
    return architecture["name"], architecture.get("arguments", {})


def tokens_of(module: nn.Module, size: tuple[int, int]) -> Tokens:
    """How the tokens of a timm model lie on images of some size; no grid where it is unknown.

    Args:
        module: Of timm.
        size: (y, x) of the images in pixels.
    """
    kind = type(module).__name__
    patches: Any = getattr(module, "patch_embed", None) or getattr(module, "stem", None)
    grid = getattr(patches, "grid_size", None)
    if grid and tuple(size) != tuple(patches.img_size):
        grid = patches.dynamic_feat_size(size)
    if kind in ROW_BY_ROW:
        prefix = {"CoaT": 1, "PoolingVisionTransformer": getattr(module, "num_tokens", 1)}
        grids = {_divided(size, stride) for stride in STRIDES}
        if grid:
            grids |= {_divided(grid, halving) for halving in (1, 2, 4, 8)}
        before = prefix.get(kind, getattr(module, "num_prefix_tokens", 0))
        return Tokens(tuple(sorted(grids, reverse=True)), before)
    if grid:
        return Tokens((tuple(grid),), getattr(module, "num_prefix_tokens", 0))
    return Tokens()
