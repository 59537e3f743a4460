"""Taps: which outputs are layers, and how an output becomes a map (image, channel, y, x)."""

import pytest
import torch
from torch import nn

from rosetta_steps.zoo.hooks import Layer, activations_of, layers_of
from rosetta_steps.zoo.layouts import Reader, Tokens

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Permute(nn.Module):
    """Moves axes, as a module that nothing is known of."""

    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(*self.axes)


class Block(nn.Module):
    """Of ConvNeXt: channels first outside, last inside."""

    def __init__(self, channels):
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.mlp = nn.Sequential(
            Permute(0, 2, 3, 1), nn.Linear(channels, channels), nn.GELU(), Permute(0, 3, 1, 2)
        )

    def forward(self, x):
        return x + self.mlp(self.convolution(x))


class SqueezeExcite(nn.Module):
    """Scales channels by what the whole image says."""

    def __init__(self, channels):
        super().__init__()
        self.reduce, self.act = nn.Conv2d(channels, 2, 1), nn.ReLU()
        self.expand = nn.Conv2d(2, channels, 1)

    def forward(self, x):
        return x * self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()


def names(module, patterns=None, reader=None, images=IMAGES):
    return [one.name for one in layers_of(module, lambda: module(images), patterns, reader)]


def maps(module, layers, reader=None, images=IMAGES):
    return activations_of(module, lambda: module(images), layers, reader)[0]


def stem(*more):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), *more)


def test_a_plain_pattern_finds_nonlinearities_and_a_module_pattern_any_module():
    module = nn.Sequential(stem(), nn.Sequential(nn.Conv2d(4, 5, 1), nn.Tanh()))
    assert names(module, ["*"]) == ["0.1"]
    assert names(module, ["module:*"]) == ["0.0", "0.1", "0", "1.0", "1.1", "1"]
    found = layers_of(module, lambda: module(IMAGES), ["0.*", "module:1.?"])
    assert found == [
        Layer("0.1", 4, (8, 8), "ReLU"),
        Layer("1.0", 5, (8, 8), "none"),
        Layer("1.1", 5, (8, 8), "none"),
    ]


def test_a_linear_output_is_copied_before_the_nonlinearity_after_it_overwrites_it():
    module = stem()
    found = maps(module, ["0", "1"])
    assert (found["0"] < 0).any()
    torch.testing.assert_close(found["0"], module[0](IMAGES))
    torch.testing.assert_close(found["1"], found["0"].relu())


def test_only_the_modules_that_are_asked_for_are_copied_and_no_hook_stays():
    class Watched(nn.ReLU):
        def forward(self, x):
            taps.append(len(self._forward_hooks))
            return super().forward(x)

    taps = []
    module = nn.Sequential(Watched(), Watched())
    maps(module, ["1"])
    assert taps == [0, 1]
    with pytest.raises(RuntimeError, match="broken"):
        activations_of(module, lambda: (_ for _ in ()).throw(RuntimeError("broken")), ["0"])
    module(IMAGES)
    assert taps[2:] == [0, 0]


def test_a_module_that_names_its_nonlinearity_is_a_layer_and_its_margin_is_cropped():
    class Synthesis(nn.Module):
        nonlinearity = "LeakyReLU"
        margin = 2

        def forward(self, x):
            return nn.functional.leaky_relu(x - 0.5)

    class Linear(Synthesis):
        nonlinearity = None

    module = nn.Sequential(Synthesis(), Linear())
    (layer,) = layers_of(module, lambda: module(IMAGES))
    assert layer == Layer("0", 3, (4, 4), "LeakyReLU")
    cropped = nn.functional.leaky_relu(IMAGES - 0.5)[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(maps(module, ["0"])["0"], cropped)


def test_a_nonlinearity_inside_another_is_no_layer_of_its_own():
    class StarReLU(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(x) ** 2

    assert names(nn.Sequential(StarReLU()), ["*"]) == ["0"]
    assert names(nn.Sequential(StarReLU()), ["module:*"]) == ["0.relu", "0"]


def test_the_gate_of_a_squeeze_and_excitation_has_no_place_and_is_taken_only_if_asked_for():
    module = stem(SqueezeExcite(4))
    assert names(module) == ["1"]
    assert names(module, ["module:*.act"]) == ["2.act"]
    with pytest.raises(ValueError, match=r"'2\.\*' matches no .*: 2.act has one position only"):
        names(module, ["*", "2.*"])


def test_channels_after_positions_are_recognised_whatever_comes_between():
    module = stem(Block(4), nn.Conv2d(4, 6, 2, 2), Block(6))
    x = module[0](IMAGES).relu()
    expected = nn.functional.gelu(module[2].mlp[1](module[2].convolution(x).permute(0, 2, 3, 1)))
    found = maps(module, ["2.mlp.2", "4.mlp.2"], Reader(images=2, size=(8, 8)))
    torch.testing.assert_close(found["2.mlp.2"], expected.permute(0, 3, 1, 2))
    assert found["4.mlp.2"].shape == (2, 6, 4, 4)


@pytest.mark.parametrize("reader", [None, Reader(images=2, size=(8, 8))])
def test_as_many_channels_as_rows_and_columns_are_told_apart_by_the_module_before(reader):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), Block(8))
    x = module[0](IMAGES).relu()
    expected = nn.functional.gelu(module[2].mlp[1](module[2].convolution(x).permute(0, 2, 3, 1)))
    found = maps(module, ["1", "2.mlp.2"], reader)
    torch.testing.assert_close(found["1"], x)
    torch.testing.assert_close(found["2.mlp.2"], expected.permute(0, 3, 1, 2))


