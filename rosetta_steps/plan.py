"""What mining a sample set takes: units, bytes and seconds, before anything is written."""

import argparse
import json
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.maps.settings import Storing
from rosetta_steps.matching.settings import NEIGHBOURS
from rosetta_steps.runtime.errors import run
from rosetta_steps.zoo.arguments import add_layer_arguments, layers_from


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", required=True, help="the generator first")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    add_layer_arguments(parser)
    parser.add_argument("--images", type=int, required=True, help="how many")
    parser.add_argument(
        "--maps", type=Path, required=True, help="folder of what is kept, made or to be made"
    )
    add_options(parser, Storing)
    add_options(parser, Correlation, ["splits"])
    parser.add_argument(
        "--neighbours",
        type=int,
        default=NEIGHBOURS,
        help="K of the best buddies, default %(default)s",
    )
    parser.add_argument(
        "--untrained",
        type=int,
        default=0,
        help="untrained copies of each model but the first, default %(default)s",
    )
    parser.add_argument(
        "--output", type=Path, help="X.txt to write the plan to, and what jobs need to X.json"
    )
    a = parser.parse_args()

    from rosetta_steps.maps.plan import plan

    text, needs = plan(
        a.models,
        a.zoo,
        layers_from(a),
        a.images,
        dtype=a.dtype,
        maps=a.maps,
        images_per_shard=a.images_per_shard,
        store=a.store,
        splits=a.splits,
        neighbours=a.neighbours,
        untrained=a.untrained,
    )
    print(text)
    if a.output:
        a.output.parent.mkdir(parents=True, exist_ok=True)
        machine_read = json.dumps({"images": a.images, "models": needs}, indent=1)
        a.output.with_suffix(".json").write_text(machine_read + "\n", encoding="utf-8")
        a.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
