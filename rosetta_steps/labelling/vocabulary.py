"""Vocabularies: words and phrases, one a line. The workflow reads them while it is parsed."""

from pathlib import Path

from rosetta_steps.runtime.errors import UserError

LOADER = "open_clip"  # of models that score words
LONGEST = 200  # characters of a word, phrase or label


def read_vocabulary(path: Path) -> list[str]:
    """Words and phrases of a file, in its order; empty lines and those that begin with # are none.

    Raises:
        ValueError: It is missing, no text in UTF-8 or without a word, or a word is too long, there
            twice or has characters that cannot be printed: file, line and remedy.
    """
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(Path(path), "words, one a line").splitlines(), 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        refuse_strange(word, f"{path}, line {number}")
        if word in lines:
            raise UserError(
                f"{path}, line {number}: '{word}' is in line {lines[word]} too. Take one out."
            )
        lines[word] = number
    if not lines:
        raise UserError(f"{path} has no words. Write one a line; lines with # are comments.")
    return list(lines)


def read_text(path: Path, wanted: str) -> str:
    """Text of a file.

    Args:
        path: The file.
        wanted: What it should hold, for errors.

    Raises:
        ValueError: It does not exist, is no file or no text in UTF-8.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist, or is no file. Give a text file with {wanted}.")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        wrong = text.find("\0")
    except UnicodeDecodeError as error:
        wrong = error.start
    if wrong >= 0:
        line = content[:wrong].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: this is no text in UTF-8. Give a text file with {wanted}."
        )
    return text


def refuse_strange(label: str, place: str) -> None:
    """Refuse a word or label that is too long, or that no page could show.

    Args:
        label: It.
        place: File and line, for errors.

    Raises:
        ValueError: It is one.
    """
    if len(label) > LONGEST:
        raise UserError(
            f"{place}: '{label[:40]}...' has {len(label)} characters, {LONGEST} at most: is this "
            "a file of words? Shorten it."
        )
    if strange := next((c for c in label if not c.isprintable()), None):
        raise UserError(f"{place}: {label!r} has the character {strange!r}. Take it out.")
