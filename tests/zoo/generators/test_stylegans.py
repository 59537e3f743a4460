"""The StyleGANs make what the published code makes, and take its checkpoints as they are."""

import json
from inspect import signature
from pathlib import Path
from re import search

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from scipy.signal import convolve2d, correlate2d, firwin

from rosetta_steps.zoo.checkpoints.reading import load_state
from rosetta_steps.zoo.generators import resampling_filters
from rosetta_steps.zoo.generators.low_pass import kaiser_low_pass, radial_low_pass
from rosetta_steps.zoo.generators.modulated_convolution import modulated_convolution
from rosetta_steps.zoo.generators.published_settings import disagreement
from rosetta_steps.zoo.generators.resampling_filters import downsample, in_blocks, upsample
from rosetta_steps.zoo.generators.stylegan2 import StyleGAN2
from rosetta_steps.zoo.generators.stylegan3 import StyleGAN3
from rosetta_steps.zoo.generators.stylegan_xl import StyleGANXL

GOLDEN = ROOT / "tests/data/golden"
STYLEGAN2 = ["stylegan2", "stylegan2-conditional"]
ALIAS_FREE = ["stylegan3-t", "stylegan3-r", "stylegan-xl-stem", "stylegan-xl"]
PSI = 0.7  # of all golden images


def architecture(name, description, classes):
    """Our constructor's keywords for what the published one was given."""
    init = description["init"]
    chosen = {
        "resolution": init["img_resolution"],
        "latent": init["z_dim"],
        "w": init["w_dim"],
        "classes": classes,
        "channel_base": init["channel_base"],
        "channel_max": init["channel_max"],
    }
    if "mapping_kwargs" in init:
        chosen["mapping_layers"] = init["mapping_kwargs"]["num_layers"]
    if name in STYLEGAN2:
        return chosen
    chosen |= {
        "critical": init["num_critical"],
        "margin": init["margin_size"],
        "first_cutoff": init["first_cutoff"],
        "first_stopband": init["first_stopband"],
        "last_stopband_factor": init["last_stopband_rel"],
    }
    if "xl" not in name:
        kind = "r" if init["use_radial_filters"] else "t"
        return chosen | {"kind": kind, "layers": init["num_layers"]}
    chosen |= {"stem_resolution": init["img_resolution"], "stem_layers": init["num_layers"]}
    if stage := description["superres"]:
        chosen |= {
            "resolution": stage["img_resolution"],
            "stage_layers": stage["head_layers"],
        }
    return chosen


def settings(description):
    """What a pickle of a golden network would state: keywords, and attributes of its layers."""
    layers = description.get("layer_geometry", {})
    attributes = {f"synthesis.{name}": stated for name, stated in layers.items()}
    # Of a network grown by a stage, the keywords are those of the stage. The golden files keep only
    # some of their classes.
    keywords = description.get("superres") or description["init"]
    kept = {key: value for key, value in keywords.items() if (key, value) != ("c_dim", 1000)}
    return {"init_kwargs": kept, "attributes": attributes}


class Golden:
    """A golden network: tensors of its file, its architecture, and ours with its weights."""

    def __init__(self, name):
        tensors = load_file(GOLDEN / f"{name}.safetensors")
        description = json.loads((GOLDEN / f"{name}.json").read_text())
        self.z = tensors["input/z"]
        one_hot = tensors.get("input/c")
        self.labels = None if one_hot is None else one_hot.argmax(1)
        self.weights, self.activations = (
            {
                key.removeprefix(prefix): tensor
                for key, tensor in tensors.items()
                if key.startswith(prefix)
            }
            for prefix in ("weights/", "activation/")
        )
        self.image = tensors["output/image"]
        self.settings = settings(description)
        classes = 0 if one_hot is None else one_hot.shape[1]
        self.architecture = architecture(name, description, classes)
        self.build = StyleGAN2 if name in STYLEGAN2 else StyleGANXL if "xl" in name else StyleGAN3
        self.network = self.build(**self.architecture).eval()
        self.formula = {key: value.clone() for key, value in self.network.named_buffers()}
        load_state(self.network, self.weights, name)


