"""L_act (eq. 6) against its definition: both maps upsampled, in float64, pair by pair."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from rosetta_steps.inversion.similarity import FORMS, Pairs, Similarity

# Generator's maps and targets: larger, smaller, equal, rectangular both ways.
SIZES = [((4, 4), (7, 7)), ((16, 16), (7, 7)), ((8, 8), (8, 8)), ((12, 5), (6, 9))]


def a_pair(own, other, pairs=3, images=2, seed=0):
    random = np.random.default_rng(seed)
    maps = torch.tensor(random.normal(1, 2, (images, 6, *own))).relu()
    target = torch.tensor(random.normal(1, 2, (images, pairs, *other))).relu()
    return maps, Pairs(
        layer="layer",
        channels=[4, 0, 4][:pairs],
        mean=random.uniform(0.5, 2, pairs),
        deviation=random.uniform(0.5, 2, pairs),
        size=own,
        target=target.float(),
        target_mean=random.uniform(0.5, 2, pairs),
        target_deviation=random.uniform(0.5, 2, pairs),
    )


def definition(form, maps, pairs):
    """(image, pair) in float64, as the paper writes it, with a mean over positions."""
    size = [max(a, b) for a, b in zip(pairs.size, pairs.target.shape[2:], strict=True)]

    def standardised(values, mean, deviation):
        large = functional.interpolate(values.double(), size, mode="bilinear", align_corners=False)
        centred = large - torch.tensor(mean)[:, None, None]
        return (centred / torch.tensor(deviation)[:, None, None]).flatten(2)

    a = standardised(maps[:, pairs.channels], pairs.mean, pairs.deviation)
    b = standardised(pairs.target, pairs.target_mean, pairs.target_deviation)
    if form == "pearson":
        a, b = (v - v.mean(2, keepdim=True) for v in (a, b))
    if form == "published":
        return (a * b).mean(2)
    if form == "distance":
        return -((a - b) ** 2).mean(2) / 2
    return (a * b).sum(2) / (a.norm(dim=2) * b.norm(dim=2))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("own", "other"), SIZES)
def test_similarity_of_every_pair_is_that_of_the_upsampled_maps(form, own, other):
    maps, pairs = a_pair(own, other)
    similarity = Similarity([pairs], form)
    found = similarity.of_pairs({"layer": maps.float()})
    torch.testing.assert_close(found.double(), definition(form, maps, pairs), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_l_act_is_the_mean_over_pairs_of_all_layers(form):
    first, a = a_pair((4, 4), (7, 7))
    second, b = a_pair((16, 16), (7, 7), pairs=2, seed=1)
    b = Pairs(**(vars(b) | {"layer": "other"}))
    found = Similarity([a, b], form)({"layer": first.float(), "other": second.float()})
    every = torch.cat([definition(form, first, a), definition(form, second, b)], 1)
    torch.testing.assert_close(found.double(), every.mean(1), rtol=1e-5, atol=2e-6)


def test_weights_make_it_a_weighted_mean():
    maps, pairs = a_pair((4, 4), (7, 7))
    weight = np.array([3.0, 0.0, 1.0])
    found = Similarity([Pairs(**(vars(pairs) | {"weight": weight}))], "cosine")(
        {"layer": maps.float()}
    )
    expected = (definition("cosine", maps, pairs) * torch.tensor(weight)).sum(1) / 4
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=2e-6)


def test_rows_may_be_compared_with_any_of_the_targets():
    maps, pairs = a_pair((4, 4), (7, 7))
    similarity = Similarity([pairs], "pearson")
    rows = torch.tensor([1, 1])
    swapped = Pairs(**(vars(pairs) | {"target": pairs.target[rows]}))
    torch.testing.assert_close(
        similarity({"layer": maps.float()}, rows),
        Similarity([swapped], "pearson")({"layer": maps.float()}),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("own", "other"), SIZES)
def test_gradient_is_that_of_finite_differences(form, own, other):
    maps, pairs = a_pair(own, other, images=1)
    given = maps.clone().requires_grad_()
    similarity = Similarity([pairs], form)
    similarity({"layer": given}).sum().backward()
    direction = torch.tensor(np.random.default_rng(5).normal(size=maps.shape))
    step = 1e-5
    ahead, behind = (
        definition(form, maps + sign * step * direction, pairs).mean() for sign in (1, -1)
    )
    slope = (ahead - behind) / (2 * step)
    torch.testing.assert_close((given.grad * direction).sum(), slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["cosine", "pearson", "distance"])
def test_bounded_forms_are_largest_at_the_target_itself(form):
    maps, pairs = a_pair((8, 8), (8, 8))
    same = vars(pairs) | {
        "channels": [0, 1, 2],
        "target_mean": pairs.mean,
        "target_deviation": pairs.deviation,
    }
    found = Similarity([Pairs(**same)], form).of_pairs({"layer": pairs.target})
    torch.testing.assert_close(found, torch.full_like(found, 0.0 if form == "distance" else 1.0))


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_that_never_fires_gives_numbers_and_no_gradient_that_is_not_finite(form):
    maps, pairs = a_pair((4, 4), (7, 7))
    silent = torch.zeros_like(maps).float().requires_grad_()
    found = Similarity([pairs], form)({"layer": silent})
    found.sum().backward()
    assert torch.isfinite(found).all() and torch.isfinite(silent.grad).all()


def test_a_target_that_is_constant_on_the_image_says_nothing_to_pearson():
    maps, pairs = a_pair((4, 4), (7, 7))
    still = Pairs(**(vars(pairs) | {"target": torch.full_like(pairs.target, 3.0)}))
    found = Similarity([still], "pearson").of_pairs({"layer": maps.float()})
    assert not found.any()


def test_no_pairs_and_no_such_form_are_refused():
    with pytest.raises(ValueError, match="there are none"):
        Similarity([], "cosine")
    with pytest.raises(ValueError, match="published, cosine, pearson, distance"):
        Similarity([a_pair((4, 4), (7, 7))[1]], "cos")
