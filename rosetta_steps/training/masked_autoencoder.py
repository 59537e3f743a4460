"""Train a small vision transformer without labels, as a masked autoencoder, on generated images.

A masked autoencoder (He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners") sees a
quarter of an image's patches and predicts the pixels of others. The encoder is a timm
VisionTransformer and is all that is kept; the decoder is thrown away. Every image is new: the
latent of image n follows from the seed and n alone, so a run that was killed goes on where its
last checkpoint was and comes to the same weights.

Writes into a folder: model.safetensors (float16, timm's own names), training.csv, curves.png and
reconstructions.png; checkpoint.pt only while the training lasts.
"""

import argparse
import csv
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from rosetta_steps.runtime.errors import UserError, run
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.generators.latents import latent
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.weights import weights_file

ARCHITECTURE = "vit_tiny_patch16_224"
ARGUMENTS = {
    "img_size": 64,
    "patch_size": 4,
    "embed_dim": 192,
    "depth": 6,
    "num_heads": 6,
    "num_classes": 0,
}
# Sample sets draw with small seeds; these keys of the Philox stream are far from all of them.
TRAINING_IMAGES, HELD_OUT_IMAGES = 2**40, 2**41
VISIBLE = 0.25  # share of the patches that the encoder sees (He et al. 2022, section 3)
PREDICTED = 0.25  # share of the patches that the decoder predicts in training: a third of the rest
HELD_OUT = 128  # images
COLUMNS = ["step", "images", "loss", "held_out_loss", "learning_rate", "seconds"]


