"""Inversions in the workflow: what is planned, what is refused, and a whole tiny Table 1."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from rosetta_steps.testing import Project

TABLE = "results/inversions/table1.csv"
TINY = {"matches": "tiny", "targets": "targets"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A tiny zoo with an inversion of five held-out images; the timm models are its guides."""
    project = Project(tmp_path_factory.mktemp("inversions"))

    def change(config):
        generator = {"generator": "generator", "images": 5, "seed": 1}
        config["sample_sets"]["tiny"]["layers"] = "all"
        config["sample_sets"]["tiny"]["models"] = ["one", "two"]
        config["sample_sets"]["targets"] = generator
        config["inversion"] |= {"steps": 4, "frames": 2, "reconstruction": "l2"}
        config["inversion"] |= {"min_correlation": -1, "metrics": ["one"]}
        config["inversions"] = {"tiny": dict(TINY)}
        config["tables"] = {"table1": "tiny"}

    project.config(change)
    return project


def test_the_table_plans_an_arm_without_matches_one_a_model_and_one_with_all(project):
    jobs = project.planned(TABLE)
    assert jobs["invert"] == 4 and jobs["inversion_table"] == 1
    assert "concepts" not in jobs and "dictionary_page" not in jobs


def test_the_whole_table_is_made_and_a_second_run_has_nothing_to_do(project):
    project.make(TABLE)
    table = pd.read_csv(project.folder / TABLE)
    assert table["method"].tolist() == ["reconstruction", "one", "two", "all"]
    assert list(table.columns[:4]) == ["method", "psnr", "ssim", "perceptual_one"]
    assert (table["images"] == 5).all() and table["psnr"].notna().all()
    for arm in table["method"]:
        store = xr.open_zarr(project.folder / f"results/inversions/tiny/{arm}.zarr")
        assert store["image"].sizes == {"image": 5, "rgb": 3, "y": 16, "x": 16}
    assert "Nothing to be done" in project.make(TABLE)


def test_an_inverted_image_is_edited_and_drawn(project):
    edit = {"matches": "tiny", "source": "tiny/all", "images": [3, 1], "edit": "remove", "steps": 3}
    shown = {"edits": {"smile": edit}, "edit_figures": {"figure9": ["smile"]}}
    project.config(lambda config: config.update(shown))
    project.make("edits")
    edited = xr.open_zarr(project.folder / "results/edits/smile.zarr")
    inverted = xr.open_zarr(project.folder / "results/inversions/tiny/all.zarr")
    np.testing.assert_allclose(edited["before"], inverted["image"][[3, 1]], atol=1e-6)
    assert (project.folder / "results/figures/edits/figure9.png").is_file()
    project.config(lambda config: config.update(edits={}, edit_figures={}))


def test_inversions_makes_those_that_the_chosen_sample_set_guides(project):
    crossing = {"matches": "twin", "targets": "targets", "class": 1, "reconstruction": "none"}

    def add_twin(config):
        config["sample_sets"]["twin"] = config["sample_sets"]["tiny"] | {"generator": "classes"}
        config["inversions"]["crossing"] = crossing | {"arms": ["all"]}

    architecture = {"latent": 5, "classes": 3, "channels": [6, 4]}
    of_classes = project.entry("dcgan", architecture, "generator") | {"role": "generator"}
    project.add("classes", of_classes)
    project.config(add_twin)
    of_tiny = project.snakemake("-n", "inversions")
    of_twin = project.snakemake("-n", "inversions", "--config", "sample_set=twin")
    assert "figures/tiny/figure7.png" in of_tiny and "crossing" not in of_tiny
    assert "figures/crossing/figure6.png" in of_twin and "table1.csv" not in of_twin
    project.config(lambda config: config["inversions"].pop("crossing"))


def test_other_settings_rerun_the_arms_and_nothing_that_was_mined(project):
    project.config(lambda config: config["inversion"].update(steps=5))
    assert project.planned(TABLE) == {"invert": 4, "inversion_table": 1}
    project.config(lambda config: config["inversion"].update(steps=4))


def test_another_metric_measures_again_and_inverts_nothing(project):
    project.config(lambda config: config["inversion"].update(metrics=[]))
    assert project.planned(TABLE) == {"inversion_table": 1}
    project.config(lambda config: config["inversion"].update(metrics=["one"]))


def test_where_no_match_is_strong_enough_the_arm_is_empty_and_says_why(project):
    strict = {"min_correlation": 0.999, "arms": ["reconstruction", "one"]}
    project.config(lambda config: config["inversions"]["tiny"].update(strict))
    project.make(TABLE)
    table = pd.read_csv(project.folder / TABLE).set_index("method")
    assert pd.isna(table.loc["one", "psnr"]) and table.loc["one", "images"] == 0
    assert "the strongest has r =" in table.loc["one", "note"]
    assert table.loc["reconstruction", "images"] == 5


def test_everything_there_is_to_look_at_is_made_of_two_targets(project):
    def change(config):
        config["sample_sets"]["couple"] = config["sample_sets"]["targets"] | {"images": 2}
        alone = {"matches": "tiny", "targets": "couple", "arms": ["reconstruction", "all"]}
        config["inversions"], config["tables"] = {"alone": alone}, {"of-one": "alone"}

    project.config(change)
    project.make("inversions")
    with Image.open(project.folder / "results/figures/alone/animation.webp") as opened:
        assert opened.n_frames == 3
    for figure in ("loss", "figure7", "figure4"):
        assert (project.folder / f"results/figures/alone/{figure}.png").is_file()
    table = pd.read_csv(project.folder / "results/inversions/of-one.csv")
    assert table["psnr"].notna().all() and (table["images"] == 2).all()
    project.config(lambda config: config["inversions"].update(tiny=TINY))
    project.config(lambda config: config.update(tables={"table1": "tiny"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matches": "tny"}, "no sample set 'tny'.*Did you mean 'tiny'"),
        ({"matches": "targets"}, "targets is not mined"),
        ({"arms": ["al"]}, "inversion tiny: no arm 'al'.*Did you mean 'all'"),
        ({"similarity": "cos"}, "similarity"),
        ({"neighbours": 9}, "neighbours 9 asks for more than .* mined with K ="),
        ({"metrics": ["onne"]}, "no metric 'onne'.*Did you mean 'one'"),
    ],
)
def test_a_typo_is_refused_before_any_job(project, change, message):
    before = {}

    def set_wrong(config):
        before.update(config["inversions"]["tiny"])
        config["inversions"]["tiny"] = before | change

    project.config(set_wrong)
    try:
        with pytest.raises(AssertionError, match=f"(?s){message}"):
            project.snakemake("-n", TABLE)
    finally:
        project.config(lambda config: config["inversions"].update(tiny=before))
