"""Every kind of artefact x every step that reads it x every way to be damaged: none in silence.

The table is generated: READERS says what each step reads, DAMAGES in which ways it is damaged.
"""

import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.manifests import manifest_path
from rosetta_steps.testing import Project

MODELS = ["one", "two"]
EVERYONE = ["generator", *MODELS]


def step(module: str, *words) -> None:
    """Run a step as its command line does, in this process."""
    name = f"rosetta_steps.{module}"
    found = importlib.import_module(name)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{name}.__main__")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [module, *map(str, words)])
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        found.main()


def mine(folder: Path, seed: int) -> None:
    """All artefacts of a tiny generator and two tiny networks."""
    for name, of in (("x", seed), ("t", 9)):
        given = ("--generator", "generator", "--images", 6, "--seed", of)
        step("sampling", *given, "--output", folder / f"samples/{name}.zarr")
    for model in EVERYONE:
        maps = folder / f"activations/{model}.zarr"
        layers = ("--layers", "all") if model == "generator" else ("--patterns", "layer2*")
        given = ("--model", model, *layers, "--images-per-shard", 3, "--threads", 1)
        given += ("--samples", folder / "samples/x.zarr")
        step("activations", *given, "--moments", folder / f"moments/{model}.zarr", "--output", maps)
    for model in EVERYONE:
        pair = f"generator--{model}"
        step("correlation", *correlation(folder, model), folder / f"correlations/{pair}.zarr")
        step("best_buddies", *best_buddies(folder, model), folder / f"buddies/{pair}.csv")
    step("concepts", *concepts(folder), folder / "rosetta.csv")
    for arm, models in (("reconstruction", []), ("all", MODELS)):
        step("inversion.invert", *inversion(folder, models), folder / f"arms/{arm}.zarr")
    step("editing.edit", *edit(folder), folder / "edits/e.zarr")


def correlation(folder, model):
    words = ["--threads", 1]
    for side, name in (("a", "generator"), ("b", model)):
        words += [f"--{side}", folder / f"activations/{name}.zarr"]
        words += [f"--moments-{side}", folder / f"moments/{name}.zarr"]
    return [*words, "--output"]


def best_buddies(folder, model):
    table = folder / f"correlations/generator--{model}.zarr"
    return ["--correlations", table, "--neighbours", 3, "--output"]


def concepts(folder):
    return [
        *("--generator", "generator", "--models", *MODELS),
        *("--buddies", *(folder / f"buddies/generator--{model}.csv" for model in MODELS)),
        *("--self-buddies", folder / "buddies/generator--generator.csv"),
        *("--self-correlations", folder / "correlations/generator--generator.zarr"),
        "--output",
    ]


def shown(folder):
    return [
        *("--table", folder / "rosetta.csv", "--samples", folder / "samples/x.zarr"),
        *("--maps", *(folder / f"activations/{model}.zarr" for model in EVERYONE)),
        *("--moments", *(folder / f"moments/{model}.zarr" for model in EVERYONE)),
    ]


def guides(folder, models):
    if not models:
        return ["--generator", "generator"]
    return [
        *("--generator", "generator", "--models", *models, "--neighbours", 3),
        *("--buddies", *(folder / f"buddies/generator--{model}.csv" for model in models)),
        *("--moments", *(folder / f"moments/{name}.zarr" for name in ("generator", *models))),
        *("--min-correlation", -1),
    ]


def inversion(folder, models):
    settings = ["--reconstruction", "l2", "--steps", 2, "--frames", 2, "--threads", 1]
    targets = ["--targets", folder / "samples/t.zarr"]
    return [*guides(folder, models), *targets, *settings, "--output"]


def edit(folder):
    source = ["--source", folder / "samples/t.zarr", "--table", folder / "rosetta.csv"]
    settings = ["--edit", "remove", "--steps", 2, "--threads", 1]
    return [*guides(folder, MODELS), *source, *settings, "--output"]


def arms(folder):
    return [folder / f"arms/{arm}.zarr" for arm in ("reconstruction", "all")]


def comparison(folder):
    targets = ["--targets", folder / "samples/t.zarr"]
    return [*targets, "--arms", *arms(folder), "--kind", "comparison", "--output"]


def guidance(folder):
    targets = ["--targets", folder / "samples/t.zarr", "--arms", folder / "arms/all.zarr"]
    return [*guides(folder, MODELS), *targets, "--kind", "guidance", "--output"]


