"""Two dictionaries side by side: the command, its table and its figure."""

import pandas as pd
import pytest

from rosetta_steps import compare
from rosetta_steps.matching.identity import concept_ids
from rosetta_steps.matching.tables import DICTIONARY, write_table
from rosetta_steps.testing import made


def write(path, *channels, generator="gan"):
    """A dictionary of a concept a channel, with one model."""
    rows = [
        (rank, generator, "main.2", channel, "model", "layer", rank, 1 - rank / 10)
        for rank, channel in enumerate(channels, 1)
    ]
    table = pd.DataFrame(rows, columns=list(DICTIONARY)[:-1]).assign(concept_id=concept_ids)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(table, path, made("dictionary", generator, "model", of={}))


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command in a folder with the dictionaries of three sample sets."""
    monkeypatch.chdir(tmp_path)
    for name, channels in {"faces": (1, 2, 3), "others": (3, 1, 4), "none": ()}.items():
        write(tmp_path / f"results/dictionary/{name}/rosetta.csv", *channels)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["compare", *map(str, words)])
        compare.main()
        return capsys.readouterr().out

    return run


def test_two_sample_sets_are_compared_by_name_or_by_path(command, tmp_path):
    said = command("faces", "results/dictionary/others/rosetta.csv")
    assert (
        "Of 3 concepts of A, 2 are kept, 0 have other units, 0 are merged into another, 1" in said
    )
    assert "2 of 2 concepts that survive (100 %) have the same id" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]


@pytest.mark.parametrize("other", ["others", "none"])
def test_the_table_and_the_figure_are_written_even_where_nothing_survives(command, tmp_path, other):
    command("faces", other, "--names", "K = 5", "K = $8$", "--output", tmp_path / "out/x.csv")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"x.csv", "x.png", "x.pdf"}
    table = pd.read_csv(tmp_path / "out/x.csv", keep_default_na=False)
    assert (
        list(table["status"])
        == {"others": ["kept", "gone", "kept", "new"], "none": ["gone"] * 3}[other]
    )


def test_what_is_neither_a_table_nor_a_sample_set_is_named_with_those_there_are(command):
    with pytest.raises(ValueError, match=r"face is neither .* \(there are faces, none, others\)"):
        command("face", "others")


def test_dictionaries_of_two_generators_are_refused(command, tmp_path):
    write(tmp_path / "results/dictionary/eyes/rosetta.csv", 1, generator="cdcgan")
    with pytest.raises(ValueError, match="is of gan and .* of cdcgan: concepts are compared by"):
        command("faces", "eyes")
