"""Words of a vocabulary on every image, scored by a model of images and text (CLIP).

The score of a word on an image is the cosine of the image's embedding and that of the template with
the word in it (Radford et al. 2021, arXiv 2103.00020, section 3.1.2). Every image counts, not those
alone on which a unit responds most.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import normalize
from tqdm import tqdm

from rosetta_steps.labelling.scores import WORDS, write_scores
from rosetta_steps.labelling.vocabulary import LOADER, read_vocabulary
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.digests import sha256_of
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.models.open_clip_text import TextTower
from rosetta_steps.zoo.origin import origin_of
from rosetta_steps.zoo.weights import weights_file

AT_ONCE = 32  # images, and texts


def word_scores(model, text, images, words: Sequence[str], template: str) -> np.ndarray:
    """Cosine of every image with every word, (image, word) float64 in [-1, 1].

    Args:
        model: Image tower (zoo.models.torch_models.Model), whose scores are embeddings.
        text: Text tower, texts to embeddings.
        images: (image, rgb, y, x) in [0, 1], an array that may be lazy.
        words: To be scored.
        template: With {} where a word goes.
    """
    texts = [template.replace("{}", word) for word in words]
    of_words = torch.cat([text(texts[block]) for block in image_blocks(len(texts), AT_ONCE)])
    of_words = normalize(of_words.double(), dim=-1)
    found = np.empty((len(images), len(words)))
    for block in tqdm(image_blocks(len(images), AT_ONCE), "words", unit="block"):
        shown = torch.from_numpy(np.asarray(images[block], np.float32))
        embedded = normalize(model.scores(shown).double(), dim=-1)
        found[block] = (embedded @ of_words.T).cpu().numpy()
    return found


def carry_out(a: argparse.Namespace) -> None:
    """Write the store of scores of words that a command line asks for."""
    words = read_vocabulary(a.vocabulary)
    entry = find_entry(a.model, a.zoo)
    if entry.loader != LOADER:
        raise UserError(
            f"--model {a.model} is of the loader {entry.loader}, which has no text tower. Take one "
            f"of the loader {LOADER}."
        )
    weights, device = weights_file(a.model, entry), lease()
    model, text = load(a.model, entry, weights, device), TextTower(a.model, entry, weights, device)
    with open_dataset(a.samples) as samples:
        values = word_scores(model, text, samples["image"], words, a.template)
    write_scores(
        values,
        words,
        a.samples,
        a.output,
        source=WORDS,
        attrs={
            "model": a.model,
            "template": a.template,
            "file": a.vocabulary.name,
            "sha256": sha256_of(a.vocabulary),
        },
        made_of=origin_of(a.model, entry),
        identity=a.identity,
    )
