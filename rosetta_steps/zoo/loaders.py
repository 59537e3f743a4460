"""The loaders of models and the families of generators, each one row of the table `LOADERS`.

Nothing here imports torch: the workflow reads entries while it is parsed. The part of the schema of
entries that lists loaders and architectures is made from the table
(python -m rosetta_steps.workflow.schemas); a test compares the keywords with the constructors.
"""

from dataclasses import KW_ONLY, dataclass, field


@dataclass(frozen=True)
class Family:
    """What the networks of a loader are, said again without torch; a test holds it against them.

    Attributes:
        classes: Number of classes where `architecture` does not say.
        truncates: Whether a truncation other than 1 means something.
        truncation_scales_z: Whether z is multiplied by it, so that 0 leaves nothing.
    """

    classes: int = 0
    truncates: bool = True
    truncation_scales_z: bool = False


@dataclass(frozen=True)
class Loader:
    """What builds the models of one `loader` of an entry.

    Attributes:
        role: "generator" or "model".
        name: The `loader` of an entry.
        module: Its module under rosetta_steps, imported when first used: that of the network of a
            generator, or the one whose `load` loads a model.
        architecture: What `architecture` of an entry may be, as a JSON schema.
        network: Class of the network in the module; empty where the module is a function's.
        family: What a sample set may ask of a generator; None where only its module knows.
        weights: Whether it has weights; where it has none, its entry says {function: true}.
        own_source: Key of `weights` that this loader alone can read.
        libraries: Distributions whose version its maps may depend on, beside torch's.
        gradients: Whether gradients flow through its models.
        one_of: Keys of the architecture of which one must be given, and each in words.
    """

    role: str
    name: str
    module: str
    architecture: dict
    network: str = ""
    _: KW_ONLY
    family: Family | None = None
    weights: bool = True
    own_source: str = ""
    libraries: tuple[str, ...] = ()
    gradients: bool = True
    one_of: dict[str, str] = field(default_factory=dict)


def loaders_of(role: str) -> dict[str, Loader]:
    """The loaders of a role by name."""
    return {loader.name: loader for loader in LOADERS if loader.role == role}


def family_of(loader: str) -> Family | None:
    """The family of generators that a loader builds; None where only its module knows."""
    return next((one.family for one in LOADERS if one.name == loader), None)


# The module whose `load` builds the generators of all families.
GENERATOR = "zoo.generators.generator"


def _arguments(properties: dict, required: tuple[str, ...] = ()) -> dict:
    # Of a mapping whose keys are the keywords of a constructor.
    schema: dict = {"type": "object", "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return schema | {"description": "the arguments of its constructor", "properties": properties}


def _name_or(words: str, properties: dict) -> dict:
    # Of a name, or a mapping with a name and more.
    return {
        "type": ["string", "object"],
        "additionalProperties": False,
        "required": ["name"],
        "description": words,
        "properties": {"name": _TEXT, **properties},
    }


_TEXT = {"type": "string", "minLength": 1}
_COMPONENTS = {"type": "integer", "minimum": 1, "maximum": 1000000}
_CLASSES = {"type": "integer", "minimum": 0, "maximum": 10000000}
_SOME_CLASSES = _CLASSES | {"minimum": 1}
_CHANNELS = {"type": "array", "items": _COMPONENTS, "minItems": 1, "maxItems": 12}
_SIDE = {"enum": [2**power for power in range(2, 13)], "description": "pixels a side"}
_CLAMP = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1000000000}
_FEW = {"type": "integer", "minimum": 1, "maximum": 1000}
_FEW_OR_NONE = _FEW | {"minimum": 0}
_FREQUENCY = {"type": "number", "exclusiveMinimum": 0, "maximum": 1000000}
_PAIR = {
    "items": {"type": "integer", "minimum": 1, "maximum": 16384},
    "minItems": 2,
    "maxItems": 2,
}
_TOKENS = {
    "grid": {
        "type": "array",
        "anyOf": [_PAIR, {"items": _PAIR | {"type": "array"}, "minItems": 1}],
        "description": "[y, x] in patches, or a list of such",
    },
    "prefix_tokens": {
        "type": "integer",
        "minimum": 0,
        "maximum": 100000,
        "description": "tokens before those of the grid",
    },
}
_FILTERS = {
    "critical": _FEW_OR_NONE,
    "margin": _FEW_OR_NONE,
    "first_cutoff": _FREQUENCY,
    "first_stopband": _FREQUENCY,
    "last_stopband_factor": _FREQUENCY,
    "clamp": _CLAMP,
}
_FUNCTION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["function"],
    "description": "{function: 'package.module:build', arguments}",
    "properties": {
        "function": {
            "type": "string",
            "pattern": "^[^:]+:[^:]+$",
            "description": "package.module:build",
        },
        "arguments": {"type": "object", "description": "keywords of the function"},
        **_TOKENS,
    },
}

