"""Layers of every family of timm, and of the towers of open_clip: which are proven to be maps.

One architecture a family, the smallest, with random weights (a branch that begins as zero is given
values), at its own input size; and the models of the zoo whose weights lie on this machine. Besides
the proof itself, which every model takes, each map that passes is compared with what a plain
forward hook gives, laid out as the last module with weights before it has its channels.
"""

import argparse
import contextlib
import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rosetta_steps.runtime.errors import run
from rosetta_steps.zoo.entries import read_entries
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.models import open_clip_models, timm_models
from rosetta_steps.zoo.models.preprocessing import preprocessing_of
from rosetta_steps.zoo.models.torch_models import Model
from rosetta_steps.zoo.proof import prove, refuse_unsteady_generator
from rosetta_steps.zoo.textures import textured
from rosetta_steps.zoo.weights import location, weights_file

# The smallest of each file and class of timm 1.0.31, of those with fewer than 60 million
# parameters, and a few more. To find them takes minutes.
ARCHITECTURES = """
    cait_xxs24_224
    coat_tiny
    convit_tiny
    convmixer_768_32
    convnext_atto
    cpubone_nano
    crossvit_tiny_240
    cs3darknet_focus_s
    csatv2
    cspnext_tiny
    davit_tiny
    deit_tiny_distilled_patch16_224
    deit_tiny_patch16_224
    densenet121
    dla46x_c
    dpn48b
    eca_botnext26ts_256
    edgenext_xx_small
    efficientformer_l1
    efficientformerv2_s0
    efficientnet_b0
    efficientvim_m1
    efficientvim_m1_dist
    efficientvit_b0
    efficientvit_l1
    efficientvit_m0
    ese_vovnet19b_slim_dw
    fasternet_t0
    fastvit_t8
    focalnet_tiny_srf
    gcvit_xxtiny
    ghostnet_050
    gmlp_ti16_224
    halonet_h1
    hardcorenas_b
    hgnetv2_b0
    hiera_tiny_224
    hrnet_w18_small
    iformer_t
    inception_next_atto
    inception_resnet_v2
    inception_v3
    inception_v4
    lambda_resnet26t
    lcnetv2_small
    legacy_seresnet18
    legacy_xception
    levit_128s
    levit_256d
    lowformer_b0
    mixer_s32_224
    mobilenetv3_small_050
    mobilevit_xxs
    mobilevitv2_050
    mvitv2_tiny
    nest_tiny
    nextvit_small
    pit_ti_224
    poolformerv2_s12
    pvt_v2_b0
    rdnet_tiny
    regnetx_002
    repghostnet_050
    repvit_m1
    res2next50
    resmlp_12_224
    resnest14d
    resnetv2_18
    rexnet_100
    sam2_hiera_tiny
    selecsls42
    sequencer2d_s
    shvit_s1
    skresnet18
    starnet_s050
    swiftformer_xs
    swin_tiny_patch4_window7_224
    swinv2_cr_tiny_224
    swinv2_tiny_window8_256
    test_byobnet
    test_coatnet
    test_convnext
    test_efficientnet
    test_mambaout
    test_nfnet
    test_resnet
    test_vit
    test_vit_relpos
    tiny_vit_5m_224
    tnt_s_legacy_patch16_224
    tresnet_m
    twins_svt_small
    visformer_tiny
    vit_tiny_patch16_dinov3_qkvb
    vit_tiny_r_s16_p8_224
    vitamin_small_224
    volo_d1_224
    xception41p
    xcit_nano_12_p8_224
""".split()  # noqa: SIM905
LARGEST_SIDE = 256
TOWERS = (
    "RN50",
    "ViT-B-32",
    "ViT-B-16-SigLIP",
    "coca_ViT-B-32",
    "EVA02-B-16",
    "convnext_base",
    "MobileCLIP-S1",
    "ViTamin-S",
)
FIRST = (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm)


def random_timm(name: str) -> Model:
    """An architecture of timm with random weights."""
    torch.manual_seed(0)
    module = timm.create_model(name)
    config: Any = module.pretrained_cfg
    size = tuple(config["input_size"][1:])
    if max(size) > LARGEST_SIDE:
        size = (LARGEST_SIDE, LARGEST_SIDE)
        with contextlib.suppress(TypeError):  # a convolutional network takes no img_size
            module = timm.create_model(name, img_size=LARGEST_SIDE)
    return _model(name, module, size, timm_models.tokens_of(module, size))


def random_tower(name: str) -> Model:
    """The image tower of an architecture of open_clip with random weights."""
    torch.manual_seed(0)
    module = open_clip_models.create(name, quick_gelu=False)
    size: Any = module.visual.image_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    return _model(name, module, size, open_clip_models._tokens_of(module.visual, size))


