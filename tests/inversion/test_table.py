"""Table 1: metrics, means, intervals and paired tests, on small seeded images."""

import sys

import jinja2
import numpy as np
import pandas as pd
import pytest
import timm
import torch
import xarray as xr
import yaml
from conftest import ROOT, plain_settings
from docutils.core import publish_doctree
from safetensors.torch import save_file
from scipy import stats
from scipy.ndimage import correlate1d

from rosetta_steps.inversion import metrics as known
from rosetta_steps.inversion import table as step
from rosetta_steps.inversion.arms import other_settings, read_arm, read_arms, why_empty, write_empty
from rosetta_steps.inversion.comparison import compare
from rosetta_steps.inversion.inverter import dataset_of
from rosetta_steps.inversion.metrics import Metric, networks_among, psnr, ssim
from rosetta_steps.inversion.objective import TERMS
from rosetta_steps.inversion.paired import mean_and_interval, paired_tests
from rosetta_steps.inversion.perceptual import metrics_of
from rosetta_steps.inversion.printing import comparisons_in_words, latex, markdown
from rosetta_steps.inversion.targets import resized
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import check_dataset, write_dataset
from rosetta_steps.storage.manifests import ingredients, manifest_path
from rosetta_steps.testing import made

METRICS = metrics_of([], "models.yaml", 32, "cpu")
SIZE = (14, 12)


def pictures(seed, images, size=SIZE):
    """Smooth images (image, rgb, y, x) in [0, 1]."""
    noise = np.random.default_rng(seed).normal(0, 1, (images, 3, *size))
    for axis in (2, 3):
        noise = correlate1d(noise, np.ones(5) / 5, axis)
    return np.clip(0.5 + noise, 0, 1).astype(np.float32)


def near(images, seed, deviation):
    noise = np.random.default_rng(seed).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


def write_targets(folder, images, **more):
    samples = {"image": (("image", "rgb", "y", "x"), images)}
    samples |= {name: ("image", values) for name, values in more.items()}
    write_dataset(xr.Dataset(samples), folder / "targets.zarr", made("samples", of={}))
    return folder / "targets.zarr"


def arm_of(folder, name):
    return made(f"arm {name}", of=ingredients([folder / "targets.zarr"]))


def write_arm(folder, name, images, failed=(), starts=2, **attrs):
    """A store as rosetta_steps.inversion.invert writes it; every start fails of `failed`."""
    count, settings = len(images), plain_settings(starts=starts, steps=3)
    loss = np.random.default_rng(count).uniform(1, 2, (count, starts, 4, len(TERMS)))
    step_failed = np.full((count, starts), -1)
    start = np.arange(count) % starts
    for image in failed:
        loss[image, :, 1:], step_failed[image], start[image] = np.nan, 1, 0
    found = {
        "latent": np.zeros((count, 5), np.float32),
        "image": images,
        "loss": loss.astype(np.float32),
        "start": start,
        "failed": step_failed,
        "frame": np.zeros((count, 1, 5), np.float32),
    }
    known = {"generator": "tiny", "generator_digest": "0", "targets": str(folder / "targets.zarr")}
    attrs = settings.attrs() | known | attrs
    dataset = dataset_of(found, None, settings).assign_attrs(attrs)
    write_dataset(dataset, folder / f"{name}.zarr", arm_of(folder, name))
    return folder / f"{name}.zarr"


@pytest.fixture
def faces(tmp_path):
    """Six targets, and two arms that come near them, `all` nearer."""
    images = pictures(0, 6)
    targets = write_targets(tmp_path, images)
    arms = {"reconstruction": near(images, 1, 0.1), "all": near(images, 2, 0.07)}
    return targets, [write_arm(tmp_path, *arm) for arm in arms.items()], images, arms


def brute_psnr(a, b):
    errors = (a.astype(np.float64) - b.astype(np.float64)) ** 2
    return np.array([10 * np.log10(1 / error.mean()) for error in errors])


