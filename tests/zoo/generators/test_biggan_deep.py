"""BigGAN-deep makes what the published conversion makes, and takes its checkpoint as it is."""

import json
from functools import cache

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

from rosetta_steps.zoo.checkpoints.reading import load_state
from rosetta_steps.zoo.generators.biggan_deep import BatchNorm, BigGANDeep, SpectralConvolution
from rosetta_steps.zoo.hooks import activations_of, layers_of

GOLDEN = ROOT / "tests/data/golden"
SMALL = {
    "channels": [64, 32, 16, 8, 4],
    "attention": 16,
    "latent": 8,
    "embedding": 8,
    "classes": 5,
}


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "biggan-deep.safetensors")


@pytest.fixture(scope="module")
def network(golden):
    network = BigGANDeep(**SMALL).eval()
    load_state(network, under(golden, "weights/"), "golden")
    return network


def under(tensors, prefix):
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def assert_close(actual, expected):
    """Within 1e-4 of the largest value."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("truncation", [1.0, 0.4, 0.43])  # 0.43 lies between two rows
def test_images_and_activations_are_those_of_the_published_code(golden, network, truncation):
    expected = under(golden, f"activation/{truncation}/")
    z = truncation * golden["input/z"]
    maps, image = activations_of(
        network, lambda: network(z, golden["input/labels"], truncation), list(expected)
    )
    assert_close(image, golden[f"image/{truncation}"])
    for name, recorded in expected.items():
        assert_close(maps[name][:1], recorded)  # of the first image


def test_the_layers_are_all_calls_of_each_relu_in_order(golden, network):
    layers = layers_of(network, lambda: network(golden["input/z"], golden["input/labels"]))
    published = list(under(golden, "activation/1.0/"))
    assert sorted(layer.name for layer in layers) == sorted(published)
    assert [layer.name for layer in layers[:5]] == [
        "generator.layers.0.relu",
        "generator.layers.0.relu#1",
        "generator.layers.0.relu#2",
        "generator.layers.0.relu#3",
        "generator.layers.1.relu",
    ]


def test_the_golden_network_is_no_trivial_one(golden):
    # An overflow or a dead map would agree with anything.
    assert json.loads((GOLDEN / "biggan-deep.json").read_text())["init"]["n_stats"] == 51
    images = [golden[f"image/{truncation}"] for truncation in (1.0, 0.4, 0.43)]
    assert all(image.isfinite().all() and image.std() > 0.05 for image in images)
    assert all(map_.max() > 0.1 for map_ in under(golden, "activation/1.0/").values())


@cache
def on_meta(resolution):
    with torch.device("meta"):
        return BigGANDeep(resolution)


def conditional_norm(name, channels):
    shapes = {f"{name}.running_means": (51, channels), f"{name}.running_vars": (51, channels)}
    for affine in ("scale", "offset"):
        shapes |= normalised(f"{name}.{affine}", channels, 256)
    return shapes


def normalised(name, *shape, bias=False):
    rest = torch.Size(shape[1:]).numel()
    shapes = {f"{name}.weight_orig": shape, f"{name}.weight_u": shape[:1]}
    return shapes | {f"{name}.weight_v": (rest,)} | ({f"{name}.bias": shape[:1]} if bias else {})


def test_the_state_dict_of_256_pixels_is_the_published_one():
    # Position of a block, its channels before, in between and after; 8 is the attention.
    blocks = {
        0: (2048, 512, 2048),
        1: (2048, 512, 2048),
        2: (2048, 512, 2048),
        3: (2048, 512, 1024),
        4: (1024, 256, 1024),
        5: (1024, 256, 1024),
        6: (1024, 256, 1024),
        7: (1024, 256, 512),
        9: (512, 128, 512),
        10: (512, 128, 256),
        11: (256, 64, 256),
        12: (256, 64, 128),
    }
    expected = {"embeddings.weight": (128, 1000)}
    expected |= normalised("generator.gen_z", 32768, 256, bias=True)
    for position, (before, middle, after) in blocks.items():
        name = f"generator.layers.{position}"
        for index, channels in enumerate([before, middle, middle, middle]):
            expected |= conditional_norm(f"{name}.bn_{index}", channels)
        expected |= normalised(f"{name}.conv_0", middle, before, 1, 1, bias=True)
        expected |= normalised(f"{name}.conv_1", middle, middle, 3, 3, bias=True)
        expected |= normalised(f"{name}.conv_2", middle, middle, 3, 3, bias=True)
        expected |= normalised(f"{name}.conv_3", after, middle, 1, 1, bias=True)
    attention = "generator.layers.8"
    expected |= {f"{attention}.gamma": (1,)}
    expected |= normalised(f"{attention}.snconv1x1_theta", 64, 512, 1, 1)
    expected |= normalised(f"{attention}.snconv1x1_phi", 64, 512, 1, 1)
    expected |= normalised(f"{attention}.snconv1x1_g", 256, 512, 1, 1)
    expected |= normalised(f"{attention}.snconv1x1_o_conv", 512, 256, 1, 1)
    expected |= {"generator.bn.weight": (128,), "generator.bn.bias": (128,)}
    expected |= {"generator.bn.running_means": (51, 128), "generator.bn.running_vars": (51, 128)}
    expected |= normalised("generator.conv_to_rgb", 128, 128, 3, 3, bias=True)

    network = on_meta(256)
    assert {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == expected
    assert len(expected) == 602
    assert sum(parameter.numel() for parameter in network.parameters()) == 55_880_833


@pytest.mark.parametrize("resolution, millions", [(128, 50.4), (256, 55.9), (512, 56.2)])
def test_each_published_network_has_its_documented_size(resolution, millions):
    network = on_meta(resolution)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert round(parameters / 1e6, 1) == millions
    z, labels = torch.zeros(2, 128, device="meta"), torch.zeros(2, dtype=int, device="meta")
    assert network(z, labels).shape == (2, 3, resolution, resolution)


def test_the_outputs_of_the_convolutions_are_the_23296_units_the_published_code_retains():
    network = on_meta(256)
    z, labels = torch.zeros(1, 128, device="meta"), torch.zeros(1, dtype=int, device="meta")
    layers = layers_of(network, lambda: network(z, labels), ["module:*conv*"])
    assert (len(layers), sum(layer.channels for layer in layers)) == (53, 23_296)
    sizes = {layer.name: layer.size for layer in layers}
    assert sizes["generator.layers.1.conv_0"] == (4, 4)  # before the block upsamples
    assert sizes["generator.layers.1.conv_1"] == (8, 8)
    assert sizes["generator.layers.8.snconv1x1_g"] == (64, 64)  # before it is pooled


@pytest.mark.parametrize(
    "truncation, row, next_row, share_of_row",
    [
        (1.0, 50, None, 1),
        (1, 50, None, 1),
        (0.4, 20, None, 1),
        (0.02, 1, None, 1),
        (0.43, 21, 22, 0.5),
        (0.425, 21, 22, 0.25),  # nearer to row 21, which counts less all the same
        (0.01, 0, 1, 0.5),
        (0.14, 8, None, 1),  # 0.14 / 0.02 is 7.000000000000001: row 7 with a share of nothing
        (0.58, 28, None, 1),  # 0.58 / 0.02 is 28.999999999999996: row 28 with nearly all
    ],
)
def test_statistics_are_chosen_as_in_the_published_code(truncation, row, next_row, share_of_row):
    norm = BatchNorm(1, 51, 1e-4)
    norm.running_means[:, 0] = torch.arange(51.0)
    norm.running_vars[:, 0] = 100 + 2 * torch.arange(51.0)
    expected = row if next_row is None else share_of_row * row + (1 - share_of_row) * next_row
    mean, variance = norm.at(truncation)
    assert mean.item() == pytest.approx(expected, abs=1e-5)
    assert variance.item() == pytest.approx(100 + 2 * expected, abs=1e-4)


def test_a_weight_is_divided_by_sigma_of_the_stored_vectors():
    torch.manual_seed(0)
    convolution = SpectralConvolution(4, 5, 3)
    for tensor in (convolution.weight_u, convolution.weight_v):
        tensor.normal_()  # as stored, not as a power iteration would make them
    before = {key: tensor.clone() for key, tensor in convolution.state_dict().items()}
    weight = convolution.weight_orig.detach().double()
    u, v = convolution.weight_u.double(), convolution.weight_v.double()
    sigma = torch.einsum("o,or,r->", u, weight.reshape(5, 36), v)
    torch.testing.assert_close(convolution.weight().double(), weight / sigma, rtol=1e-5, atol=1e-7)
    convolution(torch.ones(1, 4, 3, 3))
    assert all(torch.equal(convolution.state_dict()[key], before[key]) for key in before)


@pytest.mark.parametrize("truncation", [0, -0.5, 1.01, float("nan")])
def test_a_truncation_out_of_range_is_refused(golden, network, truncation):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        network(golden["input/z"], golden["input/labels"], truncation)


def test_labels_are_asked_for(golden, network):
    with pytest.raises(ValueError, match="5 classes and no labels"):
        network(golden["input/z"])


@pytest.mark.parametrize(
    "architecture, message",
    [
        ({"resolution": 64}, "resolution 64 of BigGAN-deep is none of 128, 256, 512"),
        ({}, "give one of the two"),
        ({"resolution": 256, "channels": [8, 4]}, "give one of the two"),
        ({"channels": [4, 8]}, "none larger than the one before"),
        ({"channels": [8, 2]}, "the last at least 3"),
        ({"channels": [16, 8, 4], "attention": 64}, "attention 64 .* choose one of 4, 8"),
    ],
)
def test_an_architecture_that_makes_no_network_is_refused(architecture, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        BigGANDeep(**architecture)


def test_inversion_reaches_z_and_a_mixture_of_classes(golden, network):
    z = golden["input/z"].clone().requires_grad_()
    mixture = torch.full((2, 5), 0.2, requires_grad=True)
    condition = torch.cat([z, network.embeddings(mixture)], dim=1)
    network.generator(condition, 0.5).sum().backward()
    assert z.grad.abs().min() > 0
    assert mixture.grad.abs().min() > 0


def test_a_mixture_of_one_class_is_that_class(golden, network):
    labels = golden["input/labels"]
    embedded = network.embeddings(torch.eye(5)[labels])
    condition = torch.cat([golden["input/z"], embedded], dim=1)
    torch.testing.assert_close(network.condition(golden["input/z"], labels), condition)


def test_bfloat16_leaves_the_image_recognisable_and_the_statistics_exact(golden, network):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        image = network(golden["input/z"], golden["input/labels"])
    expected = golden["image/1.0"]
    assert (image.float() - expected).abs().mean() < 0.01 * expected.abs().max()
