"""Holistically-nested edge detection (Xie and Tu 2015): VGG16 trained to find edges.

Each of its five stages says where edges are, at its own scale; a weighted sum of the five is the
edge map. Stages are sampled up bilinearly, as in the port to Keras whose weights the zoo has.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

# Convolutions and channels of VGG16's stages (Simonyan and Zisserman 2015, configuration D).
STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


class Stage(nn.Module):
    """Convolutions of 3 x 3 with ReLU, after pooling by 2 but in the first stage."""

    def __init__(self, convolutions: int, before: int, channels: int, pooled: bool):
        super().__init__()
        # TensorFlow's "same": of an odd side the last position is kept.
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pooled else nn.Identity()
        self.number = convolutions
        for i in range(1, convolutions + 1):
            self.add_module(f"conv{i}", nn.Conv2d(before, channels, 3, padding=1))
            self.add_module(f"act{i}", nn.ReLU())
            before = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps after the last ReLU."""
        x = self.pool(x)
        for i in range(1, self.number + 1):
            x = self.get_submodule(f"act{i}")(self.get_submodule(f"conv{i}")(x))
        return x


class EdgeMap(nn.Sigmoid):
    """Probabilities of edges, which are a unit although they come of a sigmoid (zoo.hooks)."""

    nonlinearity = "Sigmoid"


class HED(nn.Module):
    """Edge maps (image, 1, y, x) in [0, 1], of images (image, bgr, y, x) less their mean."""

    def __init__(self):
        super().__init__()
        before = (3, *(channels for _, channels in STAGES))
        self.stages = nn.ModuleList(
            Stage(n, before[i], channels, i > 0) for i, (n, channels) in enumerate(STAGES)
        )
        self.sides = nn.ModuleList(nn.Conv2d(channels, 1, 1) for _, channels in STAGES)
        self.fuse = nn.Conv2d(len(STAGES), 1, 1)
        self.edges = EdgeMap()

    def forward(self, x: Tensor) -> Tensor:
        """Return the edge maps, of the size of the images."""
        size, sides = x.shape[2:], []
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = stage(x)
            sides.append(interpolate(side(x), size, mode="bilinear", align_corners=False))
        return self.edges(self.fuse(torch.cat(sides, 1)))