def _model(name: str, module: nn.Module, size: tuple[int, int], tokens) -> Model:
    for key, value in module.named_parameters():
        # As random weights, a gain of zero says nothing.
        if value.ndim <= 1 and not key.endswith("bias") and not value.any():
            nn.init.normal_(value, 0.2, 0.02)
    plain = {"size": size, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
    return Model(
        name, module, preprocessing_of(name, Entry.from_mapping({}), plain), "cpu", tokens=tokens
    )


def against_hooks(model: Model, layers: list[str]) -> Counter:
    """How many maps are those of a plain hook ("equal", "other"), or of a layout that is "unknown".

    Args:
        model: With values.
        layers: Names.
    """
    y, x = model.preprocessing.size
    image = textured((y, x), 2)
    maps = model.activations(image, layers)
    raw: dict[str, tuple[Tensor, str]] = {}
    calls: Counter = Counter()
    last: dict[str, Any] = {"layout": "", "shape": ()}

    def see(name: str):
        def hook(module, _inputs, output):
            if not isinstance(output, Tensor):
                return
            if isinstance(module, FIRST) or "2d" in type(module).__name__.lower():
                last.update(layout="first", shape=tuple(output.shape))
            elif isinstance(module, nn.Linear | nn.LayerNorm):
                last.update(layout="last", shape=tuple(output.shape))
            layer = f"{name}#{calls[name]}" if calls[name] else name
            calls[name] += 1
            if layer in maps:
                same = tuple(output.shape) == last["shape"]
                raw[layer] = output.clone(), last["layout"] if same else ""

        return hook

    handles = [
        child.register_forward_hook(see(name)) for name, child in model.module.named_modules()
    ]
    model.scores(image)
    for handle in handles:
        handle.remove()
    found: Counter = Counter()
    for name, read in maps.items():
        output, layout = raw[name]
        if output.ndim == 3 and layout == "last":
            y, x = read.shape[2:]
            output = output[:, output.shape[1] - y * x :].unflatten(1, (y, x))
        if not layout or output.ndim != 4:
            found["unknown"] += 1
            continue
        expected = output if layout == "first" else output.permute(0, 3, 1, 2)
        same = expected.shape == read.shape and torch.allclose(expected, read, 0, 1e-5)
        found["equal" if same else "other"] += 1
    return found


def line(name: str, family: str, model: Model) -> str:
    """A line of the table."""
    refused: dict[str, str] = {}
    layers = [one.name for one in model.layers(None, refused)]
    begin = time.process_time()
    failed = prove(model, layers)
    seconds = time.process_time() - begin
    passed = [layer for layer in layers if layer not in failed]
    hooks = against_hooks(model, passed) if passed else Counter()
    size = " x ".join(map(str, model.preprocessing.size))
    why = _grouped(refused | failed)
    equal = f"{hooks['equal']} of {hooks['equal'] + hooks['other']}"
    return (
        f"| {name} | {family} | {size} | {len(layers) + len(refused)} | {len(passed)} | {equal} | "
        f"{why} | {seconds:.1f} |"
    )


def _grouped(reasons: dict[str, str]) -> str:
    # Layers of one reason, but for its numbers, by the first of them.
    groups: dict[str, list[str]] = {}
    for layer, reason in reasons.items():
        groups.setdefault(reason.split(" (")[0].split(", of which")[0], []).append(layer)
    return "; ".join(
        f"{len(layers)} ({layers[0]}{', ...' if len(layers) > 1 else ''}) "
        + reasons[layers[0]].replace("|", "/")
        for layers in groups.values()
    )


HEAD = (
    "| model | class | image | layers | pass | equal to hooks | left out, and why | seconds |\n"
    "|---|---|---|---|---|---|---|---|"
)


def rows(names: Sequence[str], make: Callable[[str], Model]) -> Iterator[str]:
    """Lines of architectures; of those that are refused, the reason.

    Args:
        names: Of architectures.
        make: Builds one.
    """
    for name in tqdm(names, desc="models"):
        family = ""
        try:
            begin = time.process_time()
            model = make(name)
            family = type(getattr(model.module, "visual", model.module)).__name__
            if (seconds := time.process_time() - begin) > 10:
                yield f"| {name} | {family} | | | | | not built in 10 s | {seconds:.0f} |"
                continue
            yield line(name, family, model)
        except Exception as error:  # whatever a module raises
            words = " ".join(str(error).split())[:300].replace("|", "/")
            yield f"| {name} | {family} | | | | | refused: {words} | |"


def of_the_zoo(zoo: str) -> Iterator[str]:
    """Lines of the models of a zoo whose weights lie on this machine."""
    for name, entry in read_entries(zoo).items():
        if not location(entry).is_file():
            continue
        model = load(name, entry, weights_file(name, entry))
        layers = [one.name for one in model.layers()]
        begin = time.process_time()
        if entry.role == "generator":
            refuse_unsteady_generator(model, layers)
            failed = {}
        else:
            failed = prove(model, layers)
        seconds = time.process_time() - begin
        size = " x ".join(map(str, model.preprocessing.size)) if entry.role == "model" else ""
        yield (
            f"| {name} | {entry.loader} | {size} | {len(layers)} | {len(layers) - len(failed)} "
            f"| | {_grouped(failed)} | {seconds:.1f} |"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architectures", nargs="*", default=ARCHITECTURES, help="of timm")
    parser.add_argument("--towers", nargs="*", default=TOWERS, help="of open_clip")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--output", type=Path, help="file for the table; default it is printed")
    a = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    parts = {
        "The zoo, its weights": of_the_zoo(a.zoo),
        "open_clip, random weights": rows(a.towers, random_tower),
        "timm, random weights": rows(a.architectures, random_timm),
    }
    text = (
        "# Layers that are proven to be maps\n\n"
        f"{date.today()}, one core of {_processor()} (seconds are its CPU time), torch "
        f"{torch.__version__}, timm {timm.__version__}, open_clip {open_clip.__version__}.\n"
        "Made by `python -m rosetta_steps.benchmarks.layers --output docs/layers.md`, which says "
        "what is\ncompared. Maps of one position (gates) are not counted.\n"
    )
    for title, lines in parts.items():
        text += f"\n## {title}\n\n{HEAD}\n"
        for row in lines:
            text += row + "\n"
            if a.output:  # what is done stays, however it ends
                a.output.write_text(text)
    if not a.output:
        print(text)


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    for row in file.read_text().splitlines() if file.is_file() else []:
        if row.startswith("model name"):
            return row.split(":")[1].strip()
    return platform.processor()


if __name__ == "__main__":
    run(main)