def test_where_nothing_tells_which_axis_is_the_channels_the_layer_is_refused():
    module = nn.Sequential(nn.Conv2d(3, 8, 1), Block(8))
    reader = Reader(images=2, size=(8, 8))
    with pytest.raises(ValueError, match=r"1 has shape \(2, 8, 8, 8\), of which no axis is surely"):
        names(module, ["module:1"], reader)


def test_a_table_of_positions_and_windows_in_the_place_of_images_are_no_maps():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.of_positions, self.of_windows = nn.ReLU(), nn.ReLU()

        def forward(self, x):
            self.of_positions(torch.zeros(1, 15, 15, 4))  # as in Swin version 2
            return self.of_windows(x.unflatten(3, (2, 4)).movedim(3, 1).flatten(0, 1))

    module = stem(Windows())
    reader = Reader(images=2, size=(8, 8))
    assert names(module, None, reader) == ["1"]
    with pytest.raises(ValueError, match=r"of_windows has shape \(4, 4, 8, 4\) for 2 images"):
        names(module, ["*.of_windows"], reader)


def test_attention_between_all_tokens_is_no_map():
    module = nn.Sequential(nn.Linear(3, 5))
    between = torch.rand(2, 16, 16, 3)
    reader = Reader(Tokens(((4, 4),), 1), 2, (64, 64))
    with pytest.raises(ValueError, match="no axis is surely the channels"):
        names(module, ["module:0"], reader, between)
    assert names(module, ["module:0"], Reader(images=2, size=(64, 64)), between) == ["0"]


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_are_folded_row_by_row_without_their_prefix(prefix):
    module = nn.Sequential(nn.ReLU())
    tokens = torch.randn(2, prefix + 6, 4)
    reader = Reader(Tokens(((2, 3),), prefix), 2, (32, 48))
    found = maps(module, ["0"], reader, tokens)["0"]
    assert found.shape == (2, 4, 2, 3)
    for y, x in [(0, 0), (0, 2), (1, 1)]:
        torch.testing.assert_close(found[:, :, y, x], tokens[:, prefix + 3 * y + x].relu())


def test_tokens_that_do_not_form_the_grid_are_refused_with_both_counts():
    module = nn.Sequential(nn.ReLU())
    reader = Reader(Tokens(((2, 3),), 1), 2, (32, 48), " Say how.")
    with pytest.raises(ValueError, match=r"0 has 8 tokens; expected 2 x 3 patches, after 1 prefix"):
        names(module, ["*"], reader, torch.rand(2, 8, 4))
    with pytest.raises(ValueError, match="has 6 tokens; nothing says on which grid they lie"):
        names(module, ["*"], Reader(images=2), torch.rand(2, 6, 4))
    assert names(module, None, reader, torch.rand(2, 8, 4)) == []


def test_a_layer_that_mixes_the_tokens_is_no_map_even_if_there_are_as_many_channels_as_tokens():
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.along_tokens = nn.Sequential(nn.Linear(16, 9), nn.GELU(), nn.Linear(9, 16))
            self.along_channels = nn.Sequential(nn.Linear(16, 9), nn.GELU())

        def forward(self, x):
            x = self.along_tokens(x.transpose(1, 2)).transpose(1, 2)
            return self.along_channels(x.contiguous())

    reader = Reader(Tokens(((4, 4),)), 2, (64, 64))
    assert names(Mixer(), None, reader, torch.rand(2, 16, 16)) == ["along_channels.1"]


def test_what_is_no_tensor_is_no_map():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(ValueError, match="2 is a tuple"):
        names(stem(Pair()), ["module:2"])


def test_a_layer_that_is_not_there_is_refused_by_name():
    with pytest.raises(ValueError, match="Sequential has no layer 1#1, 7"):
        maps(stem(), ["1", "1#1", "7"])
