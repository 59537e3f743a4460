"""Vocabularies and labels of one's own: what is read, and how a file that is none is refused."""

import pytest

from rosetta_steps.labelling.own import read_own_labels
from rosetta_steps.labelling.vocabulary import LONGEST, read_vocabulary


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "file.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(read, path):
    with pytest.raises(ValueError) as refused:
        read(path)
    said = str(refused.value)
    assert said.startswith(str(path)) and "\n" not in said and len(said) < 400, said
    return said.removeprefix(str(path))


def test_a_vocabulary_has_a_word_or_phrase_a_line(written):
    path = written("\ufeff# mine\n dog \n\nhot dog\r\n<b>été</b>\nC#\n")
    assert read_vocabulary(path) == ["dog", "hot dog", "<b>été</b>", "C#"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", " has no words. Write one a line; lines with # are comments."),
        ("# a\n\n#b", " has no words."),
        (b"dog\ncat\x00\n", ", line 2: this is no text in UTF-8. Give a text file with words"),
        (b"\x89PNG\r\n\x1a\n\x00", ", line 1: this is no text in UTF-8."),
        (b"dog\ncaf\xe9\n", ", line 2: this is no text in UTF-8."),
        ("dog\ncat\n# x\ndog \n", ", line 4: 'dog' is in line 1 too. Take one out."),
        ("dog\n" + "x" * (LONGEST + 1), f", line 2: 'xxxx{'x' * 36}...' has {LONGEST + 1} char"),
        ("dog\nca\x1bt", ", line 2: 'ca\\x1bt' has the character '\\x1b'. Take it out."),
        ("a\tb", ", line 1: 'a\\tb' has the character '\\t'. Take it out."),
    ],
)
def test_a_vocabulary_that_is_none_is_refused_with_its_line(written, content, said):
    assert refusal(read_vocabulary, written(content)).startswith(said)


@pytest.mark.parametrize("read", [read_vocabulary, read_own_labels])
def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path, read):
    for path in (tmp_path / "none.txt", tmp_path):
        assert "does not exist, or is no file. Give a text file with" in refusal(read, path)


CSV = 'image,"hair, dark",<b>glasses</b>\n1,0.5,0\n0,-1e3,1\n'


def test_labels_are_put_in_the_order_of_the_images(written):
    own = read_own_labels(written(CSV))
    assert own.labels == ["hair, dark", "<b>glasses</b>"]
    assert own.of_images(2) == [[-1000, 1], [0.5, 0]]


def test_images_of_files_are_named_by_path_or_by_a_name_that_no_other_has(written):
    files = ["a/1.png", "b/1.png", "b/2.png"]
    own = read_own_labels(written("file,x\nb/1.png,1\n2.png,2\na/1.png,0\n"))
    assert own.of_images(3, files) == [[0], [1], [2]]
    numbered = read_own_labels(written("file,x\n0,5\n1,6\n2,7\n"))
    assert numbered.of_images(3, files) == [[5], [6], [7]]
    with pytest.raises(ValueError, match=r"line 3: no image '1.png' in the sample set, which has"):
        read_own_labels(written("file,x\nb/1.png,1\n1.png,2\na/1.png,0\n")).of_images(3, files)
    twice = read_own_labels(written("file,x\nb/2.png,1\n2.png,2\n"))
    with pytest.raises(ValueError, match="line 3: '2.png' is the image of line 2 too"):
        twice.of_images(3, files)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("0,1\n1,1\n", r": image 2 has no row, as 1 of 3 images have none. Give every"),
        ("0,1\n1,1\n2,1\n3,1\n", r", line 5: no image '3' in the sample set, which has 0 to 2."),
        ("0,1\n1,1\ntwo,1\n", r", line 4: no image 'two' in the sample set"),
        ("00,1\n1,1\n2,1\n", r", line 2: no image '00' in the sample set"),
    ],
)
def test_every_image_has_one_row_and_every_row_an_image(written, rows, said):
    path = written(f"image,x\n{rows}")
    assert refusal(lambda path: read_own_labels(path).of_images(3), path).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", " is empty. Write a header, then a row an image"),
        ("image\n0\n", ", line 1: there is no second column. Write a header"),
        ("image,a,\n0,1,2\n", ", line 1: column 3 has no name. Name the label."),
        ("image,a,a\n0,1,2\n", ", line 1: the label 'a' is there twice. Take one out."),
        ("image,a\n0,1,2\n", ", line 2: 3 cells under a header of 2. Write a header"),
        ("image,a\n0,1\n0,2\n", ", line 3: image '0' is in line 2 too. Take one out."),
        ("image,a\n0,1\n\n1,yes\n", ", line 4: 'yes' under 'a' is no number. Write one, or 0"),
        ("image,a\n0,nan\n", ", line 2: 'nan' under 'a' is no number."),
        ("image,a\n0,\n", ", line 2: '' under 'a' is no number."),
        ("image,a\n0,inf\n", ", line 2: 'inf' under 'a' is no number."),
        ('image,a\n0,"1\n', " is no CSV (unexpected end of data). Write a header"),
        ("image,a\0\n", ", line 1: this is no text in UTF-8. Give a text file with a header"),
        (f"image,{'x' * 201}\n0,1\n", ", line 1: 'xxx"),
    ],
)
def test_labels_that_are_no_table_of_numbers_are_refused_with_their_line(written, content, said):
    assert refusal(read_own_labels, written(content)).startswith(said)
