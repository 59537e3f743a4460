"""The text towers of open_clip: of CLIP and of what was trained like it.

They lie in the same files as the image towers (zoo.models.open_clip_models), under `text.` or, as
in OpenAI's files, beside them without a prefix.
"""

from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from open_clip.model import _build_text_tower
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.reading import load_state, read_weights
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.models.open_clip_models import PREFIX, named, settings_of
from rosetta_steps.zoo.quick_imports import NoDraws

TEXT = "text."
# Of both towers together, and of neither.
SCALES = ("logit_scale", "logit_bias")


class TextTower:
    """The text tower of a model of open_clip, with its weights.

    Args:
        name: In the zoo.
        entry: Of the model.
        weights: Its file, which must have the text tower too.
        device: "cpu" or "cuda".

    Raises:
        ValueError: The file has no text tower, or one that does not fit; or the tower needs a
            tokeniser that open_clip does not bring along.
    """

    def __init__(self, name: str, entry: Entry, weights: Path, device: str):
        architecture, _ = named(name, entry)
        quick_gelu = settings_of(name, entry)["quick_gelu"]
        config = open_clip.get_model_config(architecture)
        text = config["text_cfg"]
        of_a_hub = text.get("hf_model_name") or text.get("hf_tokenizer_name")
        if of_a_hub or "siglip" in architecture.lower():
            raise UserError(
                f"{name}: the text tower of {architecture} has a tokeniser of a hub, from which "
                "nothing is fetched here. Score words with a CLIP that has open_clip's own "
                "tokeniser, such as clip-vitb32."
            )
        with NoDraws():
            self.module: nn.Module = _build_text_tower(config["embed_dim"], text, quick_gelu)
        tensors = _of_text(read_weights(name, entry, weights)[0].tensors)
        if not tensors or entry.keys == "by_order":
            raise UserError(
                f"{name}: {weights} has the image tower alone"
                f"{', or both in an order (keys: by_order)' if tensors else ''}, and words need "
                "the text tower as well. Give the whole file under weights.url or weights.path of "
                "its entry."
            )
        load_state(self.module, tensors, name, path=weights, source=entry.weights)
        self.module.eval().to(device)
        self.name, self.device = name, device
        self.tokenizer = open_clip.get_tokenizer(architecture)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of texts, (text, feature) float32, not normalised.

        Raises:
            ValueError: A text is longer than the tower reads.
        """
        longest = self.tokenizer.context_length - 2  # between the marks of start and end
        for text in texts:
            if (length := len(self.tokenizer.encode(text))) > longest:
                raise UserError(
                    f"{self.name} reads {longest} tokens, and '{text}' has {length}. Shorten it."
                )
        with torch.inference_mode():
            return self.module(self.tokenizer(list(texts)).to(self.device)).float()


def _of_text(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    under = {k.removeprefix(TEXT): t for k, t in tensors.items() if k.startswith(TEXT)}
    beside = {k: t for k, t in tensors.items() if not k.startswith(PREFIX) and k not in SCALES}
    return under or beside
