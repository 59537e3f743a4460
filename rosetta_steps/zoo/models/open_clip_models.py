"""The image towers of open_clip: CLIP's ResNets and transformers, SigLIP, EVA and others.

Units lie under `visual.`, as in the files. The text tower is neither built nor loaded.
"""

import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import _build_vision_tower
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.reading import CLIP_SIZES, load_state, read_weights
from rosetta_steps.zoo.entries import suggestion
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.layouts import Tokens
from rosetta_steps.zoo.models import timm_models
from rosetta_steps.zoo.models.architecture import read_architecture
from rosetta_steps.zoo.models.preprocessing import preprocessing_of
from rosetta_steps.zoo.models.torch_models import Model
from rosetta_steps.zoo.protocols import ImageModel
from rosetta_steps.zoo.quick_imports import NoDraws

PREFIX = "visual."
HUB = ("hf-hub:", "local-dir:", "hf_hub:")
NORMALISATION = ("mean", "std", "interpolation")


class ImageTower(nn.Module):
    """Images (image, rgb, y, x) to embeddings, its modules named as in the files of open_clip."""

    def __init__(self, visual: nn.Module):
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """Embed."""
        return self.visual(images)


def load(name: str, entry: Entry, weights: Path | None, device: str) -> ImageModel:
    """A model with its weights, or without values on the meta device.

    Raises:
        ValueError: open_clip has no such architecture or tag, nothing says which activation
            function or normalisation the weights were trained with, or they do not fit.
    """
    architecture, _ = named(name, entry)
    settings = settings_of(name, entry)
    with torch.device("meta" if weights is None else "cpu"), NoDraws():
        module = create(architecture, settings["quick_gelu"])
    size: Any = module.visual.image_size
    default = {key: settings[key] for key in NORMALISATION if key in settings}
    default["size"] = (size, size) if isinstance(size, int) else tuple(size)
    preprocessing = preprocessing_of(name, entry, default)
    if weights is not None:
        checkpoint, by_order = read_weights(name, entry, weights)
        said = checkpoint.settings.keys() | checkpoint.tensors.keys()
        if set(CLIP_SIZES) <= said and not settings["quick_gelu"] and _has_gelu(module.visual):
            raise UserError(
                f"{name}: {weights} is one of OpenAI's files, which were trained with QuickGELU, "
                f"and {architecture} has GELU. Write architecture: {{name: {architecture}, tag: "
                "openai}} in its entry."
            )
        # Where nothing lies under it, load_state says what is wrong with the names.
        found = checkpoint.tensors
        tower = {key: t for key, t in found.items() if key.startswith(PREFIX)} or {
            key: t for key, t in found.items() if PREFIX in key
        }
        load_state(
            module, tower or found, name, by_order=by_order, path=weights, source=entry.weights
        )
        module.to(device)
    return Model(
        name,
        module,
        preprocessing,
        "meta" if weights is None else device,
        tokens=_tokens_of(module.visual, preprocessing.size),
    )


def create(architecture: str, quick_gelu: bool) -> ImageTower:
    """The image tower of an architecture of open_clip, with random weights."""
    config = open_clip.get_model_config(architecture)
    # A pretrained trunk of timm would be fetched, and then overwritten.
    vision = config["vision_cfg"] | {"timm_model_pretrained": False}
    return ImageTower(_build_vision_tower(config["embed_dim"], vision, quick_gelu))


def initial(name: str, entry: Entry) -> dict[str, Tensor]:
    """State dict of random weights, as open_clip draws them before training."""
    return create(named(name, entry)[0], settings_of(name, entry)["quick_gelu"]).state_dict()


def settings_of(name: str, entry: Entry) -> dict:
    """What the weights were trained with: quick_gelu, and mean, std and interpolation if known.

    The tag of the weights says it, which is weights.open_clip, or architecture.tag, or the tag
    that has the address weights.url. Without one, only what all tags of the architecture agree on
    is known: the same architecture was trained with GELU by some and with QuickGELU by others.

    Raises:
        ValueError: open_clip has no such architecture or tag, two tags are named, or the tags do
            not agree on the activation function.
    """
    architecture, tag = named(name, entry)
    if architecture.startswith(HUB):
        raise UserError(
            f"{name}: '{architecture}' is an address of a hub, from which nothing is built here. "
            "Write the architecture (ViT-B-32, say), and weights: {open_clip: TAG} where open_clip "
            "has a tag for it, or {path: FILE} of its open_clip_model.safetensors."
        )
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise UserError(
            f"{name}: open_clip {open_clip.__version__} has no architecture '{architecture}'. "
            + suggestion(architecture, open_clip.list_models())[:300]
        )
    source = entry.weights
    of_weights = source.open_clip
    if tag and of_weights and tag != of_weights:
        raise UserError(
            f"{name}: architecture says tag '{tag}', weights.open_clip '{of_weights}': name one."
        )
    tags = {
        one: open_clip.get_pretrained_cfg(architecture, one)
        for one in open_clip.list_pretrained_tags_by_model(architecture)
    }
    at_url = [one for one in tags if source.url and tags[one].get("url") == source.url]
    tag = tag or of_weights or next(iter(at_url), None)
    own = config.get("quick_gelu", False)
    if tag is not None:
        if tag not in tags:
            raise UserError(
                f"{name}: open_clip {open_clip.__version__} has no weights '{tag}' of "
                f"{architecture}. {suggestion(tag, list(tags))}"
            )
        return {"quick_gelu": False} | tags[tag]
    known = {
        key: values[0]
        for key in NORMALISATION
        if (values := [of_tag[key] for of_tag in tags.values()])
        and all(value == values[0] for value in values)
    }
    kinds = {of_tag.get("quick_gelu", False) for of_tag in tags.values()} | {own}
    if len(kinds) > 1 and _is_transformer(config["vision_cfg"]):
        raise UserError(
            f"{name}: some weights of {architecture} were trained with GELU and some with "
            "QuickGELU, and nothing says of which kind its file is. Write architecture: "
            f"{{name: {architecture}, tag: TAG}}, with the tag of open_clip that its weights are "
            f"or come from: {', '.join(tags)}."
        )
    return known | {"quick_gelu": own}


def fetch(name: str, entry: Entry) -> dict[str, Tensor]:
    """State dict of the image tower of the tag weights.open_clip; needs the network."""
    architecture, _ = named(name, entry)
    settings_of(name, entry)
    with warnings.catch_warnings():
        # Of QuickGELU, which load sets by the tag.
        warnings.simplefilter("ignore", UserWarning)
        model = open_clip.create_model(architecture, pretrained=entry.weights.open_clip)
    return ImageTower(model.visual).state_dict()


def named(name: str, entry: Entry) -> tuple[str, str | None]:
    """Name of an architecture of open_clip, and the tag beside it if there is one."""
    architecture = read_architecture(name, entry, ("name", "tag"), needed="name")
    return architecture["name"], architecture.get("tag")


def _is_transformer(vision: dict) -> bool:
    # open_clip's own: its ResNets have ReLU, and the trunks of timm keep their activation function.
    return not vision.get("timm_model_name") and not isinstance(vision["layers"], list | tuple)


def _has_gelu(visual: nn.Module) -> bool:
    return isinstance(visual, open_clip.transformer.VisionTransformer)


def _tokens_of(visual: Any, size: tuple[int, int]) -> Tokens:
    if hasattr(visual, "trunk"):
        return timm_models.tokens_of(visual.trunk, size)
    if hasattr(visual, "grid_size"):
        return Tokens((tuple(visual.grid_size),), prefix=1)
    return Tokens()
