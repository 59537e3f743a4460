"""SqueezeNet 1.1 (Iandola et al. 2016, version of the authors' Caffe repository).

Modules are named as the layers of the authors' file, under which ports keep its weights.
"""

import torch
from torch import Tensor, nn

# Channels of each fire module: squeezed, and of each of the two expansions.
FIRES = {
    "fire2": (16, 64),
    "fire3": (16, 64),
    "fire4": (32, 128),
    "fire5": (32, 128),
    "fire6": (48, 192),
    "fire7": (48, 192),
    "fire8": (64, 256),
    "fire9": (64, 256),
}
POOLED_BEFORE = ("fire2", "fire4", "fire6")
CLASSES = 1000


class Fire(nn.Module):
    """Channels squeezed by a convolution of 1 x 1, and expanded by two, of 1 x 1 and of 3 x 3."""

    def __init__(self, before: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(before, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.squeeze_act, self.act = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return both expansions after ReLU, that of 1 x 1 first."""
        squeezed = self.squeeze_act(self.squeeze1x1(x))
        return self.act(torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], 1))


class SqueezeNet(nn.Module):
    """Scores of the classes of ImageNet, of images (image, bgr, y, x) less their mean."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        self.act1 = nn.ReLU()
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # as Caffe counts
        channels = 64
        for name, (squeezed, expanded) in FIRES.items():
            self.add_module(name, Fire(channels, squeezed, expanded))
            channels = 2 * expanded
        self.conv10 = nn.Conv2d(channels, CLASSES, 1)
        self.act10 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, (image, class)."""
        x = self.act1(self.conv1(x))
        for name in FIRES:
            x = self.get_submodule(name)(self.pool(x) if name in POOLED_BEFORE else x)
        return self.act10(self.conv10(x)).mean((2, 3))
