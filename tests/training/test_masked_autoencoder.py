"""Training of the zoo's own vision transformer: what is masked, what is learned, what is kept."""

import numpy as np
import pytest
import timm
import torch

from rosetta_steps.training import masked_autoencoder as training
from rosetta_steps.training.masked_autoencoder import Images, augment, image_of, patches_of
from rosetta_steps.zoo.checkpoints.reading import load_state, read_tensors

TINY = {
    "img_size": 16,
    "patch_size": 4,
    "embed_dim": 16,
    "depth": 1,
    "num_heads": 2,
    "num_classes": 0,
}


class Waves:
    """A stand-in for a generator: plane waves whose direction and colour z decides."""

    latent_size, latent_bound = 5, None

    def __init__(self, classes=0, size=16):
        self.classes, self.size = classes, size

    def generate(self, latents, labels=None):
        line = torch.linspace(0, 6, self.size)
        phase = latents[:, 0, None, None] * line[:, None] + latents[:, 1, None, None] * line
        images = torch.sigmoid(phase.sin()[:, None] + latents[:, 2:, None, None])
        return images if labels is None else images * 0 + labels[:, None, None, None]


@pytest.fixture
def model():
    return training.new_model(0, TINY)


@pytest.fixture
def images():
    return Images([Waves()], key=1, size=16)


def train(model, images, output, steps=4, every=2):
    output.mkdir(exist_ok=True)
    return training.train(
        model,
        images,
        images(range(50, 54)),
        output,
        steps=steps,
        batch=4,
        peak=1e-2,
        seed=0,
        every=every,
    )


def test_patches_put_together_are_the_image(images):
    some = images(range(3))
    assert patches_of(some, 4).shape == (3, 16, 48)
    torch.testing.assert_close(image_of(patches_of(some, 4), 4, 16), some)
    first = some[0, :, :4, :4].reshape(48)
    torch.testing.assert_close(patches_of(some, 4)[0, 0], first)


def test_an_encoder_that_sees_all_patches_computes_what_timm_does(model, images):
    inputs = training.to_inputs(images(range(2)))
    everything = torch.arange(16).expand(2, -1)
    expected = model.encoder.forward_features(inputs)
    torch.testing.assert_close(model.encode(inputs, everything), expected)


def test_no_pixel_of_a_hidden_patch_reaches_the_prediction(model, images):
    inputs = training.to_inputs(images(range(2)))
    visible, hidden = model.draw(2, torch.Generator().manual_seed(3), predicted=0.75)
    assert sorted(torch.cat([visible, hidden], 1)[0].tolist()) == list(range(16))
    patches = patches_of(inputs, 4)
    where = hidden[:, :, None].expand(-1, -1, 48)
    noise = torch.randn(2, 12, 48, generator=torch.Generator().manual_seed(4))
    other = image_of(patches.scatter(1, where, noise), 4, 16)
    torch.testing.assert_close(model(inputs, visible, hidden), model(other, visible, hidden))


def test_the_target_is_a_patch_less_its_own_mean_over_its_own_deviation():
    patch = np.random.default_rng(0).uniform(-1, 1, 48)
    expected = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
    target, _, _ = training.normalised(torch.tensor(patch)[None, None])
    np.testing.assert_allclose(target[0, 0].numpy(), expected)


def test_augmentation_mirrors_and_cuts_parts_of_at_least_half_the_area():
    line = torch.linspace(-1, 1, 33)  # a pixel's values are its own x and y
    where = torch.stack([line.expand(33, -1), line[:, None].expand(-1, 33), line.expand(33, -1)])
    seen = augment(where.expand(64, -1, -1, -1), torch.Generator().manual_seed(0))
    width = (seen[:, 0, 16, 24] - seen[:, 0, 16, 8]) / (line[24] - line[8])
    height = (seen[:, 1, 24, 16] - seen[:, 1, 8, 16]) / (line[24] - line[8])
    assert 16 < (width < 0).sum() < 48 and (height > 0).all()
    area = width.abs() * height
    assert area.min() >= 0.55 and area.max() <= 1 + 1e-4 and area.std() > 0.05


def test_the_same_number_is_the_same_image_whatever_it_is_made_with(images):
    torch.testing.assert_close(images(range(5, 9))[2], images(range(7, 8))[0])


def test_several_generators_take_turns_their_classes_too_and_their_images_become_one_size():
    mixed = Images([Waves(size=16), Waves(classes=3, size=8)], key=1, size=16)
    some = mixed(range(8))
    assert some.shape == (8, 3, 16, 16)
    torch.testing.assert_close(some[:4], Images([Waves()], key=1, size=16)(range(0, 8))[::2])
    shown = some[4:, 0, 0, 0].tolist()  # classes 0, 1, 2, 0, clamped to 1
    assert shown == pytest.approx([0, 1, 1, 0], abs=1e-5)


def test_training_lowers_the_loss_on_images_that_were_held_out(model, images, tmp_path):
    rows = train(model, images, tmp_path / "run", steps=60, every=20)
    assert rows[-1]["held_out_loss"] < 0.8 * rows[0]["held_out_loss"]
    assert [row["images"] for row in rows] == [80, 160, 240]


def test_a_killed_training_goes_on_to_the_same_weights(images, tmp_path):
    whole = training.new_model(0, TINY)
    train(whole, images, tmp_path / "whole")

    def until(numbers):
        if numbers.stop > 12:  # killed in the third step, after the checkpoint of the second
            raise KeyboardInterrupt
        return images(numbers)

    held_out, output = images(range(50, 54)), tmp_path / "killed"
    output.mkdir()
    with pytest.raises(KeyboardInterrupt):
        training.train(
            training.new_model(0, TINY),
            until,
            held_out,
            output,
            steps=4,
            batch=4,
            peak=1e-2,
            seed=0,
            every=2,
        )
    resumed = training.new_model(1, TINY)
    rows = train(resumed, images, output)
    assert [row["step"] for row in rows] == [2, 4]
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0)


def test_the_checkpoint_of_another_training_is_refused(model, images, tmp_path):
    train(model, images, tmp_path)
    with pytest.raises(ValueError, match="is of another training.*Delete it"):
        train(model, images, tmp_path, steps=6)


def test_the_learning_rate_rises_in_a_line_and_falls_to_nought():
    rates = [training.learning_rate(step, 100, 1.0) for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(rates) == 1.0 and rates[100] == pytest.approx(0)
    assert all(np.diff(rates[5:]) <= 0)


def test_the_exported_file_fits_timm_by_the_call_that_the_model_card_gives(tmp_path):
    model = training.new_model(0)
    training.export(model.encoder, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_size < 6e6
    again = timm.create_model(training.ARCHITECTURE, **training.ARGUMENTS)
    load_state(again, read_tensors(tmp_path / "model.safetensors"), "mae-digiface")
    for name, tensor in model.encoder.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_model_that_generates_nothing_is_refused_as_a_source_of_images():
    with pytest.raises(ValueError, match="open-nsfw is no generator"):
        training.load_generators(["open-nsfw"], "config/models.yaml")


def test_the_figures_are_drawn(model, images, tmp_path):
    rows = train(model, images, tmp_path)
    training.draw_curves(rows, tmp_path / "curves.png")
    training.draw_reconstructions(model, images(range(2)), tmp_path / "reconstructions.png")
    assert (tmp_path / "training.csv").read_text().startswith("step,images,loss,held_out_loss")
    assert (tmp_path / "curves.png").exists() and (tmp_path / "reconstructions.png").exists()