# Step, its command line but for the output, the output, and what it reads.
BUDDIES = [f"buddies/generator--{model}.csv" for model in MODELS]
MAPS = [f"activations/{model}.zarr" for model in EVERYONE]
MOMENTS = [f"moments/{model}.zarr" for model in EVERYONE]
SHOWN = ["rosetta.csv", "samples/x.zarr", *MAPS, *MOMENTS]
GUIDES = [*BUDDIES, *MOMENTS]
ARMS = ["arms/reconstruction.zarr", "arms/all.zarr"]
READERS = {
    "activations": (
        "activations",
        lambda f: ["--model", "one", "--samples", f / "samples/x.zarr", "--layers", "all",
                   "--moments", f.parent / "moments-of-one.zarr", "--output"],
        "one.zarr",
        ["samples/x.zarr"],
    ),
    "matched maps": (
        "matched_maps",
        lambda f: ["--maps", f / MAPS[1], "--buddies", f / BUDDIES[0], "--side", "b", "--output"],
        "one.zarr",
        [MAPS[1], BUDDIES[0]],
    ),
    "moments": (
        "moments", lambda f: ["--activations", f / MAPS[1], "--output"], "one.zarr", [MAPS[1]]
    ),
    "correlation": (
        "correlation", lambda f: correlation(f, "one"), "r.zarr", [*MAPS[:2], *MOMENTS[:2]]
    ),
    "best_buddies": (
        "best_buddies", lambda f: best_buddies(f, "one"), "b.csv",
        ["correlations/generator--one.zarr"],
    ),
    "concepts": (
        "concepts", concepts, "rosetta.csv",
        [*BUDDIES, "buddies/generator--generator.csv", "correlations/generator--generator.zarr"],
    ),
    "page": ("dictionary", lambda f: [*shown(f), "--output"], "index.html", SHOWN),
    "figures": ("figures", lambda f: [*shown(f), "--output-directory"], "figures", SHOWN),
    "visualise": (
        "inversion.visualise", lambda f: [*shown(f), "--steps", 1, "--output"], "v.zarr", SHOWN
    ),
    "invert": (
        "inversion.invert", lambda f: inversion(f, MODELS), "all.zarr",
        [*GUIDES, "samples/t.zarr"],
    ),
    "table": (
        "inversion.table",
        lambda f: ["--targets", f / "samples/t.zarr", "--arms", *arms(f), "--output"],
        "t.csv",
        ["samples/t.zarr", *ARMS],
    ),
    "comparison": ("inversion.figures.paper", comparison, "c.png", ["samples/t.zarr", *ARMS]),
    "guidance": (
        "inversion.figures.paper", guidance, "g.png", ["samples/t.zarr", ARMS[1], *GUIDES]
    ),
    "loss curves": (
        "inversion.figures.loss_curves", lambda f: ["--arms", *arms(f), "--output"], "l.png", ARMS
    ),
    "animation": (
        "inversion.figures.animation",
        lambda f: ["--inversion", f / ARMS[1], "--targets", f / "samples/t.zarr", "--output"],
        "a.webp",
        ["samples/t.zarr", ARMS[1]],
    ),
    "edit": (
        "editing.edit", edit, "e.zarr", [*BUDDIES, MOMENTS[0], "rosetta.csv", "samples/t.zarr"]
    ),
    "figure of edits": (
        "editing.figure", lambda f: ["--edits", f / "edits/e.zarr", "--output"], "e.png",
        ["edits/e.zarr"],
    ),
}  # fmt: skip


# --- damages --------------------------------------------------------------------------------------


def data_files(store: Path) -> list[Path]:
    """Files of values, the largest first: of the image or activation of a store."""
    files = [path for path in store.rglob("*") if path.is_file() and path.name != "zarr.json"]
    return sorted(files, key=lambda path: (-path.stat().st_size, str(path)))


def lost_manifest(artefact, other):
    manifest_path(artefact).unlink()


def cut_manifest(artefact, other):
    manifest = manifest_path(artefact)
    manifest.write_bytes(manifest.read_bytes()[:-40])


def manifest_of_another_form(artefact, other):
    manifest_path(artefact).write_text("[1, 2]\n")


def manifest_without_a_key(artefact, other):
    state = json.loads(manifest_path(artefact).read_text())
    del state["made_of"]
    manifest_path(artefact).write_text(json.dumps(state))


def lost_file(artefact, other):
    (data_files(artefact)[0] if artefact.is_dir() else artefact).unlink()


def cut_file(artefact, other):
    file = data_files(artefact)[0] if artefact.is_dir() else artefact
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped_bit(artefact, other):
    file = data_files(artefact)[0] if artefact.is_dir() else artefact
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def altered_metadata(artefact, other):
    metadata = artefact / "zarr.json"
    metadata.write_text(metadata.read_text() + " ")


def foreign_file(artefact, other):
    (artefact / "c.json").write_text("{}")


def swapped_files(artefact, other):
    files = data_files(artefact)
    pair = next(
        (a, b)
        for a in files
        for b in files
        if a.parts[:-4] == b.parts[:-4] and a.read_bytes() != b.read_bytes()
    )
    first, second = (path.read_bytes() for path in pair)
    pair[0].write_bytes(second)
    pair[1].write_bytes(first)


def of_other_samples(artefact, other):
    """The whole artefact of another seed, its manifest with it."""
    remove(artefact)
    put(other, artefact)


def under_another_name(artefact, other):
    """A whole artefact of the same folder in its place, with its manifest."""
    sibling = sibling_of(artefact)
    remove(artefact)
    put(sibling, artefact)


def sibling_of(artefact: Path) -> Path | None:
    siblings = sorted(path for path in artefact.parent.iterdir() if path.suffix == artefact.suffix)
    return next((path for path in siblings if path != artefact), None)


