"""A file of settings is read as it stands, or refused in one line."""

import time

import pytest

from rosetta_steps.config.yaml_files import read_yaml


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]\n", "line 1 contains itself"),
        ("a: &a {b: {c: *a}}\n", "line 1 contains itself"),
        ("a: &a\n  <<: *a\n", "contains itself"),
        ("a: " + "[" * 10**6, "nested more than 40 deep"),
        ("a: " + "{a: " * 10**5, "nested more than 40 deep"),
        ("\n".join("  " * n + "a:" for n in range(100)), "nested more than 40 deep"),
        (
            "a0: &a0 [x, x]\n"
            + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 12)),
            "stands for more than 200000 values",
        ),
        (
            "a0: &a0 {x: 1}\n"
            + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 40)),
            "stands for more than 200000 values",
        ),
        (
            "a0: &a0 {x: 1}\n"
            + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)),
            "stands for more than 200000 values",
        ),
        ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 99)), "deep"),
        ("a:\n\tb: 1\n", "line 2, column 1: .*Indent with spaces, not with tabs"),
        ("images: 010\n", "line 1: YAML reads 010 as the number 8. Write 8, or '010' in quotes"),
        ("x: 1\nseed: 1:30\n", "line 2: YAML reads 1:30 as the number 90"),
        ("a: !!python/object/apply:os.system [x]\n", "line 1"),
        ("a: 2024-13-45\n", "month must be in"),
        ("a: " + "9" * 5000 + "\n", "digits"),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed here"),
        ("? [a]\n: b\n", "unhashable key"),
        ("a" * 2_000_001, "at most 2000000 are read"),
    ],
)
def test_a_file_that_is_hostile_or_no_yaml_is_refused_in_one_line_and_in_time(
    text, words, tmp_path
):
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    begin = time.monotonic()
    with pytest.raises(ValueError, match=f"x.yaml.*{words}") as error:
        read_yaml(tmp_path / "x.yaml")
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: ä".encode("utf-16"), "is not UTF-8 text"),
        ("a: ä".encode("latin-1"), r"is not UTF-8 text \(byte 4 is 0xe4\)"),
        (b"a: \x07", "not YAML"),
    ],
)
def test_a_file_in_another_encoding_is_refused_with_the_byte(content, words, tmp_path):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=words) as error:
        read_yaml(tmp_path / "x.yaml")
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_windows_line_ends_tabs_in_json_and_anchors_are_taken(tmp_path):
    (tmp_path / "x.yaml").write_bytes("\ufeffa: ä\r\nb: &b [1]\r\nc: *b\r\n".encode())
    assert read_yaml(tmp_path / "x.yaml") == {"a": "ä", "b": [1], "c": [1]}
    (tmp_path / "x.json").write_text('{\n\t"neighbours": 2\n}', encoding="utf-8")
    assert read_yaml(tmp_path / "x.json") == {"neighbours": 2}
    (tmp_path / "x.yaml").write_text("a: 0\nb: -0\nc: 1_000\nd: 0x10\n", encoding="utf-8")
    assert read_yaml(tmp_path / "x.yaml") == {"a": 0, "b": 0, "c": 1000, "d": 16}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"a": }', "line 1, column 7"),
        ('{"a": ' + "[" * 10**5 + "]" * 10**5 + "}", "nested"),
        ('{"a": ' + "[" * 60 + "]" * 60 + "}", "nested"),
    ],
)
def test_json_is_read_as_json_and_refused_in_one_line(text, words, tmp_path):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words) as error:
        read_yaml(tmp_path / "x.json")
    assert "\n" not in str(error.value)
