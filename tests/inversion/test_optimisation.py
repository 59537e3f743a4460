"""Inversion: batches, starts, schedule, spaces, failures, resume; on tiny real networks."""

import numpy as np
import pytest
import torch
from conftest import plain_settings

from rosetta_steps.inversion.adam import Adam
from rosetta_steps.inversion.latents import Latents
from rosetta_steps.inversion.objective import TERMS, Objective, Reconstruction
from rosetta_steps.inversion.optimisation import learning_rate, optimise
from rosetta_steps.inversion.similarity import Pairs, Similarity
from rosetta_steps.zoo.generators.dcgan import DCGAN
from rosetta_steps.zoo.generators.generator import Generator
from rosetta_steps.zoo.generators.stylegan2 import StyleGAN2


def dcgan() -> Generator:
    torch.manual_seed(0)
    return Generator("tiny", DCGAN(latent=5, channels=[6, 4]), "cpu")


def stylegan2() -> Generator:
    torch.manual_seed(0)
    return Generator(
        "tiny-stylegan2",
        StyleGAN2(resolution=16, latent=8, w=8, channel_base=64, channel_max=8, mapping_layers=2),
        "cpu",
    )


LAYER = "main.2"


def guided(generator: Generator, targets: torch.Tensor, form="pearson") -> Similarity:
    """Guides by all channels of a layer: the maps of other latents of the same generator."""
    maps, _ = Latents(generator, "z").maps_and_images(targets, [LAYER], False, gradients=False)
    count = maps[LAYER].shape[1]
    one = np.ones(count)
    return Similarity(
        [
            Pairs(
                layer=LAYER,
                channels=range(count),
                mean=0 * one,
                deviation=one,
                size=(4, 4),
                target=maps[LAYER],
                target_mean=0 * one,
                target_deviation=one,
            )
        ],
        form,
    )


def an_objective(generator, settings, targets):
    space = Latents(generator, "z")
    return Objective(
        settings, guided(generator, targets), Reconstruction("l2", space.pictures(targets))
    )


@pytest.fixture
def settings():
    return plain_settings(steps=20, learning_rate=0.05, reconstruction="l2")


def test_the_learning_rate_ramps_up_over_5_percent_and_down_over_25_percent():
    shares = [learning_rate(step, 500) for step in range(501)]
    assert shares[0] == 0 and shares[-1] == 0
    np.testing.assert_allclose(shares[:26], np.arange(26) / 25, atol=1e-12)
    assert shares[25:376] == [1.0] * 351
    assert shares[438] == pytest.approx(0.5, abs=0.01)


def test_a_batch_gives_what_its_images_give_alone(settings):
    generator = dcgan()
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    objective, space = an_objective(generator, settings, z), Latents(generator, "z")
    start = space.random(0, [0, 1, 2])
    together = optimise(objective, space, start, torch.arange(3))
    for row in range(3):
        alone = optimise(objective, space, start[row : row + 1], torch.tensor([row]))
        torch.testing.assert_close(alone.latents[0], together.latents[row], rtol=1e-4, atol=1e-5)
    assert (together.losses[:, -1, 0] < together.losses[:, 0, 0]).all()


def test_the_total_is_the_sum_of_its_weighted_terms(settings):
    generator = dcgan()
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    found = optimise(
        an_objective(generator, settings, z),
        Latents(generator, "z"),
        torch.ones(2, 5),
        torch.arange(2),
    ).losses
    total, reconstruction, activation, regulariser = (
        found[..., TERMS.index(name)]
        for name in ("total", "reconstruction", "activation", "regulariser")
    )
    np.testing.assert_allclose(total, reconstruction + 0.1 * regulariser - activation, rtol=1e-5)
    np.testing.assert_allclose(regulariser[:, 0], 1)  # mean of squares of ones


def test_the_gradient_of_the_whole_objective_is_that_of_finite_differences(settings):
    generator = dcgan()
    generator.network.double()
    z = torch.randn(1, 5, generator=torch.Generator().manual_seed(1)).double()
    objective, space = an_objective(generator, settings, z), Latents(generator, "z")
    row = torch.tensor([0])

    def total(latent):
        return objective(space, latent, torch.zeros(()), row)["total"].sum()

    at = torch.full((1, 5), 0.3, dtype=torch.float64).requires_grad_()
    total(at).backward()
    for component in range(5):
        step = torch.zeros(1, 5, dtype=torch.float64)
        step[0, component] = 1e-3
        with torch.no_grad():
            slope = (total(at + step) - total(at - step)) / 2e-3
        assert at.grad[0, component] == pytest.approx(slope.item(), rel=1e-3, abs=1e-5)


