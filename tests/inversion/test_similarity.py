"""L_act (eq. 6) against its definition: both maps upsampled, in float64, pair by pair."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from rosetta_steps.inversion import similarity
from rosetta_steps.inversion.memory import Needs
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


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bytes_at_once", [1, 5 * 8 * 7 * 16 * 4])  # a map, and some of them
def test_targets_that_are_prepared_a_few_at_a_time_give_the_same_bits(
    form, bytes_at_once, monkeypatch
):
    maps, pairs = a_pair((4, 16), (7, 7), images=5)
    expected = Similarity([pairs], form).of_pairs({"layer": maps.float()})
    monkeypatch.setattr(similarity, "PREPARING_BYTES", bytes_at_once)
    found = Similarity([pairs], form).of_pairs({"layer": maps.float()})
    assert torch.equal(found, expected)


@pytest.mark.parametrize("form", FORMS)
def test_images_that_are_prepared_after_each_other_are_joined(form):
    first, a = a_pair((4, 4), (7, 7), images=5)
    second, b = a_pair((16, 16), (7, 7), pairs=2, seed=1, images=5)
    b = Pairs(**(vars(b) | {"layer": "other"}))
    maps = {"layer": first.float(), "other": second.float()}
    whole = Similarity([a, b], form)
    parts = []
    for block in (slice(0, 2), slice(2, 3), slice(3, 5)):
        both = [Pairs(**(vars(p) | {"target": p.target[block]})) for p in (a, b)]
        parts.append(Similarity(both, form))
    joined = Similarity.joined(parts)
    assert torch.equal(joined(maps), whole(maps))
    assert joined.bytes_of_targets == whole.bytes_of_targets == 5 * 4 * (3 * 17 + 2 * 257)
    assert joined.bytes_of_pairs == whole.bytes_of_pairs


def test_memory_does_not_grow_with_upsampled_targets():
    code = """
import resource, numpy as np, torch
from rosetta_steps.inversion.similarity import PREPARING_BYTES, Pairs, Similarity

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

torch.set_num_threads(1)
ones, pairs = np.ones(1000), 1000
target = torch.rand(4, pairs, 6, 6)
def pairs_of(target):
    some = ones[:target.shape[1]]
    measured = dict(mean=some, deviation=some, target_mean=0 * some, target_deviation=some)
    channels = [0] * len(some)
    return Pairs(layer="a", channels=channels, size=(96, 96), target=target, **measured)
given, one = pairs_of(target), pairs_of(target[:1, :1])
Similarity([one], "cosine")
before = peak()
found = Similarity([given], "cosine")
kept = found.bytes_of_targets + found.bytes_of_pairs
print((peak() - before - kept) / PREPARING_BYTES)
"""
    job = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Prepared at once, these took 9 times as much.
    assert float(job.stdout) < 2.5


def test_a_budget_counts_guidance_and_says_what_to_do_where_it_does_not_fit():
    needs = Needs(row=100_000_000, image=50_000_000, once=100_000_000, preparing=200_000_000)
    assert needs.rows_at_once(2.0) == 9  # 1.9 GB of 0.15 + 0.05 each
    assert needs.prepared_at_once(9, 2.0) == 7  # of 0.2 GB each, beside the nine
    with pytest.raises(ValueError, match=r"0.35 GB \(0.35 GB of guidance\).*0.3 GB.* fewer pairs"):
        needs.rows_at_once(0.3)
    with pytest.raises(ValueError, match=r"needs 0.15 GB \(0 GB of g.*, or lower perceptual_size"):
        Needs(row=100_000_000).rows_at_once(0.1)
    turns = Needs(row=1, image=0, preparing=10_000_000, working=90_000_000)
    turns = replace(turns, working_at_most=100_000_000)
    assert turns.prepared_at_once(16, 0.2) == 10  # 16 of 10 MB do not fit beside 100 MB of work
    assert turns.prepared_at_once(16, 0.05) == 1 and turns.prepared_at_once(3, 1.0) == 3