def header_only(artefact, other):
    artefact.write_text(artefact.read_text().splitlines(keepends=True)[0])


def a_row_twice(artefact, other):
    lines = artefact.read_text().splitlines(keepends=True)
    artefact.write_text("".join([*lines, lines[-1]]))


def a_row_less(artefact, other):
    artefact.write_text("".join(artefact.read_text().splitlines(keepends=True)[:-1]))


def another_separator(artefact, other):
    artefact.write_text(artefact.read_text().replace(",", ";"))


def a_correlation_of_99(artefact, other):
    lines = artefact.read_text().splitlines()
    cells = lines[1].split(",")
    cells[lines[0].split(",").index("correlation")] = "99"
    artefact.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


def put(source: Path, target: Path) -> None:
    copy = shutil.copytree if source.is_dir() else shutil.copy
    copy(source, target)
    shutil.copy(manifest_path(source), manifest_path(target))


def remove(artefact: Path) -> None:
    shutil.rmtree(artefact) if artefact.is_dir() else artefact.unlink(missing_ok=True)
    manifest_path(artefact).unlink(missing_ok=True)


OF_ALL = [
    lost_manifest, cut_manifest, manifest_of_another_form, manifest_without_a_key, lost_file,
    cut_file, flipped_bit, of_other_samples, under_another_name,
]  # fmt: skip
OF_STORES = [altered_metadata, foreign_file]
OF_MAPS = [altered_metadata, swapped_files]
OF_TABLES = [header_only, a_row_twice, a_row_less, another_separator, a_correlation_of_99]


def damages_of(artefact: str) -> list:
    if artefact.endswith(".csv"):
        return OF_ALL + OF_TABLES
    return OF_ALL + (OF_MAPS if artefact.startswith("activations/") else OF_STORES)


CASES = [
    pytest.param(reader, artefact, id=f"{reader}-{artefact}")
    for reader, (_, _, _, reads) in READERS.items()
    for artefact in reads
]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Two folders with all artefacts, which differ in the seed of the mined images."""
    folder = tmp_path_factory.mktemp("worlds")
    before = pytest.MonkeyPatch()
    before.chdir(folder)
    torch.set_num_threads(1)
    Project(folder)
    for name, seed in (("world", 0), ("other", 5)):
        mine(folder / name, seed)
    yield folder / "world", folder / "other"
    before.undo()


def test_every_step_reads_what_is_whole(worlds, tmp_path):
    """So that a refusal below says something."""
    for reader, (module, command, output, _) in READERS.items():
        step(module, *command(worlds[0]), tmp_path / reader / output)


def test_all_stores_that_are_lost_are_named_and_made_again_at_once(worlds, tmp_path):
    """Else a user who freed their disk by hand runs the same command once for each of them."""
    stores = [worlds[0] / f"activations/{model}.zarr" for model in ("generator", "one")]
    for store in stores:
        put(store, tmp_path / store.name)
        shutil.rmtree(store)
    try:
        with pytest.raises(UserError, match="generator.zarr is damaged.*\n.*one.zarr is damaged"):
            module, command, output, _ = READERS["correlation"]
            step(module, *command(worlds[0]), tmp_path / output)
        assert not any(manifest_path(store).exists() for store in stores)
    finally:
        for store in stores:
            remove(store)
            put(tmp_path / store.name, store)


ONE_GUIDED_ARM = ("table", "comparison", "loss curves", "animation")
# Of these pairs another artefact of the same kind is as good: nothing else that is read says which.
MAY_BE_ANOTHER = {
    ("activations", "samples/x.zarr", of_other_samples),
    ("moments", "activations/one.zarr", of_other_samples),
    ("best_buddies", "correlations/generator--one.zarr", of_other_samples),
    ("figure of edits", "edits/e.zarr", of_other_samples),
    *((reader, "arms/all.zarr", of_other_samples) for reader in ONE_GUIDED_ARM),
}


@pytest.mark.parametrize(("reader", "artefact"), CASES)
def test_no_damage_passes_in_silence(worlds, tmp_path, reader, artefact):
    world, other = worlds
    module, command, output, _ = READERS[reader]
    kept = tmp_path / "kept" / Path(artefact).name
    kept.parent.mkdir()
    put(world / artefact, kept)
    passed = []
    for damage in damages_of(artefact):
        if (reader, artefact, damage) in MAY_BE_ANOTHER:
            continue
        if damage is of_other_samples and artefact in ("samples/t.zarr", *ARMS[:1]):
            continue  # the same in both worlds
        if damage is under_another_name and sibling_of(world / artefact) is None:
            continue  # it is the only one of its kind
        try:
            damage(world / artefact, other / artefact)
            step(module, *command(world), tmp_path / "out" / output)
            passed.append(damage.__name__)
        except UserError:
            pass
        finally:
            remove(world / artefact)
            put(kept, world / artefact)
            (world / artefact).with_name(Path(artefact).name + ".partial.json").unlink(
                missing_ok=True
            )
    assert passed == []