def test_without_an_image_term_the_pass_ends_at_the_last_layer_needed():
    generator = dcgan()
    seen = []
    generator.network.main[-1].register_forward_hook(lambda *_: seen.append(1))
    space = Latents(generator, "z")
    maps, images = space.maps_and_images(torch.ones(1, 5), [LAYER], images=False)
    assert images is None and list(maps) == [LAYER] and not seen
    space.maps_and_images(torch.ones(1, 5), [LAYER], images=True)
    assert seen


def test_an_image_whose_loss_is_not_finite_stops_and_the_others_go_on(settings):
    generator = dcgan()
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    objective, space = an_objective(generator, settings, z), Latents(generator, "z")
    objective.reconstruction.targets[1] = torch.nan
    start = space.random(0, [0, 1, 2])
    found = optimise(objective, space, start, torch.arange(3))
    assert found.failed.tolist() == [-1, 0, -1]
    assert np.isnan(found.losses[1]).all() and np.isfinite(found.losses[[0, 2]]).all()
    torch.testing.assert_close(found.latents[1], start[1])
    alone = optimise(objective, space, start[[0]], torch.tensor([0]))
    torch.testing.assert_close(found.latents[0], alone.latents[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("space", ["z", "w", "w+"])
def test_every_space_starts_at_the_image_of_its_z_and_is_optimised(space, settings):
    generator = stylegan2()
    target = Latents(generator, "z").pictures(torch.ones(2, 8))
    chosen = Latents(generator, space)
    start = chosen.random(0, [0, 1])
    z = Latents(generator, "z").random(0, [0, 1])
    torch.testing.assert_close(chosen.pictures(start), generator.generate(z))
    objective = Objective(settings, None, Reconstruction("l2", target))
    found = optimise(objective, chosen, start, torch.arange(2))
    assert found.latents.shape == start.shape
    assert (found.losses[:, -1, 1] < found.losses[:, 0, 1]).all()


def test_random_starts_follow_from_seed_image_and_start_alone():
    space = Latents(dcgan(), "z")
    torch.testing.assert_close(space.random(0, [0, 1])[1], space.random(0, [1])[0])
    assert not torch.equal(space.random(0, [0], start=0), space.random(0, [0], start=1))
    assert not torch.equal(space.random(0, [0]), space.random(1, [0]))


def test_spaces_that_a_generator_lacks_are_refused():
    with pytest.raises(ValueError, match="tiny has no mapping network"):
        Latents(dcgan(), "w+")
    with pytest.raises(ValueError, match="choose one of z, w, w\\+"):
        Latents(dcgan(), "W")


def test_guidance_may_end_before_the_last_step():
    generator = dcgan()
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    settings = plain_settings(steps=10, reconstruction="l2", guidance_fraction=0.5)
    space = Latents(generator, "z")
    found = optimise(an_objective(generator, settings, z), space, torch.ones(2, 5), torch.arange(2))
    total, reconstruction, activation, regulariser = np.moveaxis(found.losses, 2, 0)
    weight = np.array([1.0] * 5 + [0.0] * 6)
    np.testing.assert_allclose(
        total, reconstruction + 0.1 * regulariser - weight * activation, rtol=1e-5
    )
    with pytest.raises(ValueError, match="needs a reconstruction"):
        plain_settings(guidance_fraction=0.5)


@pytest.mark.parametrize(
    "name, value",
    [
        ("alpha", -0.1), ("alpha", np.nan), ("beta", -1), ("beta", np.inf), ("frames", -1),
        ("learning_rate", 0), ("learning_rate", np.inf), ("steps", 0), ("starts", 0),
    ],
)  # fmt: skip
def test_settings_out_of_their_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: {value} must be"):
        plain_settings(**{name: value})


def test_adam_is_that_of_torch_bit_for_bit():
    ours = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) - 0.5
    theirs = ours.clone().requires_grad_()
    adam, reference = Adam(ours), torch.optim.Adam([theirs])
    for step in range(100):
        gradient = (3 * ours).sin() * torch.linspace(1e-6, 1e3, 7)
        gradient[step % 5] = 0
        rate = 0.1 * learning_rate(step, 100)
        adam.step(gradient, rate)
        theirs.grad, reference.param_groups[0]["lr"] = gradient.clone(), rate
        reference.step()
        assert torch.equal(ours, theirs.detach())
