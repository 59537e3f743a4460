"""The choice of layers on a command line."""


def add_layer_arguments(parser, default: str = "block") -> None:
    """Add the choice of layers to a command line; `layers_from` reads it."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--layers", default=default, help="all, or a preset of the entry, default %(default)s"
    )
    choice.add_argument("--patterns", nargs="+", help="instead: patterns of layer names")


def layers_from(arguments) -> str | list[str]:
    """A `layers` setting from a command line."""
    return arguments.patterns or arguments.layers
