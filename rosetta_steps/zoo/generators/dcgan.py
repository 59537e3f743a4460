"""DCGAN (Radford et al. 2016), transposed convolutions from a normal z to an image."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rosetta_steps.runtime.errors import UserError


class DCGAN(nn.Module):
    """Network from z (image, latent), and classes if it has any, to images (image, rgb, y, x).

    As in a conditional GAN (Mirza and Osindero 2014), the one-hot class is appended to z.

    Args:
        latent: Number of components of z.
        channels: Number of channels of each block; the first has 4 x 4 positions, each next one
            twice the size.
        classes: Number of classes; 0 is unconditional.
        first_dropout: Dropout rate after the first block in training, null for none. Nothing is
            dropped here, but the module changes the names in a checkpoint.
    """

    truncates = False
    no_truncation = "a DCGAN has no mean of w, or anything else to truncate towards"

    def __init__(
        self,
        latent: int,
        channels: list[int],
        classes: int = 0,
        first_dropout: float | None = None,
    ):
        super().__init__()
        self.latent_size, self.classes = latent, classes
        blocks: list[nn.Module] = []
        widths = [latent + classes, *channels]
        for index, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            stride, padding = (1, 0) if index == 0 else (2, 1)
            blocks += [
                nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
            if index == 0 and first_dropout is not None:
                blocks.append(nn.Dropout(first_dropout))
        blocks += [nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*blocks)

    def forward(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Return images in [-1, 1].

        Args:
            z: Normal latents, (image, latent).
            labels: Class indices (image) int64; None if the network has no classes.
            truncation: Must be 1, because the network cannot be truncated.

        Raises:
            ValueError: The network has classes and labels are missing, or the truncation is not 1.
        """
        if truncation != 1:
            raise UserError(f"a DCGAN cannot be truncated: truncation {truncation} must be 1.")
        if self.classes:
            if labels is None:
                raise UserError(
                    f"this DCGAN has {self.classes} classes and no labels say which to show: give "
                    "one class index an image."
                )
            one_hot = functional.one_hot(labels, self.classes).to(z.dtype)
            z = torch.cat([z, one_hot], dim=1)
        return self.main(z[:, :, None, None])
