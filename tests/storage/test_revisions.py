"""Revisions: what counts as another step, who has to decide, and that everybody has."""

import pytest

from rosetta_steps.storage import revisions
from rosetta_steps.storage.revisions import advice, changes, code_alone, record
from rosetta_steps.zoo.loaders import LOADERS

STEP = '''"""A step."""
from rosetta_steps.sums import total


def r(x):
    """Equation 2."""
    return total(x)  # of all
'''


@pytest.fixture
def package(tmp_path):
    """A step, what it imports, templates beside and in a folder, and a module that no step runs."""
    (tmp_path / "step.py").write_text(STEP)
    (tmp_path / "step.html").write_text("<p>")
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums/page.css").write_text("p {}")
    (tmp_path / "sums.py").write_text("def total(x):\n    return sum(x)\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    file = tmp_path / "revisions.toml"
    file.write_text('[steps]\n"step" = 1\n"sums" = 4\n[code]\n')
    record(file=file, package=tmp_path)
    return tmp_path


def changed(package):
    return changes(package / "revisions.toml", package)


def test_somebody_has_decided_of_all_code_of_this_package():
    """If this fails, run one of the two commands that it prints, and commit the file."""
    found = changes()
    assert not found, advice(found)


def test_every_way_to_build_a_model_has_a_revision():
    for loader in LOADERS:
        assert revisions.revision(loader.module) >= 1


def test_words_and_layout_change_nothing(package):
    text = STEP.replace("A step.", "Another word.").replace("  # of all", "")
    (package / "step.py").write_text(text.replace("\n\n\n", "\n\n# A comment.\n\n"))
    assert changed(package) == {}


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("step.py", STEP.replace("total(x)  ", "-total(x)  "), {"step": ["step"]}),
        ("sums.py", "def total(x):\n    return 2 * sum(x)\n", {"sums": ["sums", "step"]}),
        ("step.html", "<div>", {"step": ["step"]}),
        ("sums/page.css", "b {}", {"sums": ["sums", "step"]}),
        ("other.py", "x = 2\n", {}),
    ],
)
def test_code_and_templates_are_asked_about_where_a_step_runs_them_the_nearest_step_first(
    package, file, text, expected
):
    (package / file).write_text(text)
    assert changed(package) == expected
    record(file=package / "revisions.toml", package=package)
    assert changed(package) == {}


def test_a_module_that_is_new_or_gone_is_asked_about(package):
    (package / "new.py").write_text("y = 1\n")
    (package / "sums.py").write_text("from rosetta_steps.new import y\n")
    assert changed(package) == {"new": ["sums", "step"], "sums": ["sums", "step"]}
    record(file=package / "revisions.toml", package=package)
    (package / "sums.py").write_text("y = 1\n")
    assert changed(package) == {"new": [], "sums": ["sums", "step"]}


def test_the_advice_is_two_commands(package):
    (package / "sums.py").write_text("y = 1\n")
    words = advice(changed(package))
    assert "sums" in words and "revisions raise sums step" in words
    assert words.endswith("revisions record")


def test_a_raised_revision_is_one_more_and_others_stay(package):
    assert record(["step"], package / "revisions.toml", package) == {"step": 2}
    text = (package / "revisions.toml").read_text()
    assert '"step" = 2' in text and '"sums" = 4' in text
    with pytest.raises(ValueError, match="no step 'stpe'. Steps: step, sums"):
        record(["stpe"], package / "revisions.toml", package)


def test_a_new_step_begins_with_revision_1(package):
    assert record(["other"], package / "revisions.toml", package) == {"other": 1}
    (package / "other.py").write_text("x = 3\n")
    assert changed(package) == {"other": ["other"]}


def test_the_advice_names_first_the_step_that_was_edited(package):
    (package / "sums.py").write_text("y = 1\n")
    assert "revisions raise sums step" in advice(changed(package))


def test_a_step_whose_module_was_moved_says_so(package):
    (package / "step.py").rename(package / "moved.py")
    with pytest.raises(ValueError, match="'step' of .* has no module: was it moved"):
        changed(package)


def test_code_alone_is_the_same_for_every_python():
    text = 'class A:\n    """Of two\n    lines."""\n\n    b = "# no comment"  # one\n'
    assert code_alone(text) == 'class A:\n    b = "# no comment"'
