"""Look at the zoo: list its models, show the layers of one, fetch weights, convert a checkpoint."""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.zoo.arguments import add_layer_arguments, layers_from

ZOO = "config/models.yaml"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m rosetta_steps.zoo", description=__doc__)
    parser.add_argument("--zoo", default=ZOO, help="default %(default)s")
    commands = parser.add_subparsers(dest="command")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--zoo", default=argparse.SUPPRESS, help=f"default {ZOO}")
    commands.add_parser("list", parents=[shared], help="all models (the default)")
    shower = commands.add_parser("show", parents=[shared], help="layers, sizes, source, licence")
    shower.add_argument("name")
    add_layer_arguments(shower, default="all")
    fetcher = commands.add_parser("fetch", parents=[shared], help="fetch, check and open weights")
    fetcher.add_argument("name")
    fetcher.add_argument("--output", type=Path, help="file for where they lie, and their sha256")
    converter = commands.add_parser(
        "convert", help="write a checkpoint of any kind as safetensors and JSON, running none of it"
    )
    converter.add_argument("checkpoint", type=Path, help=".pkl, .pt, .pth, .bin or .safetensors")
    converter.add_argument("output", type=Path, help="X.safetensors to write, beside X.json")
    converter.add_argument("--key", help="where the state dict lies in it, if it is not the whole")
    converter.add_argument(
        "--prefix", default="", help="take the tensors under it alone, without it: module."
    )
    converter.add_argument("--overwrite", action="store_true", help="replace what is there")
    a = parser.parse_args()

    from rosetta_steps.zoo.commands import fetch, list_models, show

    if a.command == "show":
        show(a.name, a.zoo, layers_from(a))
    elif a.command == "fetch":
        fetch(a.name, a.zoo, a.output)
    elif a.command == "convert":
        from rosetta_steps.zoo.checkpoints.convert import convert  # torch, which a list needs not

        print(convert(a.checkpoint, a.output, a.key, a.overwrite, a.prefix))
    else:
        list_models(a.zoo)


if __name__ == "__main__":
    run(main)