class Images:
    """An endless, numbered stream of images of generators of the zoo.

    Image n is of generator n modulo their number; where a generator has classes, its images show
    them in turn.

    Args:
        generators: As the zoo loads them.
        key: Of the Philox stream of the latents.
        size: Of the images, in pixels; others are resized.
    """

    def __init__(self, generators: list, key: int, size: int):
        self.generators, self.key, self.size = generators, key, size

    def __call__(self, numbers: range) -> Tensor:
        """Images (image, rgb, y, x) in [0, 1] with the given numbers, by generator."""
        made, several = [], len(self.generators)
        for place, generator in enumerate(self.generators):
            own = [n for n in numbers if n % several == place]
            if not own:
                continue
            z = np.stack(
                [latent(self.key, n, generator.latent_size, generator.latent_bound) for n in own]
            )
            labels = None
            if generator.classes:
                labels = torch.tensor([n // several % generator.classes for n in own])
            with torch.inference_mode():
                images = generator.generate(torch.from_numpy(z), labels)
            if images.shape[2:] != (self.size, self.size):
                images = functional.interpolate(
                    images, (self.size, self.size), mode="bicubic", antialias=True
                ).clamp(0, 1)
            made.append(images)
        return torch.cat(made).clone()


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Mirror half of the images and cut out and enlarge a part of each.

    Args:
        images: (image, rgb, y, x).
        random: Decides what is mirrored and cut.

    Returns:
        The same shape: parts of 60 to 100 % of the area, sides within 10 % of a square.
    """

    def draw(low, high):
        return low + (high - low) * torch.rand(len(images), generator=random)

    side, stretch = draw(0.6, 1.0).sqrt(), draw(0.9, 1.1).sqrt()
    height, width = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    y, x = draw(-1, 1) * (1 - height), draw(-1, 1) * (1 - width)
    mirror = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    nought = torch.zeros(len(images))
    # Rows of the map from the new image's corners at -1 and 1 to places in the old one.
    rows = [torch.stack([mirror * width, nought, x], 1), torch.stack([nought, height, y], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def patches_of(images: Tensor, side: int) -> Tensor:
    """Cut images (image, rgb, y, x) into patches (image, patch, value), row by row."""
    return functional.unfold(images, side, stride=side).transpose(1, 2)


def image_of(patches: Tensor, side: int, size: int) -> Tensor:
    """The inverse of `patches_of` for square images of a size in pixels."""
    return functional.fold(patches.transpose(1, 2), size, side, stride=side)


def normalised(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Patches (image, patch, value) less their mean over their deviation; and both (section 3)."""
    mean = patches.mean(-1, keepdim=True)
    deviation = (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    return (patches - mean) / deviation, mean, deviation


def sine_cosine_positions(components: int, side: int) -> Tensor:
    """Sines and cosines of a grid's rows and columns, (1, side * side, components).

    Vaswani et al. 2017, section 3.5, half of the components for y and half for x.
    """
    frequencies = 10000.0 ** -(torch.arange(components // 4) / (components // 4))
    angles = torch.arange(side)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], 1)  # (place, components / 2)
    y, x = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([y, x], 2).reshape(1, side * side, components)


class MaskedAutoencoder(nn.Module):
    """A timm VisionTransformer with a class token, and a light decoder to train it with.

    Args:
        encoder: Without a head; its positions are set to sines and cosines and learned from there.
        components: Width of the decoder.
        depth: Blocks of the decoder.
        heads: Of each of its blocks.
    """

    # Of timm's VisionTransformer, or what has its parts.
    encoder: Any
    positions: Tensor

    def __init__(self, encoder: Any, components: int = 96, depth: int = 2, heads: int = 4):
        super().__init__()
        self.encoder = encoder
        side = int(encoder.patch_embed.grid_size[0])
        self.patch_side = int(encoder.patch_embed.patch_size[0])
        self.patches = side * side
        with torch.no_grad():
            encoder.pos_embed[:, :1] = 0
            encoder.pos_embed[:, 1:] = sine_cosine_positions(encoder.embed_dim, side)
        self.embed = nn.Linear(encoder.embed_dim, components)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, components))
        self.register_buffer("positions", sine_cosine_positions(components, side))
        self.blocks = nn.Sequential(*[Block(components, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(components)
        self.predict = nn.Linear(components, 3 * self.patch_side**2)

    def encode(self, inputs: Tensor, visible: Tensor) -> Tensor:
        """Tokens (image, 1 + visible patch, component), the class token first.

        Args:
            inputs: (image, rgb, y, x), normalised.
            visible: Numbers of the patches to see, (image, visible patch).
        """
        encoder = self.encoder
        tokens = encoder.patch_embed(inputs) + encoder.pos_embed[:, 1:]
        first = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(inputs), -1, -1)
        tokens = torch.cat([first, _take(tokens, visible)], 1)
        return encoder.norm(encoder.blocks(tokens))

    def forward(self, inputs: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Predict the normalised pixels of hidden patches, (image, hidden patch, value).

        Args:
            inputs: (image, rgb, y, x), normalised.
            visible: Numbers of the patches to see, (image, visible patch).
            hidden: Numbers of the patches to predict, (image, hidden patch).
        """
        seen = self.embed(self.encode(inputs, visible))
        positions = self.positions.expand(len(inputs), -1, -1)
        seen = torch.cat([seen[:, :1], seen[:, 1:] + _take(positions, visible)], 1)
        asked = self.mask_token + _take(positions, hidden)
        tokens = self.blocks(torch.cat([seen, asked], 1))
        return self.predict(self.norm(tokens[:, seen.shape[1] :]))

    def loss(self, images: Tensor, random: torch.Generator, predicted: float = PREDICTED) -> Tensor:
        """Mean squared error over hidden patches, in variances of a patch.

        Args:
            images: (image, rgb, y, x) in [0, 1].
            random: Decides which patches are seen and which are predicted.
            predicted: Share of the patches that are predicted, at most 1 - VISIBLE.
        """
        visible, hidden = self.draw(len(images), random, predicted)
        inputs = to_inputs(images)
        target = normalised(_take(patches_of(inputs, self.patch_side), hidden))[0]
        return functional.mse_loss(self(inputs, visible, hidden), target)

    def draw(self, images: int, random: torch.Generator, predicted: float) -> tuple[Tensor, Tensor]:
        """Numbers of the patches that are seen and that are predicted, (image, patch) each."""
        order = torch.rand(images, self.patches, generator=random).argsort(1)
        seen = round(VISIBLE * self.patches)
        return order[:, :seen], order[:, seen : seen + round(predicted * self.patches)]


def _take(tokens: Tensor, numbers: Tensor) -> Tensor:
    return tokens.gather(1, numbers[:, :, None].expand(-1, -1, tokens.shape[2]))


def to_inputs(images: Tensor) -> Tensor:
    """Images in [0, 1] as the encoder expects them: mean and standard deviation 0.5."""
    return (images - 0.5) / 0.5


def new_model(seed: int, arguments: dict | None = None) -> MaskedAutoencoder:
    """An untrained masked autoencoder; the seed decides its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedAutoencoder(timm.create_model(ARCHITECTURE, **(arguments or ARGUMENTS)))


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Up in a line over the first 5 % of the steps, then down half a cosine to nought."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2


def new_optimiser(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW as in He et al. 2022 (appendix A.1): no decay of biases, norms, tokens, positions."""
    own = {"encoder.pos_embed", "encoder.cls_token", "mask_token"}
    free = [p for name, p in model.named_parameters() if p.ndim == 1 or name in own]
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and name not in own]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95))


def held_out_loss(model: MaskedAutoencoder, images: Tensor) -> float:
    """Loss on held-out images, all hidden patches predicted, the same ones every time."""
    model.eval()
    with torch.inference_mode():
        loss = model.loss(images, torch.Generator().manual_seed(0), 1 - VISIBLE).item()
    model.train()
    return loss


def train(
    model: MaskedAutoencoder,
    images: Images,
    held_out: Tensor,
    output: Path,
    *,
    steps: int,
    batch: int,
    peak: float,
    seed: int,
    every: int = 100,
) -> list[dict]:
    """Train, or go on with the training whose checkpoint lies in the folder.

    Args:
        model: Is changed in place.
        images: Of which step s sees numbers s * batch to (s + 1) * batch.
        held_out: Images (image, rgb, y, x) in [0, 1] that are never trained on.
        output: Folder for checkpoint.pt and training.csv.
        steps: Of the whole training.
        batch: Images a step.
        peak: Highest learning rate.
        seed: Of augmentation and masks.
        every: Steps from one held-out loss and checkpoint to the next.

    Returns:
        Rows of training.csv: COLUMNS, the loss being the mean since the last row.
    """
    optimiser, checkpoint = new_optimiser(model), output / "checkpoint.pt"
    rows, first, before, settings = [], 0, 0.0, [steps, batch, peak, seed, every]
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["settings"] != settings:
            raise UserError(
                f"{checkpoint} is of another training: steps, batch, peak, seed and every were "
                f"{state['settings']}, now {settings}. Delete it to start anew."
            )
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        rows, first, before = state["rows"], state["step"], state["rows"][-1]["seconds"]
    start, losses = time.monotonic(), []
    for step in range(first, steps):
        rate = learning_rate(step, steps, peak)
        for group in optimiser.param_groups:
            group["lr"] = rate
        random = torch.Generator().manual_seed(seed * 2**32 + step)
        seen = augment(images(range(step * batch, (step + 1) * batch)), random)
        loss = model.loss(seen, random)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == steps:
            values = [
                step + 1,
                (step + 1) * batch,
                round(sum(losses) / len(losses), 5),
                round(held_out_loss(model, held_out), 5),
                round(rate, 8),
                round(before + time.monotonic() - start, 1),
            ]
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            losses = []
            print(*(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            write_log(rows, output / "training.csv")
            state = {
                "settings": settings,
                "step": step + 1,
                "rows": rows,
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            os.replace(checkpoint.with_suffix(".part"), checkpoint)
    return rows


def write_log(rows: list[dict], path: Path) -> None:
    """Write training.csv."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def export(encoder: nn.Module, path: Path) -> None:
    """Write the encoder's state dict, timm's own names, as float16 safetensors."""
    save_file({name: t.half().contiguous() for name, t in encoder.state_dict().items()}, path)


def draw_curves(rows: list[dict], path: Path) -> None:
    """Draw losses and learning rate over the images seen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    seen = [row["images"] for row in rows]
    loss.plot(seen, [row["loss"] for row in rows], label="training")
    loss.plot(seen, [row["held_out_loss"] for row in rows], label="held out")
    loss.set_ylabel("squared error of hidden patches\n(variances of a patch)")
    loss.legend(frameon=False)
    rate.plot(seen, [row["learning_rate"] for row in rows], color="grey")
    rate.set(xlabel="images seen", ylabel="learning rate")
    figure.savefig(path, dpi=120)


def draw_reconstructions(model: MaskedAutoencoder, images: Tensor, path: Path) -> None:
    """Draw images, what the encoder sees of them, and what the decoder makes of it.

    A predicted patch is drawn with the mean and deviation of the true one, which the objective
    leaves out (He et al. 2022, section 3).
    """
    from matplotlib.figure import Figure

    model.eval()
    visible, hidden = model.draw(len(images), torch.Generator().manual_seed(0), 1 - VISIBLE)
    inputs = to_inputs(images)
    patches = patches_of(inputs, model.patch_side)
    _, mean, deviation = normalised(_take(patches, hidden))
    with torch.inference_mode():
        predicted = model(inputs, visible, hidden) * deviation + mean
    where = hidden[:, :, None].expand(-1, -1, patches.shape[2])
    rows = {
        "image": patches,
        "seen": patches.scatter(1, where, torch.zeros_like(predicted)),
        "predicted": patches.scatter(1, where, predicted),
    }
    figure = Figure(figsize=(len(images) * 1.2, 3.8), layout="constrained")
    grid = figure.subplots(3, len(images), squeeze=False)
    for axes, (title, row) in zip(grid, rows.items(), strict=True):
        pictures = (image_of(row, model.patch_side, images.shape[2]) * 0.5 + 0.5).clamp(0, 1)
        for axis, picture in zip(axes, pictures, strict=True):
            axis.imshow(picture.permute(1, 2, 0).numpy())
            axis.set(xticks=[], yticks=[])
        axes[0].set_ylabel(title)
    figure.savefig(path, dpi=120)


def load_generators(names: list[str], zoo: str) -> list:
    """Generators of the zoo with their weights, on the CPU.

    Raises:
        ValueError: No such generator, or its weights cannot be had or do not fit.
    """
    found = []
    for name in names:
        entry = find_entry(name, zoo)
        if entry.role != "generator":
            raise UserError(
                f"{name} is no generator: {zoo} gives it the role '{entry.role}'. Training "
                "images come from generators."
            )
        found.append(load(name, entry, weights_file(name, entry)))
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train a masked autoencoder on generated images.")
    parser.add_argument("--generators", nargs="+", required=True, help="names in the zoo")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument(
        "--steps", type=int, default=3200, help="default %(default)s; 0 exports it untrained"
    )
    parser.add_argument("--batch", type=int, default=32, help="images a step, default %(default)s")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest, default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default %(default)s")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    a.output.mkdir(parents=True, exist_ok=True)
    generators, model, size = load_generators(a.generators, a.zoo), new_model(a.seed), 64
    held_out = Images(generators, HELD_OUT_IMAGES, size)(range(HELD_OUT))
    images = Images(generators, TRAINING_IMAGES + a.seed, size)
    rows = train(
        model, images, held_out, a.output, steps=a.steps, batch=a.batch, peak=a.rate, seed=a.seed
    )
    export(model.encoder, a.output / "model.safetensors")
    draw_reconstructions(model, held_out[:10], a.output / "reconstructions.png")
    if rows:
        draw_curves(rows, a.output / "curves.png")
    (a.output / "checkpoint.pt").unlink(missing_ok=True)


if __name__ == "__main__":
    run(main)