def brute_ssim(a, b):
    """Wang et al. 2004, eq. 13, averaged over places that the window fits into, and colours."""
    at = np.arange(-5, 6)
    window = np.exp(-(at**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(x):
        x = correlate1d(correlate1d(x, window, 2), window, 3)
        return x[:, :, 5:-5, 5:-5]

    a, b = a.astype(np.float64), b.astype(np.float64)
    var_a, var_b = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
    both = mean(a * b) - mean(a) * mean(b)
    one, two = 0.01**2, 0.03**2
    quality = (2 * mean(a) * mean(b) + one) * (2 * both + two)
    quality /= (mean(a) ** 2 + mean(b) ** 2 + one) * (var_a + var_b + two)
    return quality.mean((1, 2, 3))


@pytest.mark.parametrize("size", [(64, 64), (11, 40), (37, 20)])
@pytest.mark.parametrize("deviation", [0.003, 0.1, 0.5])
def test_psnr_and_ssim_are_those_of_their_formulas_in_float64(size, deviation):
    a = pictures(0, 3, size)
    b = near(a, 1, deviation)
    given = torch.from_numpy(b), torch.from_numpy(a)
    np.testing.assert_allclose(psnr(*given), brute_psnr(a, b), rtol=1e-6)
    np.testing.assert_allclose(ssim(*given), brute_ssim(a, b), atol=2e-5)


def test_an_image_is_its_own_best_inversion():
    images = torch.from_numpy(pictures(0, 2))
    assert torch.isinf(psnr(images, images)).all()
    np.testing.assert_allclose(ssim(images, images), 1, atol=1e-6)


def test_images_smaller_than_the_window_of_ssim_are_refused():
    images = torch.rand(1, 3, 16, 8)
    with pytest.raises(ValueError, match="16 x 8 pixels have no SSIM: its window is 11 x 11"):
        ssim(images, images)


def test_a_perceptual_column_is_named_after_its_network_and_never_lpips(tmp_path, faces):
    torch.manual_seed(0)
    save_file(
        timm.create_model("test_resnet", pretrained=False).state_dict(), tmp_path / "w.safetensors"
    )
    entry = {
        "role": "model",
        "loader": "timm",
        "architecture": "test_resnet",
        "weights": {"path": str(tmp_path / "w.safetensors")},
        "source": "random weights",
        "licence": "MIT",
    }
    zoo = tmp_path / "models.yaml"
    zoo.write_text(yaml.safe_dump({"one": entry}))
    metrics = metrics_of(["one", "one"], str(zoo), 32, "cpu")
    assert [metric.label for metric in metrics] == ["psnr", "ssim", "perceptual_one"]
    targets, arms, images, _ = faces
    write_arm(tmp_path, "exact", images)
    found, _, tests = compare(
        targets, [*arms, tmp_path / "exact.zarr"], metrics, "reconstruction", "cpu"
    )
    distance = found.set_index("method")["perceptual_one"]
    assert distance["exact"] == 0 < distance["all"] < distance["reconstruction"]
    nearer = tests.set_index(["method", "metric"])["better"]
    assert nearer["exact", "perceptual_one"] == 6  # of a distance, less is better
    with pytest.raises(ValueError, match="no model 'on'"):
        metrics_of(["on"], str(zoo), 32, "cpu")


def test_a_metric_of_ones_own_is_one_entry_that_a_config_names(faces, monkeypatch):
    def largest_error(images, targets):
        return (images - targets).abs().amax((1, 2, 3))

    own = Metric("largest", "largest error", False, largest_error, digits=3)
    monkeypatch.setitem(known.METRICS, "largest", own)
    assert networks_among(["largest", "lpips", "one"]) == ["one"]
    metrics = metrics_of(["largest"], "models.yaml", 32, "cpu")
    targets, arms, images, pictured = faces
    table, _, tests = compare(targets, arms, metrics, "reconstruction", "cpu")
    expected = np.abs(pictured["all"] - images).max((1, 2, 3)).mean()
    assert table.set_index("method")["largest"]["all"] == pytest.approx(expected, rel=1e-6)
    assert "largest error ↓" in markdown(table, metrics) and f"{expected:.3f} " in latex(
        table, metrics
    )
    assert "all, largest: " in comparisons_in_words(tests, metrics, "reconstruction")


def test_the_table_has_the_mean_of_every_arm_in_the_order_given(faces):
    targets, arms, images, pictured = faces
    table, values, _ = compare(targets, arms, METRICS, "reconstruction", "cpu")
    assert list(table) == ["method", "psnr", "ssim", "images", "note"]
    assert list(table["method"]) == ["reconstruction", "all"]
    assert list(table["images"]) == [6, 6] and not table["note"].any()
    for row in table.itertuples():
        assert row.psnr == pytest.approx(brute_psnr(pictured[row.method], images).mean(), rel=1e-6)
        assert row.ssim == pytest.approx(brute_ssim(pictured[row.method], images).mean(), abs=2e-5)
    assert list(values["image"]) == sorted([*range(6)] * 2)
    one = values[values["method"] == "all"]
    np.testing.assert_allclose(one["psnr"], brute_psnr(pictured["all"], images), rtol=1e-6)


def test_every_image_has_the_last_loss_of_its_kept_start(faces):
    targets, arms, *_ = faces
    _, values, _ = compare(targets, arms, METRICS, "reconstruction", "cpu")
    store = xr.open_zarr(arms[0])
    for row in values[values["method"] == "reconstruction"].itertuples():
        kept = store["loss"][row.image, row.start, -1]
        assert row.start == row.image % 2
        assert row.loss_total == kept.sel(term="total")
        assert row.loss_regulariser == kept.sel(term="regulariser")


def test_images_keep_the_files_and_labels_of_the_targets(tmp_path):
    images = pictures(0, 2)
    names = np.array(["a.png", "b, c.png"], dtype=np.dtypes.StringDType())
    targets = write_targets(tmp_path, images, file=names, label=[7, 3])
    arm = write_arm(tmp_path, "reconstruction", near(images, 1, 0.1))
    _, values, _ = compare(targets, [arm], METRICS, "reconstruction", "cpu")
    assert list(values)[:4] == ["image", "file", "label", "method"]
    assert list(values["file"]) == ["a.png", "b, c.png"] and list(values["label"]) == [7, 3]


@pytest.mark.parametrize("size", [(28, 24), (9, 30)])
def test_targets_are_resized_to_the_images_of_the_generator(tmp_path, size):
    images = pictures(0, 10, size)  # more than one block
    small = resized(torch.from_numpy(images), SIZE).numpy()
    assert small.shape[2:] == SIZE and small.min() >= 0 and small.max() <= 1
    targets = write_targets(tmp_path, images)
    arm = near(small, 1, 0.1)
    write_arm(tmp_path, "reconstruction", arm)
    table, *_ = compare(
        targets, [tmp_path / "reconstruction.zarr"], METRICS, "reconstruction", "cpu"
    )
    assert table["psnr"][0] == pytest.approx(brute_psnr(arm, small).mean(), rel=1e-6)


def test_an_image_on_which_one_arm_failed_counts_in_no_mean(tmp_path, faces, capsys):
    targets, arms, images, pictured = faces
    write_arm(tmp_path, "all", pictured["all"], failed=[1, 4])
    table, values, tests = compare(targets, arms, METRICS, "reconstruction", "cpu")
    kept = [0, 2, 3, 5]
    assert list(table["images"]) == [4, 4] and set(tests["images"]) == {4}
    expected = brute_psnr(pictured["reconstruction"][kept], images[kept]).mean()
    assert table["psnr"][0] == pytest.approx(expected, rel=1e-6)
    said = "the loss was not finite on image 1 (step 1), 4 (step 1); left out of every mean"
    assert list(table["note"]) == ["", said]
    assert f"all: {said}." in capsys.readouterr().err
    failed = values[values["failed"] >= 0]
    assert set(failed["method"]) == {"all"} and failed["psnr"].isna().all()
    assert set(values[~values["counted"]]["image"]) == {1, 4}


def test_arms_that_fail_on_every_image_between_them_cannot_be_compared(tmp_path, faces):
    targets, arms, _, pictured = faces
    write_arm(tmp_path, "reconstruction", pictured["reconstruction"], failed=[0, 1, 2])
    write_arm(tmp_path, "all", pictured["all"], failed=[3, 4, 5])
    with pytest.raises(ValueError, match="on every image some arm failed"):
        compare(targets, arms, METRICS, "reconstruction", "cpu")


def test_an_empty_arm_is_a_row_without_values_that_says_why(tmp_path, faces, capsys):
    targets, arms, *_ = faces
    empty = tmp_path / "open-nsfw.zarr"
    write_empty(empty, "no best buddies with r of at least 0.9.", arm_of(empty.parent, "empty"))
    assert why_empty(empty) and not why_empty(arms[0])
    given = [arms[0], empty, arms[1]]
    table, values, tests = compare(targets, given, METRICS, "reconstruction", "cpu")
    assert list(table["method"]) == ["reconstruction", "open-nsfw", "all"]
    assert list(table["images"]) == [6, 0, 6]
    row = table.set_index("method").loc["open-nsfw"]
    assert row[["psnr", "ssim"]].isna().all() and "no best buddies" in row["note"]
    assert set(values["method"]) == {"reconstruction", "all"}
    rows = tests[tests["method"] == "open-nsfw"]
    assert rows["mean"].isna().all() and rows["p_t"].isna().all() and rows["better"].isna().all()
    assert "open-nsfw: no best buddies with r of at least 0.9.\n" in capsys.readouterr().err
    assert "open-nsfw" in markdown(table, METRICS)


def test_an_empty_arm_takes_the_place_of_a_store_and_gives_it_back(tmp_path, faces):
    _, arms, _, pictured = faces
    write_empty(arms[1], "none", arm_of(arms[1].parent, "all"))
    assert not arms[1].exists() and check_dataset(arms[1]) == arms[1]
    write_arm(tmp_path, "all", pictured["all"])
    assert not why_empty(arms[1])


def test_intervals_and_tests_are_those_of_scipy(faces):
    targets, arms, *_ = faces
    _, values, tests = compare(targets, arms, METRICS, "reconstruction", "cpu")
    for metric in ("psnr", "ssim"):
        base, guided = (
            values[values["method"] == name][metric].to_numpy()
            for name in ("reconstruction", "all")
        )
        row = tests[(tests["method"] == "all") & (tests["metric"] == metric)].iloc[0]
        own = stats.ttest_1samp(guided, 0).confidence_interval(0.95)
        np.testing.assert_allclose([row["mean_low"], row["mean_high"]], own)
        paired = stats.ttest_rel(guided, base)
        interval = paired.confidence_interval(0.95)
        np.testing.assert_allclose([row["difference_low"], row["difference_high"]], interval)
        assert row["difference"] == pytest.approx(guided.mean() - base.mean())
        assert row["p_t"] == pytest.approx(paired.pvalue)
        assert row["p_wilcoxon"] == pytest.approx(2 / 2**6)  # all six are better: two of 64 signs
        assert row["better"] == 6 == row["images"]
    of_base = tests[tests["method"] == "reconstruction"]
    assert of_base["mean_low"].notna().all() and of_base["difference"].isna().all()


def test_four_numbers_worked_by_hand():
    # mean 2.5, deviation 1.29099, t(0.975, 3) = 3.18245: half the interval is 2.05426.
    found = mean_and_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(found, [2.5, 0.44574, 4.55426], atol=5e-6)
    # All positive: 2 of 16 signs are as extreme.
    assert paired_tests(np.array([1.0, 2.0, 3.0, 4.0]))[1] == pytest.approx(0.125)


def test_fewer_than_two_images_have_a_mean_at_most():
    np.testing.assert_equal(mean_and_interval(np.array([3.0])), (3.0, np.nan, np.nan))
    np.testing.assert_equal(mean_and_interval(np.array([])), (np.nan, np.nan, np.nan))
    np.testing.assert_equal(paired_tests(np.array([1.0])), (np.nan, np.nan))


def test_arms_that_do_not_differ_have_no_p():
    np.testing.assert_equal(paired_tests(np.zeros(5)), (np.nan, np.nan))
    np.testing.assert_equal(mean_and_interval(np.zeros(5)), (0, 0, 0))


def test_exact_inversions_have_an_infinite_psnr_and_no_test(tmp_path, faces):
    targets, arms, images, _ = faces
    exact = write_arm(tmp_path, "exact", images)
    table, _, tests = compare(targets, [*arms, exact], METRICS, "reconstruction", "cpu")
    assert table["psnr"][2] == np.inf and table["ssim"][2] == pytest.approx(1)
    row = tests[(tests["method"] == "exact") & (tests["metric"] == "psnr")].iloc[0]
    assert np.isnan(row["p_t"]) and row["better"] == 6


def refused(what, targets, arms, match, error=ValueError):
    with pytest.raises(error, match=match):
        compare(targets, arms, METRICS, what, "cpu")


def test_arms_that_cannot_be_compared_are_refused(tmp_path, faces):
    targets, arms, images, pictured = faces
    base = arms[0]

    def other(name="other", made=pictured["all"], **attrs):
        return write_arm(tmp_path, name, made, **attrs)

    write_targets(tmp_path / "b", near(images, 3, 0.1))
    of_others = write_arm(tmp_path / "b", "other", pictured["all"])
    refused("reconstruction", targets, [base, of_others], "other.zarr .* another version of sampl")
    refused("reconstruction", targets, [base, other(made=images[:4])], "other has 4 images.* has 6")
    wide = pictures(0, 6, (14, 13))
    refused("reconstruction", targets, [base, other(made=wide)], "tion: 14 x 12 and other: 14 x 13")
    refused("reconstruction", targets, [base, other(generator_digest="1")], "of one generator")
    refused("reconstruction", targets, [base, base], "2 arms are called reconstruction")
    refused("recon", targets, arms, "no arm 'recon' to compare with.*reconstruction")
    refused("reconstruction", targets, [base, targets], "holds no inversions: it has no loss")
    missing = tmp_path / "absent.zarr"
    refused("reconstruction", targets, [missing], "is not finished", StoreError)
    write_empty(missing, "no matches", arm_of(missing.parent, "absent"))
    refused("absent", targets, [missing], r"every arm is empty.*\(absent: no matches\)")


def test_the_same_targets_may_be_named_in_another_way(tmp_path, faces, monkeypatch):
    _, arms, *_ = faces
    monkeypatch.chdir(tmp_path)
    assert len(read_arms(arms, "targets.zarr")) == 2


def test_settings_in_which_arms_differ_are_said(tmp_path, faces, capsys):
    targets, arms, _, pictured = faces
    compare(targets, arms, METRICS, "reconstruction", "cpu")
    assert "differ" not in capsys.readouterr().err
    other = write_arm(tmp_path, "long", pictured["all"], steps=500)
    compare(targets, [arms[0], other], METRICS, "reconstruction", "cpu")
    assert "steps: 3 (reconstruction), 500 (long)" in capsys.readouterr().err


def test_matches_of_guided_arms_are_compared_by_k_and_threshold_alone(tmp_path, faces):
    images = faces[3]["all"]
    own = {"pairs": 5, "neighbours": 1, "min_correlation": 0.3}
    given = {
        "alone": {"pairs": 0, "neighbours": 9, "min_correlation": 0.9, "threads": 1},
        "each": own | {"matches_digest": "a", "threads": 2, "at_once": 4},
        "all": own | {"matches_digest": "b", "threads": 4, "at_once": 8},
        "more": own | {"neighbours": 3},
    }
    stores = [write_arm(tmp_path, name, images, **attrs) for name, attrs in given.items()]
    arms = [read_arm(store) for store in stores]
    assert not other_settings(arms[:3])
    assert other_settings(arms) == ["neighbours: 1 (each), 1 (all), 3 (more)"]


def command_line(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["table", *map(str, words)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    step.main()


def test_the_step_writes_three_tables_and_prints_them_and_again_the_same(
    tmp_path, faces, monkeypatch, capsys
):
    targets, arms, *_ = faces
    output = tmp_path / "out/table1.csv"
    command = ["--targets", targets, "--arms", *arms, "--output", output]
    command_line(monkeypatch, *command)
    files = ["table1-images.csv", "table1-tests.csv", "table1.csv", "table1.csv.done.json"]
    assert sorted(path.name for path in output.parent.iterdir()) == files
    first = [(output.parent / name).read_bytes() for name in files]
    command_line(monkeypatch, *command)
    assert first == [(output.parent / name).read_bytes() for name in files]
    table = pd.read_csv(output)
    assert list(table) == ["method", "psnr", "ssim", "images", "note"]
    values = pd.read_csv(output.parent / files[0])
    means = values.groupby("method", sort=False)["psnr"].mean()
    np.testing.assert_allclose(table["psnr"], means, atol=6e-4)
    assert pd.read_csv(output.parent / files[1])["better"].tolist()[2:] == [6, 6]
    printed = capsys.readouterr().out
    assert f"| reconstruction |  {table['psnr'][0]:.2f} |" in printed
    assert "all, psnr: +" in printed and "better on 6 of 6 images" in printed


def test_an_error_leaves_no_table(tmp_path, faces, monkeypatch):
    targets, arms, *_ = faces
    manifest_path(arms[1]).unlink()
    output = tmp_path / "out/table1.csv"
    with pytest.raises(ValueError, match="not finished"):
        command_line(monkeypatch, "--targets", targets, "--arms", *arms, "--output", output)
    assert not output.parent.exists()


def test_the_printed_table_can_be_pasted():
    table = pd.DataFrame(
        {
            "method": ["reconstruction", "mae_face", "all"],
            "psnr": [13.994, np.nan, 15.42],
            "ssim": [0.3401, np.nan, 0.365],
            "images": [5000, 0, 5000],
            "note": ["", "no matches", ""],
        }
    )
    assert markdown(table, METRICS).splitlines() == [
        "| method         | PSNR ↑ | SSIM ↑ | images |",
        "| -------------- | -----: | -----: | -----: |",
        "| reconstruction |  13.99 | 0.3401 |   5000 |",
        "| mae_face       |      - |      - |      0 |",
        "| all            |  15.42 | 0.3650 |   5000 |",
    ]
    assert latex(table, METRICS).splitlines() == [
        r" & PSNR $\uparrow$ & SSIM $\uparrow$ & images \\",
        r"reconstruction & 13.99 & 0.3401 & 5000 \\",
        r"mae\_face & - & - & 0 \\",
        r"all & 15.42 & 0.3650 & 5000 \\",
    ]


def test_a_comparison_in_words_has_no_line_for_the_baseline(faces):
    targets, arms, *_ = faces
    *_, tests = compare(targets, arms, METRICS, "reconstruction", "cpu")
    lines = comparisons_in_words(tests, METRICS, "reconstruction").splitlines()
    assert len(lines) == 3 and lines[0] == "Against reconstruction, with 95 % intervals:"
    assert lines[1].startswith("all, psnr: +") and lines[2].startswith("all, ssim: +")
    alone = tests[tests["method"] == "reconstruction"]
    assert comparisons_in_words(alone, METRICS, "reconstruction").startswith("There is no arm")


@pytest.mark.parametrize("origin", ["generator", "photos", "pictures"])
def test_the_caption_says_which_targets_are_the_easy_case(origin):
    config = {
        "sample_sets": {
            "faces": {"generator": "dcgan"},
            "targets": {origin: "name"},
        },
        "inversion": {"reconstruction": "l2", "perceptual_network": "lite0"},
        "inversions": {
            "tried": {"matches": "faces", "targets": "targets", "reconstruction": "perceptual"}
        },
        "tables": {"table1": "tried"},
    }
    text = (ROOT / "workflow/report/table1.rst").read_text()
    snakemake = {"config": config, "wildcards": {"table": "table1"}}
    text = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(snakemake=snakemake)
    settings = {"halt_level": 2, "report_level": 2}  # a warning is an error
    shown = publish_doctree(text, settings_overrides=settings)
    assert len(shown) == 4  # paragraphs
    words = " ".join(shown.astext().split())
    own = origin == "generator"
    assert ("easy case" in words) == own and ("hard case" in words) != own
    assert "through dcgan" in words and "(perceptual of lite0)" in words
    assert "table1-images.csv" in words
