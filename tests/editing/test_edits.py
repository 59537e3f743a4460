"""The edits of maps against NumPy and SciPy, and those that are refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from rosetta_steps.editing.edits import (
    Edit,
    amplify,
    copy_and_paste,
    paint,
    pixels,
    read_mask,
    remove,
    shift,
    zoom_in,
)


def maps(*shape, seed=0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(np.maximum(random.normal(0.5, 1, shape), 0).astype(np.float32))


@pytest.mark.parametrize("size", [(4, 4), (6, 8)])
def test_zooming_in_is_the_centre_of_the_map_at_twice_its_size(size):
    some = maps(2, 3, *size)
    # Positions of pixel centres, as SciPy samples them; beyond the border nothing is asked.
    places = [(np.arange(n) + n // 2 + 0.5) / 2 - 0.5 for n in size]
    places = np.meshgrid(*places, indexing="ij")
    for image, unit in np.ndindex(2, 3):
        expected = ndimage.map_coordinates(some[image, unit].numpy(), places, order=1)
        np.testing.assert_allclose(zoom_in(some)[image, unit], expected, atol=1e-6)


def test_a_shift_is_the_same_share_of_maps_of_every_size():
    assert pixels((0, 0.25), (4, 4)) == (0, 1)
    assert pixels((0, 0.25), (8, 8)) == (0, 2)
    assert pixels((-0.25, 0.5), (8, 4)) == (-2, 2)


def test_a_shift_of_no_whole_number_of_pixels_is_rounded_the_same_way_in_both_directions():
    assert [pixels((0, share), (4, 4))[1] for share in (0.1, 0.125, 0.3, 0.37, 0.38)] == [
        0, 1, 1, 1, 2,
    ]  # fmt: skip
    assert [pixels((share, 0), (4, 4))[0] for share in (-0.1, -0.125, -0.38)] == [0, -1, -2]


@pytest.mark.parametrize("direction", [(0, 0.25), (0, -0.5), (0.25, 0), (-0.25, 0.5), (0.5, -0.25)])
def test_shifting_moves_maps_and_fills_with_zeros(direction):
    some = maps(2, 3, 4, 8)
    by = (0, 0, *pixels(direction, (4, 8)))
    expected = ndimage.shift(some.numpy(), by, order=0, mode="constant", cval=0)
    np.testing.assert_array_equal(shift(some, direction), expected)


def test_copy_and_paste_shows_the_middle_on_both_sides():
    one = torch.zeros(1, 1, 4, 8)
    one[..., 1, 3] = 5
    pasted = copy_and_paste(one, (0, 0.25))[0, 0]
    assert pasted.nonzero().tolist() == [[1, 1], [1, 5]]
    torch.testing.assert_close(copy_and_paste(one, (0, -0.25))[0, 0], pasted)
    some = maps(2, 3, 4, 8)
    expected = torch.cat([shift(some, (0, -0.25))[..., :4], shift(some, (0, 0.25))[..., 4:]], 3)
    torch.testing.assert_close(copy_and_paste(some, (0, 0.25)), expected)


def test_a_vertical_copy_and_paste_has_an_upper_and_a_lower_half():
    some = maps(1, 2, 8, 4)
    expected = torch.cat(
        [shift(some, (-0.25, 0))[..., :4, :], shift(some, (0.25, 0))[..., 4:, :]], 2
    )
    torch.testing.assert_close(copy_and_paste(some, (0.25, 0)), expected)


def test_removing_leaves_the_least_value_of_each_map():
    some = maps(2, 3, 4, 4) + torch.arange(3)[:, None, None]
    expected = np.broadcast_to(some.numpy().min((2, 3), keepdims=True), some.shape)
    np.testing.assert_array_equal(remove(some), expected)
    torch.testing.assert_close(amplify(some, 0), remove(some))


def test_amplifying_multiplies_maps_whose_least_value_is_zero():
    some = maps(2, 3, 8, 8)
    some[..., 0, 0] = 0
    torch.testing.assert_close(amplify(some, 2.5), 2.5 * some)
    torch.testing.assert_close(amplify(some - 1, 2.5), 2.5 * some - 1)


def test_painting_sets_one_level_where_the_mask_is_white_and_nothing_where_it_is_black():
    some, mask = maps(2, 3, 4, 4), torch.zeros(16, 16)
    mask[:, 8:] = 1
    low, high = torch.tensor([0.0, 0.0, -1.0]), torch.tensor([4.0, 2.0, 3.0])
    painted = paint(some, mask, low, high, 0.25)
    torch.testing.assert_close(painted[..., :2], some[..., :2])
    for unit, value in enumerate((1.0, 0.5, 0.0)):
        assert (painted[:, unit, :, 2:] == value).all()


def test_edits_whose_numbers_change_nothing_are_refused():
    with pytest.raises(ValueError, match="no edit 'zoom': choose one of zoom_in"):
        Edit("zoom")
    with pytest.raises(ValueError, match="factor 1 must be at least 0, and 1 changes nothing"):
        Edit("amplify", factor=1)
    with pytest.raises(ValueError, match="shift 0 2 moves maps out of the image"):
        Edit("shift", direction=(0, 2))
    with pytest.raises(ValueError, match="paint needs a mask"):
        Edit("paint")
    with pytest.raises(ValueError, match="moves no layer by a whole pixel.* at least 0.0625"):
        Edit("shift", direction=(0, 0.05)).check([(4, 4), (8, 8)])
    Edit("shift", direction=(0, 0.07)).check([(4, 4), (8, 8)])


def write_mask(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return path


def test_masks_that_are_none_are_refused(tmp_path):
    good = np.zeros((16, 16), np.uint8)
    good[4:8, 4:8] = 255
    np.testing.assert_array_equal(
        read_mask(write_mask(tmp_path / "good.png", good), (16, 16)), good / 255
    )
    with pytest.raises(ValueError, match="has 16 x 16 pixels and the generator's images 64 x 32"):
        read_mask(tmp_path / "good.png", (32, 64))
    with pytest.raises(ValueError, match="has no white: its brightest pixel is 0.00"):
        read_mask(write_mask(tmp_path / "black.png", 0 * good), (16, 16))
    clear = np.dstack([good, good, good, good])
    with pytest.raises(ValueError, match="has transparency"):
        read_mask(write_mask(tmp_path / "clear.png", clear), (16, 16))
    (tmp_path / "words.png").write_text("white")
    with pytest.raises(ValueError, match="words.png cannot be read: no image in a format"):
        read_mask(tmp_path / "words.png", (16, 16))
    with pytest.raises(ValueError, match="none.png cannot be read"):
        read_mask(tmp_path / "none.png", (16, 16))
