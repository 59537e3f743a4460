"""Sample a generator: latents and the images made from them, exactly what the models are shown."""

import argparse
from pathlib import Path

from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Sample images from a generator.")
    parser.add_argument("--generator", required=True, help="name in the zoo")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--images", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--truncation", type=float, default=1.0, help="psi, default %(default)s")
    parser.add_argument(
        "--classes", nargs="+", help="indices or names, taken in turn; default: all of them"
    )
    parser.add_argument(
        "--latent-bound", type=float, help="z is normal within it; default: as published"
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.zoo.generators.sampling import sample

    sample(
        a.generator,
        a.zoo,
        a.images,
        a.seed,
        a.output,
        device=lease(),
        truncation=a.truncation,
        chosen_class=a.classes,
        latent_bound=a.latent_bound,
        identity=a.identity,
    )


if __name__ == "__main__":
    run(main)