LOADERS = (
    Loader(
        "generator",
        "dcgan",
        "zoo.generators.dcgan",
        _arguments(
            {
                "latent": _COMPONENTS,
                "channels": _CHANNELS,
                "classes": _CLASSES,
                "first_dropout": {"type": ["number", "null"], "minimum": 0, "exclusiveMaximum": 1},
            },
            required=("latent", "channels"),
        ),
        network="DCGAN",
        family=Family(truncates=False),
    ),
    Loader(
        "generator",
        "stylegan2",
        "zoo.generators.stylegan2",
        _arguments(
            {
                "resolution": _SIDE,
                "latent": _COMPONENTS,
                "w": _COMPONENTS,
                "classes": _CLASSES,
                "mapping_layers": _FEW,
                "channel_base": _COMPONENTS,
                "channel_max": _COMPONENTS,
                "clamp": _CLAMP,
            },
            required=("resolution",),
        ),
        network="StyleGAN2",
        family=Family(),
    ),
    Loader(
        "generator",
        "stylegan3",
        "zoo.generators.stylegan3",
        _arguments(
            {
                "resolution": _SIDE,
                "kind": {"enum": ["t", "r"]},
                "latent": _COMPONENTS,
                "w": _COMPONENTS,
                "classes": _CLASSES,
                "mapping_layers": _FEW,
                "channel_base": _COMPONENTS | {"type": ["integer", "null"]},
                "channel_max": _COMPONENTS | {"type": ["integer", "null"]},
                "layers": _FEW,
                **_FILTERS,
            },
            required=("resolution", "kind"),
        ),
        network="StyleGAN3",
        family=Family(),
    ),
    Loader(
        "generator",
        "stylegan-xl",
        "zoo.generators.stylegan_xl",
        _arguments(
            {
                "resolution": _SIDE,
                "classes": _SOME_CLASSES,
                "latent": _COMPONENTS,
                "w": _COMPONENTS,
                "embedding": _COMPONENTS,
                "mapping_layers": _FEW,
                "channel_base": _COMPONENTS,
                "channel_max": _COMPONENTS,
                "stem_resolution": _SIDE,
                "stem_layers": _FEW,
                "stage_layers": _FEW,
                **_FILTERS,
            },
            required=("resolution",),
        ),
        network="StyleGANXL",
        family=Family(classes=1000),
    ),
    Loader(
        "generator",
        "biggan-deep",
        "zoo.generators.biggan_deep",
        _arguments(
            {
                "resolution": {"enum": [128, 256, 512, None]},
                "channels": _CHANNELS | {"type": ["array", "null"]},
                "attention": {"type": ["integer", "null"], "minimum": 1, "maximum": 16384},
                "latent": _COMPONENTS,
                "embedding": _COMPONENTS,
                "classes": _SOME_CLASSES,
                "rows": {"type": "integer", "minimum": 2, "maximum": 100000},
                "epsilon": {"type": "number", "minimum": 0, "maximum": 1},
            }
        ),
        network="BigGANDeep",
        family=Family(classes=1000, truncation_scales_z=True),
        one_of={"resolution": "a resolution (128, 256 or 512)", "channels": "channels"},
    ),
    Loader(
        "model",
        "timm",
        "zoo.models.timm_models",
        _name_or(
            "a name of timm, or {name, arguments}",
            {"arguments": {"type": "object", "description": "keywords of timm.create_model"}},
        ),
        own_source="timm",
        libraries=("timm",),
    ),
    Loader(
        "model",
        "open_clip",
        "zoo.models.open_clip_models",
        _name_or("a name of open_clip, or {name, tag}", {"tag": _TEXT}),
        own_source="open_clip",
        libraries=("open_clip_torch", "timm"),
    ),
    Loader(
        "model",
        "onnx",
        "zoo.models.onnx_models",
        {
            "type": "object",
            "additionalProperties": False,
            "description": "what the file does not say, {} if nothing",
            "properties": {"channels_last": {"type": "boolean"}, **_TOKENS},
        },
        libraries=("onnxruntime", "onnxruntime-gpu"),
        gradients=False,
    ),
    Loader(
        "model",
        "low-level",
        "zoo.models.low_level",
        {"type": "object", "additionalProperties": False, "description": "{}"},
        weights=False,
    ),
    Loader("generator", "function", "zoo.generators.functions", _FUNCTION, own_source="function"),
    Loader("model", "function", "zoo.models.functions", _FUNCTION, own_source="function"),
)
