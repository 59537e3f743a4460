"""Labels of one's own: a CSV with a row an image and a column a label, numbers or 0 and 1.

The first column says which image a row is of: its number in the sample set, from 0, or of photos
and pictures its file. The workflow reads the file while it is parsed.
"""

import argparse
import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rosetta_steps.labelling.vocabulary import read_text, refuse_strange
from rosetta_steps.runtime.errors import UserError

WANTED = "a header, then a row an image: its number or file, and a number for each label"


@dataclass(frozen=True)
class OwnLabels:
    """A file of labels.

    Attributes:
        path: Where it was.
        labels: Names of the labels.
        rows: By what the first column says, the line of the row and a number a label.
    """

    path: Path
    labels: list[str]
    rows: dict[str, tuple[int, list[float]]]

    def of_images(self, images: int, files: Sequence[str] = ()) -> list[list[float]]:
        """Numbers of the labels on each image of a sample set.

        Args:
            images: How many it has.
            files: File of each, relative to their common folder; empty for a generator's images.

        Raises:
            ValueError: An image has no row or two, or a row is of no image.
        """
        names = {str(index): index for index in range(images)}
        if files and not set(self.rows) <= names.keys():
            names = _names_of_files(files)
        found: dict[int, tuple[int, list[float]]] = {}
        for key, (line, values) in self.rows.items():
            if key not in names:
                raise UserError(
                    f"{self.path}, line {line}: no image '{key}' in the sample set, which has "
                    f"{_some(list(names))}. Correct the first column, or leave the row out."
                )
            if (image := names[key]) in found:
                raise UserError(
                    f"{self.path}, line {line}: '{key}' is the image of line {found[image][0]} "
                    "too. Take one out."
                )
            found[image] = line, values
        if missing := [image for image in range(images) if image not in found]:
            name = f" ({files[missing[0]]})" if files else ""
            raise UserError(
                f"{self.path}: image {missing[0]}{name} has no row, as {len(missing)} of {images} "
                "images have none. Give every image of the sample set a row."
            )
        return [found[image][1] for image in range(images)]


def _names_of_files(files: Sequence[str]) -> dict[str, int]:
    # A file is called by its path, or by its name alone where no other has it.
    bare = [Path(file).name for file in files]
    often = Counter(bare)
    names = {name: index for index, name in enumerate(bare) if often[name] == 1}
    return names | {file: index for index, file in enumerate(files)}


def _some(names: list[str]) -> str:
    return f"{names[0]} to {names[-1]}" if len(names) > 1 else names[0]


def read_own_labels(path: Path) -> OwnLabels:
    """Read a file of labels.

    Raises:
        ValueError: It is missing or no such table, a label or an image is there twice, or a value
            is no number: file, line and remedy.
    """
    path = Path(path)
    text = read_text(path, WANTED)
    try:
        lines = list(_lines(text))
    except csv.Error as error:
        raise UserError(f"{path} is no CSV ({error}). Write {WANTED}.") from None
    if not lines:
        raise UserError(f"{path} is empty. Write {WANTED}.")
    line, header = lines[0]
    labels = [label.strip() for label in header[1:]]
    _refuse_labels(path, line, labels)
    rows: dict[str, tuple[int, list[float]]] = {}
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells under a header of {len(header)}. Write "
                f"{WANTED}."
            )
        key = cells[0].strip()
        if key in rows:
            raise UserError(
                f"{path}, line {line}: image '{key}' is in line {rows[key][0]} too. Take one out."
            )
        pairs = zip(labels, cells[1:], strict=True)
        rows[key] = line, [_number(path, line, label, cell) for label, cell in pairs]
    return OwnLabels(path, labels, rows)


def _lines(text: str):
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _refuse_labels(path: Path, line: int, labels: list[str]) -> None:
    if not labels:
        raise UserError(
            f"{path}, line {line}: there is no second column. Write {WANTED}, commas between them."
        )
    for column, label in enumerate(labels, 2):
        if not label:
            raise UserError(f"{path}, line {line}: column {column} has no name. Name the label.")
        refuse_strange(label, f"{path}, line {line}")
        if labels.index(label) != column - 2:
            raise UserError(
                f"{path}, line {line}: the label '{label}' is there twice. Take one out."
            )


def _number(path: Path, line: int, label: str, cell: str) -> float:
    try:
        # float() takes 1_0 and digits of other alphabets as well.
        value = float(cell) if cell.isascii() and "_" not in cell else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"{path}, line {line}: '{cell[:40]}' under '{label[:40]}' is no number. Write one, or "
            "0 and 1 for no and yes."
        )
    return value


def carry_out(a: argparse.Namespace) -> None:
    """Write the store of labels of one's own that a command line asks for."""
    from rosetta_steps.labelling.scores import OWN, write_scores
    from rosetta_steps.storage.datasets import open_dataset
    from rosetta_steps.storage.digests import sha256_of

    own = read_own_labels(a.labels)
    with open_dataset(a.samples) as samples:
        files = [str(file) for file in samples["file"].values] if "file" in samples else []
        values = own.of_images(samples.sizes["image"], files)
    write_scores(
        values,
        own.labels,
        a.samples,
        a.output,
        source=OWN,
        attrs={"file": a.labels.name, "sha256": sha256_of(a.labels)},
        identity=a.identity,
    )
