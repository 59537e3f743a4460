"""A list of paths becomes one word that bash expands to the same list."""

import subprocess

import pytest

from rosetta_steps.workflow.words import braced


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["a/x.zarr"],
        ["m1", "m11"],
        ["r/a--b.csv", "r/a--c.csv", "r/a--a.csv"],
        ["a b/1.zarr", "a b/2.zarr"],
        ["x/a'b", "x/c"],
        ["x/{a,b}", "x/$c"],
        ["x/a,b", "x/c"],
        ["same", "same"],
    ],
)
def test_bash_expands_the_word_to_the_paths_in_their_order(paths):
    command = ["bash", "-c", f"printf '%s\\n' first {braced(paths)}"]
    assert subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[1:-1] == paths


def test_the_paths_of_a_thousand_models_fit_into_a_command():
    names = [f"vit_base_patch16_clip_224.{number:04}" for number in range(1000)]
    paths = [f"results/matched_maps/imagenet-validation/{name}.zarr" for name in names]
    assert len(" ".join(paths)) > 60_000 and len(braced(paths)) < 35_000
