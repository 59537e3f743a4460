"""A sample set of a generator: latents, labels and images, written to a store."""

from pathlib import Path

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import Provenance
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.generators.samples import IMAGES_PER_BLOCK, samples_of
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.origin import origin_of
from rosetta_steps.zoo.weights import weights_file


def sample(
    name: str,
    zoo: str,
    images: int,
    seed: int,
    output: Path,
    *,
    device: str,
    truncation: float = 1.0,
    chosen_class=None,
    latent_bound: float | None = None,
    identity: str | None = None,
) -> None:
    """Write latents, labels and images of a generator.

    Args:
        name: Of the generator.
        zoo: File with its entry.
        images: How many.
        seed: Of the latents.
        output: X.zarr to write.
        device: "cpu" or "cuda".
        truncation: psi of the family; 1 is none.
        chosen_class: Index or name, or a list of them taken in turn; None: all in turn.
        latent_bound: z is normal within -bound and bound; None: as its family publishes it.
        identity: As Provenance has it.

    Raises:
        ValueError: No such generator or class, a truncation it does not know, weights that cannot
            be had or do not fit, or images that are not finite or all the same.
    """
    entry = find_entry(name, zoo)
    if entry.role != "generator":
        raise UserError(f"{name} is no generator: {zoo} gives it the role '{entry.role}'.")
    generator = load(name, entry, weights_file(name, entry), device)
    dataset = samples_of(
        generator,
        entry,
        images,
        seed,
        truncation=truncation,
        chosen_class=chosen_class,
        latent_bound=latent_bound,
        progress=True,
    )
    chunks = (min(images, IMAGES_PER_BLOCK), *dataset["image"].shape[1:])
    provenance = Provenance(
        "samples", sample_set=output.stem, made_of=origin_of(name, entry), identity=identity
    )
    write_dataset(dataset, output, provenance, {"image": {"chunks": chunks}})
