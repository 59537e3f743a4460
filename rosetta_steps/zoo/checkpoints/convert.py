"""Conversion of a checkpoint: its tensors to safetensors, its stated settings to JSON."""

import json
import os
import sys
import tempfile
from pathlib import Path

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.reading import FORMAT, read_checkpoint
from rosetta_steps.zoo.weights import sha256

SHOWN = 20


def convert(
    source: Path,
    output: Path,
    key: str | None = None,
    overwrite: bool = False,
    prefix: str = "",
) -> Path:
    """Write OUTPUT.safetensors and OUTPUT.json from a checkpoint of any kind.

    The JSON is written first, so that both files are complete once the .safetensors exists. What
    was written and what was left out is printed to stderr.

    Args:
        source: Path of the checkpoint.
        output: Path of the output without suffix, or with .safetensors.
        key: Key of the part to take, as in read_checkpoint.
        overwrite: Whether to replace files that exist.
        prefix: Prefix of the names to take, which is removed, as in read_checkpoint.

    Returns:
        Path of the .safetensors file, from which read_checkpoint reads the same settings.

    Raises:
        ValueError: The checkpoint cannot be read, or the output exists.
    """
    from safetensors.torch import save_file

    source, output = Path(source), Path(output)
    stem = output.name.removesuffix(".safetensors")
    files = [output.with_name(f"{stem}{suffix}") for suffix in (".json", ".safetensors")]
    for file in files:
        if file.exists() and not overwrite:
            raise UserError(f"{file} exists. Name another output, or pass --overwrite.")
    checkpoint = read_checkpoint(source, key, prefix)
    values = sum(tensor.numel() for tensor in checkpoint.tensors.values())
    description = {
        "format": FORMAT,
        "layout": checkpoint.layout,
        "settings": checkpoint.settings,
        "source": source.name,
        "key": key,
        "prefix": prefix,
        "source_sha256": sha256(source),
        "tensors": len(checkpoint.tensors),
        "values": values,
        "left_out": checkpoint.left_out,
        "names": list(checkpoint.tensors),  # a safetensors file does not keep their order
    }
    # Tensors with two names are copied, because safetensors refuses shared memory.
    seen: set[int] = set()
    tensors = {}
    for name, tensor in checkpoint.tensors.items():
        tensors[name] = tensor.clone() if id(tensor) in seen else tensor
        seen.add(id(tensor))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".converting-") as folder:
        temporary = [Path(folder) / file.name for file in files]
        temporary[0].write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        save_file(tensors, temporary[1])
        for made, file in zip(temporary, files, strict=True):
            os.replace(made, file)
    left_out = ", ".join(checkpoint.left_out[:SHOWN]) or "nothing"
    if len(checkpoint.left_out) > SHOWN:
        left_out += f" and {len(checkpoint.left_out) - SHOWN} more"
    print(
        f"{len(checkpoint.tensors)} tensors written, {values} values. Left out: {left_out}.",
        file=sys.stderr,
    )
    return files[1]
