"""What an artefact follows from shows in itself: nothing stale counts as up to date."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from rosetta_steps.testing import Project

TABLE = "results/best_buddies/tiny/{}--{}.csv"


def write_photos(folder: Path, count: int = 6) -> None:
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def write_onnx(folder: Path, seed: int) -> None:
    """A convolution and a ReLU, the weights in a second file."""
    weights = np.random.default_rng(seed).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 64])
    maps = helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", 4, 32, 32])
    convolution = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **convolution),
        helper.make_node("Relu", ["y"], ["maps"], name="act"),
    ]
    graph = helper.make_graph(
        nodes, "net", [image], [maps], [numpy_helper.from_array(weights, "w")]
    )
    (folder / "net.onnx.data").unlink(missing_ok=True)  # else it would be appended to
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(
        model,
        folder / "net.onnx",
        save_as_external_data=True,
        location="net.onnx.data",
        size_threshold=0,
    )


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A project in which the best buddies of a generator with a network in ONNX were mined."""
    project = Project(tmp_path_factory.mktemp("mined"))
    write_photos(project.folder / "photos")
    write_onnx(project.folder, 0)
    entry = project.entry("onnx", {}, "net") | {"preprocessing": {"size": [64, 64]}}
    entry["preprocessing"] |= {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    project.add("net", entry | {"weights": {"path": "net.onnx"}})
    photos = {"photos": "photos", "size": [64, 64], "layers": "all", "models": ["one", "net"]}

    def sets(config):
        config["sample_sets"]["tiny"]["models"] = ["net"]
        config["sample_sets"]["photos"] = photos
        config["neighbours"] = 3

    project.config(sets)
    project.make(TABLE.format("generator", "net"))
    return project


@pytest.fixture
def project(mined, tmp_path):
    return mined.copy(tmp_path / "copy")


def killed(project, step: str, *targets: str) -> str:
    """Run the workflow; the first job of a step dies as by an out-of-memory killer."""
    shim = project.folder / "shim" / "python"
    shim.parent.mkdir(exist_ok=True)
    python = project.python
    shim.write_text(
        f'#!/bin/sh\n[ "$2" = rosetta_steps.{step} ] && kill -9 $$\nexec {python} "$@"\n'
    )
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    path = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [python, "-m", "snakemake", "--cores", "2", *targets],
        cwd=project.folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    shutil.rmtree(shim.parent)
    assert done.returncode != 0 and "Killed" in done.stdout + done.stderr, done.stderr
    return done.stderr


def contents(project) -> dict[str, bytes]:
    """Every file that was made, but plans, which say how much of the disk is free."""
    folder = project.folder / "results"
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in found.items() if not name.startswith("plans/")}


def other_weights(project):
    shutil.copy(project.folder / "two.safetensors", project.folder / "one.safetensors")


def another_onnx_data_file(project):
    before = (project.folder / "net.onnx").read_bytes()
    write_onnx(project.folder, 1)
    assert (project.folder / "net.onnx").read_bytes() == before


def another_photo(project):
    Image.new("RGB", (64, 64), "red").save(project.folder / "photos/3.png")


def another_entry(project):
    zoo = yaml.safe_load((project.folder / "config/models.yaml").read_text())
    zoo["net"]["preprocessing"]["mean"] = [0.4, 0.5, 0.6]
    project.write("config/models.yaml", zoo)


def another_revision(project):
    project.edit("rosetta_steps/storage/revisions.toml", '"moments" = 1', '"moments" = 2')


def config(**change):
    def apply(project):
        project.config(lambda c: [c[k].update(v) if k in SECTIONS else c.update({k: v})
                                  for k, v in change.items()])  # fmt: skip

    apply.__name__ = "-".join(change)
    return apply


SECTIONS = ("correlation", "activations", "clustering")
TINY = TABLE.format("generator", "net")


def another_seed(project):
    project.config(lambda c: c["sample_sets"]["tiny"].update(seed=1))


MAPS, MOMENTS = "results/activations/{}/{}.zarr.done.json", "results/moments/{}/{}.zarr.done.json"
TABLE_OF_R = "results/correlations/tiny/generator--net.zarr.done.json"


@pytest.mark.parametrize(
    ("change", "step", "target"),
    [
        (another_seed, "sampling", MAPS.format("tiny", "net")),
        (another_entry, "activations", MOMENTS.format("tiny", "net")),
        (another_onnx_data_file, "activations", MOMENTS.format("tiny", "net")),
        (another_revision, "activations", MOMENTS.format("tiny", "net")),
        (config(correlation={"precision": "float64"}), "correlation", TABLE_OF_R),
        (config(neighbours=2), "best_buddies", TINY),
        (another_photo, "image_folder", MAPS.format("photos", "one")),
        (other_weights, "activations", MOMENTS.format("photos", "one")),
    ],
)
def test_a_job_that_is_killed_after_a_change_leaves_nothing_stale(project, change, step, target):
    """The same command again gives, to the byte, what a run from nothing gives."""
    if "photos" in target:
        project.make(target)
    change(project)
    killed(project, step, target)
    project.make(target)
    after = contents(project)
    for folder in ("results", ".snakemake"):
        shutil.rmtree(project.folder / folder)
    project.make(target)
    fresh = contents(project)
    assert after.keys() >= fresh.keys()
    assert [name for name in fresh if after[name] != fresh[name]] == []
    again = project.snakemake("-n", target)
    assert "Nothing to be done" in again


def test_results_that_came_without_the_records_of_snakemake_are_held_against_the_config(project):
    shutil.rmtree(project.folder / ".snakemake")
    assert project.planned(TINY) == {}
    project.config(lambda c: c.update(neighbours=2))
    assert project.planned(TINY) == {"best_buddies": 1}
    mtime = project.snakemake("-n", TINY, "--rerun-triggers", "mtime")
    assert "rule best_buddies" in mtime


def test_an_artefact_that_was_lost_on_the_way_is_made_again(project):
    (project.folder / "results/moments/tiny/net.zarr.done.json").unlink()
    assert project.planned(TINY) == {"activations": 1, "correlation": 1, "best_buddies": 1}


def test_a_manifest_says_what_its_artefact_was_made_of(mined):
    table = json.loads((mined.folder / f"{TINY}.done.json").read_text())
    assert table["models"] == ["generator", "net"] and table["sample_set"] == "tiny"
    expected = {"samples on tiny", "correlations of generator and net on tiny"}
    for name in ("generator", "net"):
        expected |= {f"{of} of {name}" for of in ("entry", "weights")}
        expected |= {f"{of} of {name} on tiny" for of in ("activations", "moments")}
    assert set(table["made_of"]) == expected