@pytest.fixture(scope="module", params=STYLEGAN2 + ALIAS_FREE)
def golden(request):
    return Golden(request.param)


@pytest.fixture(scope="module", params=ALIAS_FREE)
def alias_free(request):
    return Golden(request.param)


def recorded(network, names, run):
    """Whole outputs of some modules, margins included, and what `run` returns."""
    maps = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: maps.__setitem__(name, output)
        )
        for name in names
    ]
    with torch.no_grad():
        result = run()
    for handle in handles:
        handle.remove()
    return maps, result


def assert_close(actual, expected):
    """Within 1e-4 of the largest value."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_images_and_activations_are_those_of_the_published_code(golden):
    maps, image = recorded(
        golden.network,
        golden.activations,
        lambda: golden.network(golden.z, golden.labels, PSI),
    )
    assert_close(image, golden.image)
    assert len(maps) == len(golden.activations)
    for name, expected in golden.activations.items():
        assert_close(maps[name], expected)


def test_filters_by_formula_are_those_stored(golden):
    filters = [key for key in golden.weights if key.endswith("_filter")]
    assert filters
    for key in filters:
        torch.testing.assert_close(golden.formula[key], golden.weights[key], rtol=0, atol=1e-7)


def test_units_are_read_after_every_leaky_relu_and_nowhere_else(golden):
    told = {
        name: module.nonlinearity
        for name, module in golden.network.named_modules()
        if hasattr(module, "nonlinearity")
    }
    linear = {name for name in golden.activations if name.endswith(("torgb", "_3"))}
    assert {name for name, kind in told.items() if kind is None} - {"synthesis.input"} == linear
    assert {name for name, kind in told.items() if kind} == set(golden.activations) - linear
    assert set(told.values()) == {None, "LeakyReLU"}


def test_the_margin_is_what_a_map_has_beyond_the_image(alias_free):
    layers = alias_free.network.synthesis.layer_names
    assert alias_free.network.synthesis.input.margin == alias_free.architecture["margin"]
    for name in layers[:-2]:
        layer = alias_free.network.synthesis.get_submodule(name)
        assert layer.margin == alias_free.architecture["margin"]
        size = alias_free.activations[f"synthesis.{name}"].shape[-1]
        assert (size - 2 * layer.margin).bit_count() == 1  # the sampling rate
    for name in layers[-2:]:  # at the size of the image
        assert alias_free.network.synthesis.get_submodule(name).margin == 0


def test_an_image_does_not_depend_on_the_others_of_its_batch(golden):
    labels = None if golden.labels is None else golden.labels[:1]
    with torch.no_grad():
        alone = golden.network(golden.z[:1], labels, PSI)
    assert_close(alone, golden.image[:1])


def test_each_layer_can_have_a_w_of_its_own_and_gives_a_gradient(golden):
    network = golden.network
    w = network.mapping(golden.z, golden.labels, PSI)
    assert w.shape == (len(golden.z), network.synthesis.rows, golden.architecture["w"])
    with torch.no_grad():
        together = network(golden.z, golden.labels, PSI)
        torch.testing.assert_close(network.synthesis(w), together, rtol=0, atol=0)
    noise = torch.randn(w.shape, generator=torch.Generator().manual_seed(0))
    own = (w + 0.3 * noise).detach().requires_grad_()
    image = network.synthesis(own)
    assert not torch.allclose(image, together, atol=0.01)
    image.square().sum().backward()
    assert own.grad.isfinite().all()
    rows = own.grad.abs().sum((0, 2)) > 0
    # The golden Fourier features have no weights for w, and so no gradient.
    first = 1 if hasattr(network.synthesis, "input") else 0
    assert rows[first:].all()


def test_a_truncation_of_zero_gives_the_mean_image_whatever_z(golden):
    labels = None if golden.labels is None else torch.tensor([0, 0, 1])
    z = torch.randn(3, golden.z.shape[1], generator=torch.Generator().manual_seed(1))
    mean = golden.network.mapping.w_avg
    w = golden.network.mapping(z, labels, 0.0)
    torch.testing.assert_close(w[0], w[1], rtol=0, atol=0)
    if mean.ndim == 2:  # one for each class
        torch.testing.assert_close(w[:, 0], mean[labels], rtol=0, atol=0)
        assert not torch.equal(w[0], w[2])
    else:
        torch.testing.assert_close(w[2, 0], mean, rtol=0, atol=0)
    with torch.no_grad():
        images = golden.network(z, labels, 0.0)
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=1e-5)


def test_the_meta_device_tells_shapes(golden):
    with torch.device("meta"):
        network = golden.build(**golden.architecture)
        z = torch.randn(2, network.latent_size)
        labels = torch.zeros(2, dtype=torch.long) if network.classes else None
        image = network(z, labels, 0.5)
    assert image.device.type == "meta"
    assert image.shape == (2, *golden.image.shape[1:])


def test_mixed_precision_leaves_latents_and_styles_alone(golden):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        w = golden.network.mapping(golden.z, golden.labels, PSI)
        image = golden.network.synthesis(w)
    torch.testing.assert_close(
        w, golden.network.mapping(golden.z, golden.labels, PSI), rtol=0, atol=0
    )
    off = (image.float() - golden.image).abs().max() / golden.image.abs().max()
    assert 0 < off < 0.05


def test_a_gross_value_is_clamped_where_the_layout_says_so():
    z = torch.zeros(1, 4)
    bounded = StyleGAN2(8, latent=4, w=4, mapping_layers=1, channel_base=32, clamp=0.5)
    image = bounded(z)
    assert image.abs().max() <= 0.5 + 4 * 0.5  # the colours of two blocks, one of them filtered
    for name in ("b4.conv1", "b8.conv0", "b8.conv1", "b8.torgb"):
        maps, _ = recorded(bounded.synthesis, [name], lambda: bounded(z))
        assert maps[name].abs().max() <= 0.5


def test_no_value_is_clamped_where_the_file_was_trained_without():
    z = torch.zeros(1, 4)
    sizes = {"latent": 4, "w": 4, "channel_base": 64, "channel_max": 4, "layers": 4, "margin": 1}
    torch.manual_seed(0)
    network = StyleGAN3(16, kind="t", clamp=None, **sizes)
    with torch.no_grad():
        largest = network(z).abs().max().item()
        bounded = StyleGAN3(16, kind="t", clamp=largest, **sizes)  # the image is a quarter of it
        bounded.load_state_dict(network.state_dict())
        assert bounded(z).abs().max() <= largest / 4 < largest


# What a published file states ---------------------------------------------------------------------


def stated(golden, architecture, settings):
    network = on_meta(golden.build, **architecture)
    return disagreement("g", Path("network.pkl"), network, architecture, settings)


def test_a_file_that_states_the_settings_of_its_entry_is_taken(golden):
    assert stated(golden, golden.architecture, golden.settings) == ""
    assert stated(golden, golden.architecture, {"epoch": 3, "attributes": None}) == ""


def test_every_keyword_that_a_published_file_states_is_one_of_the_architecture(golden):
    assert set(golden.build.published) <= set(signature(golden.build).parameters)


@pytest.mark.parametrize(
    ("build", "kind", "values", "words"),
    [
        (StyleGAN2, {}, {"synthesis_kwargs": {"conv_clamp": 256}}, "Write clamp: 256 into"),
        (StyleGAN2, {}, {"mapping_layers": 4, "label_size": 0}, "Write mapping_layers: 4 into"),
        (StyleGAN2, {}, {"mapping_kwargs": {"lr_multiplier": 0.1}}, "0.1, the network here 0.01"),
        (StyleGAN2, {}, {"nonlinearity": "relu"}, '"relu", the network here "lrelu"'),
        (StyleGAN2, {}, {"resample_kernel": [1, 4, 4, 1]}, "No entry .* sets the filter so"),
        (StyleGAN3, {"kind": "r"}, {"channel_base": 32768}, "its entry channel_base: 65536. Write"),
        (StyleGAN3, {"kind": "t"}, {"conv_clamp": None}, "entry clamp: 256. Write clamp: null"),
        (StyleGAN3, {"kind": "t"}, {"output_scale": 1}, "output_scale 1, the network here 0.25"),
        (StyleGANXL, {}, {"num_critical": 1, "c_dim": 9}, "Write classes: 9, critical: 1 into"),
    ],
)
def test_a_file_that_states_other_settings_than_its_entry_is_refused(build, kind, values, words):
    architecture = {"resolution": 256} | kind
    network = on_meta(build, **architecture)
    told = disagreement("g", Path("a.pkl"), network, architecture, {"init_kwargs": values})
    assert told.startswith("g: a.pkl states other settings") and search(words, told)


def test_the_band_of_the_fourier_features_is_the_first_cutoff(alias_free):
    attributes = {"synthesis.input": {"bandwidth": 3.0}}
    words = stated(alias_free, alias_free.architecture, {"attributes": attributes})
    assert "bandwidth 3.0 (in synthesis.input), its entry first_cutoff: 2. Write" in words


def test_layers_that_differ_where_one_setting_is_for_all_are_refused(alias_free):
    names = alias_free.network.synthesis.layer_names
    attributes = {f"synthesis.{name}": {"conv_clamp": 256} for name in names}
    attributes[f"synthesis.{names[2]}"] = {"conv_clamp": None}
    words = stated(alias_free, alias_free.architecture, {"attributes": attributes})
    assert f"conv_clamp 256 (in synthesis.{names[0]}) and null (in synthesis.{names[2]})" in words
    assert "No entry of this loader sets the clamp so" in words and "Write" not in words


def test_the_networks_of_a_tensorflow_file_state_settings_each():
    components = {"mapping": {"init_kwargs": {"mapping_lrmul": 0.1}}, "synthesis": None}
    network = on_meta(StyleGAN2, resolution=256)
    settings = {"init_kwargs": {"resolution": 256, "truncation_psi": 0.5}, "components": components}
    words = disagreement("g", Path("cat.pkl"), network, {"resolution": 256}, settings)
    assert "mapping_lrmul 0.1, the network here 0.01" in words


# The published full-size layouts ------------------------------------------------------------------

R512 = (
    "L0_36_1024 L1_36_1024 L2_52_1024 L3_52_1024 L4_84_1024 L5_84_1024 L6_148_1024 L7_148_967 "
    "L8_276_645 L9_276_431 L10_532_287 L11_532_192 L12_532_128 L13_512_128 L14_512_3"
)
R1024 = (
    "L0_36_1024 L1_36_1024 L2_52_1024 L3_52_1024 L4_84_1024 L5_148_1024 L6_148_1024 L7_276_645 "
    "L8_276_406 L9_532_256 L10_1044_161 L11_1044_102 L12_1044_64 L13_1024_64 L14_1024_3"
)
T512 = (
    "L0_36_512 L1_36_512 L2_52_512 L3_52_512 L4_84_512 L5_84_512 L6_148_512 L7_148_483 "
    "L8_276_323 L9_276_215 L10_532_144 L11_532_96 L12_532_64 L13_512_64 L14_512_3"
)
T1024 = (
    "L0_36_512 L1_36_512 L2_52_512 L3_52_512 L4_84_512 L5_148_512 L6_148_512 L7_276_323 "
    "L8_276_203 L9_532_128 L10_1044_81 L11_1044_51 L12_1044_32 L13_1024_32 L14_1024_3"
)
XL256 = (  # there is no L8
    "L0_36_1024 L1_36_1024 L2_36_1024 L3_36_1024 L4_36_1024 L5_36_1024 L6_36_1024 L7_36_1024 "
    "L9_36_1024 L10_52_1024 L11_52_1024 L12_52_1024 L13_52_1024 L14_52_1024 L15_84_1024 "
    "L16_84_1024 L17_84_1024 L18_84_1024 L19_84_1024 L20_148_1024 L21_148_861 L22_148_724 "
    "L23_148_609 L24_148_609 L25_276_512 L26_276_431 L27_276_362 L28_276_304 L29_276_256 "
    "L30_256_256 L31_256_3"
)


def on_meta(build, **keywords):
    with torch.device("meta"):
        return build(**keywords)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_stylegan2_at_256_pixels_has_the_published_layout():
    network = on_meta(StyleGAN2, resolution=256)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    channels = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128}
    expected = {"mapping.w_avg": (512,), "synthesis.b4.const": (512, 4, 4)}
    for index in range(8):
        expected |= {f"mapping.fc{index}.weight": (512, 512), f"mapping.fc{index}.bias": (512,)}
    for size, width in channels.items():
        block = f"synthesis.b{size}"
        expected[f"{block}.resample_filter"] = (4, 4)
        inputs = {"conv1": width} if size == 4 else {"conv0": channels[size // 2], "conv1": width}
        for name, before in inputs.items():
            expected |= {
                f"{block}.{name}.weight": (width, before, 3, 3),
                f"{block}.{name}.bias": (width,),
                f"{block}.{name}.affine.weight": (before, 512),
                f"{block}.{name}.affine.bias": (before,),
                f"{block}.{name}.noise_strength": (),
                f"{block}.{name}.noise_const": (size, size),
                f"{block}.{name}.resample_filter": (4, 4),
            }
        expected |= {
            f"{block}.torgb.weight": (3, width, 1, 1),
            f"{block}.torgb.bias": (3,),
            f"{block}.torgb.affine.weight": (width, 512),
            f"{block}.torgb.affine.bias": (width,),
        }
    assert shapes == expected
    assert len(shapes) == 144
    assert parameters(network) == 30_034_338
    assert network.synthesis.rows == 14


@pytest.mark.parametrize(
    ("resolution", "kind", "names", "count"),
    [
        (512, "r", R512, 16_665_594),
        (1024, "r", R1024, 15_093_151),
        (512, "t", T512, 24_873_519),
        (1024, "t", T1024, 22_313_167),
    ],
)
def test_stylegan3_has_the_published_layout(resolution, kind, names, count):
    network = on_meta(StyleGAN3, resolution=resolution, kind=kind)
    assert network.synthesis.layer_names == names.split()
    assert parameters(network) == count
    assert network.synthesis.rows == 16
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    pixels, width = {"r": (1, 1024), "t": (3, 512)}[kind]
    expected = {
        "mapping.fc0.weight": (512, 512),
        "mapping.fc0.bias": (512,),
        "mapping.fc1.weight": (512, 512),
        "mapping.fc1.bias": (512,),
        "mapping.w_avg": (512,),
    } | alias_free_shapes(names.split(), width, pixels, kind == "r")
    assert shapes == expected
    assert len(shapes) == 114


def test_stylegan_xl_at_256_pixels_has_the_published_layout():
    network = on_meta(StyleGANXL, resolution=256, classes=1000)
    assert network.synthesis.layer_names == XL256.split()
    assert parameters(network) == 233_375_910
    assert network.synthesis.rows == 32
    assert network.latent_size == 64
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    expected = {
        "mapping.embed.weight": (1000, 320),
        "mapping.embed_proj.weight": (64, 320),
        "mapping.embed_proj.bias": (64,),
        "mapping.fc0.weight": (512, 128),
        "mapping.fc0.bias": (512,),
        "mapping.fc1.weight": (512, 512),
        "mapping.fc1.bias": (512,),
        "mapping.w_avg": (1000, 512),
    } | alias_free_shapes(XL256.split(), 1024, 3, radial=False)
    assert shapes == expected
    assert len(shapes) == 229


def alias_free_shapes(names, width, pixels, radial):
    """Names and shapes of a synthesis network from the names of its layers."""
    shapes = {
        "synthesis.input.weight": (width, width),
        "synthesis.input.freqs": (width, 2),
        "synthesis.input.phases": (width,),
        "synthesis.input.transform": (3, 3),
        "synthesis.input.affine.weight": (4, 512),
        "synthesis.input.affine.bias": (4,),
    }
    before, size_before = width, 36
    for index, name in enumerate(names):
        _, size, after = (int(part) for part in name.removeprefix("L").split("_"))
        last = index == len(names) - 1
        side = 1 if last else pixels
        layer = f"synthesis.{name}"
        shapes |= {
            f"{layer}.weight": (after, before, side, side),
            f"{layer}.bias": (after,),
            f"{layer}.magnitude_ema": (),
            f"{layer}.affine.weight": (before, 512),
            f"{layer}.affine.bias": (before,),
        }
        if not last:
            critical = index >= len(names) - 3
            shapes[f"{layer}.up_filter"] = (24 if size > size_before else 12,)
            shapes[f"{layer}.down_filter"] = (12, 12) if radial and not critical else (12,)
        before, size_before = after, size
    return shapes


@pytest.mark.parametrize(
    ("build", "keywords"),
    [
        (StyleGAN2, {"resolution": 256}),
        (StyleGAN3, {"resolution": 512, "kind": "r"}),
        (StyleGAN3, {"resolution": 1024, "kind": "t"}),
        (StyleGAN3, {"resolution": 256, "kind": "t", "channel_base": 16384}),
        (StyleGANXL, {"resolution": 256}),
        (StyleGANXL, {"resolution": 16}),
    ],
)
def test_full_size_networks_run_on_the_meta_device(build, keywords):
    network = on_meta(build, **keywords)
    labels = torch.zeros(1, dtype=torch.long, device="meta") if network.classes else None
    image = network(torch.zeros(1, network.latent_size, device="meta"), labels)
    assert image.shape == (1, 3, keywords["resolution"], keywords["resolution"])


# Filters and convolutions -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cutoff", "half_width", "rate", "half"),
    [
        (2, 6, 32, [0.000792, 0.010018, 0.03895, 0.092413, 0.156526, 0.201302]),
        (128, 29.5865, 512, [0.023374, 0.034449, -0.050881, -0.078615, 0.13961, 0.432062]),
    ],
)
def test_a_separable_filter_is_a_kaiser_window_design(cutoff, half_width, rate, half):
    taps = kaiser_low_pass(12, cutoff, half_width, rate)
    np.testing.assert_allclose(taps[:6], half, atol=1e-6)
    np.testing.assert_allclose(
        taps, firwin(12, cutoff=cutoff, width=2 * half_width, fs=rate), rtol=1e-10
    )


def test_a_radial_filter_has_the_published_centre_and_all_symmetries():
    kernel = radial_low_pass(12, 2, 6, 32)
    np.testing.assert_allclose(kernel[5, 5], 0.0387549, atol=1e-7)
    np.testing.assert_allclose(kernel.sum(), 1)
    for other in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_allclose(kernel, other, atol=1e-15)


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def symmetric(seed, taps):
    half = np.random.default_rng(seed).normal(size=taps // 2)
    return np.concatenate([half, half[::-1]])


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(
    ("factor", "taps", "before", "after"),
    [(2, 12, 9, 8), (4, 24, -6, -9), (2, 12, -11, -12), (2, 4, 2, 1), (2, 12, 3, 7), (2, 4, 6, 5)],
)
def test_upsampling_is_zeros_put_between_and_a_convolution(axes, factor, taps, before, after):
    x = normal(0, 2, 3, 22, 19)
    kernel = symmetric(1, taps)
    plane = np.outer(kernel, kernel)
    actual = upsample(
        x, torch.from_numpy(kernel if axes == 1 else plane), factor, before, after
    ).numpy()
    for image, channel in np.ndindex(2, 3):
        sparse = np.zeros((22 * factor, 19 * factor))
        sparse[::factor, ::factor] = x[image, channel]
        padded = np.pad(sparse, [(max(before, 0), max(after, 0))] * 2)
        cropped = padded[
            max(-before, 0) : padded.shape[0] - max(-after, 0),
            max(-before, 0) : padded.shape[1] - max(-after, 0),
        ]
        expected = factor**2 * convolve2d(cropped, plane, mode="valid")
        np.testing.assert_allclose(actual[image, channel], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(("factor", "taps", "padding"), [(2, 12, 0), (1, 4, 1), (4, 24, 3)])
def test_downsampling_is_a_convolution_of_which_some_samples_are_kept(axes, factor, taps, padding):
    x = normal(2, 2, 3, 30, 33)
    kernel = symmetric(3, taps)
    plane = np.outer(kernel, kernel)
    given = torch.from_numpy(kernel if axes == 1 else plane)
    actual = downsample(x, given, factor, padding).numpy()
    for image, channel in np.ndindex(2, 3):
        padded = np.pad(x[image, channel].numpy(), padding)
        expected = convolve2d(padded, plane, mode="valid")[::factor, ::factor]
        np.testing.assert_allclose(actual[image, channel], expected, rtol=1e-9, atol=1e-9)


def test_maps_taken_a_few_at_a_time_are_those_taken_at_once(monkeypatch):
    x = normal(4, 3, 7, 5, 6)  # 21 maps: blocks of 8, the last of 5

    def shrink(maps):
        assert maps.shape[1] <= 8
        return maps[..., ::2, ::2] * 2

    monkeypatch.setattr(resampling_filters, "VALUES_ON_CPU", 1)
    torch.testing.assert_close(in_blocks(shrink, x), x[..., ::2, ::2] * 2, rtol=0, atol=0)


def kernels_of_each_image(weight, styles, demodulate):
    kernels = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        kernels = kernels / np.sqrt((kernels**2).sum((2, 3, 4), keepdims=True) + 1e-8)
    return kernels


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("double", [True, False])
def test_a_modulated_convolution_gives_each_image_its_own_kernel(demodulate, double):
    x, weight, styles = normal(5, 2, 3, 6, 7), normal(6, 4, 3, 3, 3), normal(7, 2, 3)
    actual = modulated_convolution(
        x, weight, styles, demodulate=demodulate, padding=0 if double else 1, double=double
    ).numpy()
    kernels = kernels_of_each_image(weight.numpy(), styles.numpy(), demodulate)
    for image, output in np.ndindex(2, 4):
        expected = 0
        for channel in range(3):
            plane, kernel = x[image, channel].numpy(), kernels[image, output, channel]
            if double:
                sparse = np.zeros((2 * plane.shape[0] - 1, 2 * plane.shape[1] - 1))
                sparse[::2, ::2] = plane
                expected = expected + convolve2d(sparse, kernel)
            else:
                expected = expected + correlate2d(plane, kernel, mode="same")
        np.testing.assert_allclose(actual[image, output], expected, rtol=1e-7, atol=1e-7)


# What a user can get wrong ------------------------------------------------------------------------


def test_a_generator_with_classes_asks_for_labels():
    network = on_meta(StyleGANXL, resolution=16)
    with pytest.raises(ValueError, match="1000 classes and got no labels"):
        network(torch.zeros(1, 64, device="meta"))


@pytest.mark.parametrize("shape", [(1, 512), (1, 13, 512), (1, 14, 511)])
def test_a_w_of_the_wrong_shape_is_refused(shape):
    network = on_meta(StyleGAN2, resolution=256)
    with pytest.raises(ValueError, match="14 layers of 512 components"):
        network.synthesis(torch.zeros(shape, device="meta"))


@pytest.mark.parametrize(
    ("build", "keywords", "message"),
    [
        (StyleGAN2, {"resolution": 300}, "resolution 300 is no power of two"),
        (StyleGAN3, {"resolution": 512, "kind": "x"}, "no StyleGAN3 of kind 'x'"),
        (StyleGAN3, {"resolution": 8, "kind": "t"}, "resolution 8 is no power of two from 16"),
        (StyleGANXL, {"resolution": 256, "classes": 0}, "classes: 0"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(build, keywords, message):
    with pytest.raises(ValueError, match=message):
        on_meta(build, **keywords)
