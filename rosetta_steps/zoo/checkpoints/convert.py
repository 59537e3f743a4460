"""Convert a checkpoint once: its tensors to safetensors, what it says of its network to JSON."""

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

    The JSON goes first: where there is a .safetensors, both are there and whole. What was written
    and what of the checkpoint was left out is said on stderr.

    Args:
        source: The checkpoint.
        output: Path without suffix, or with .safetensors.
        key: Part of the checkpoint, as read_checkpoint takes it.
        overwrite: Whether to replace files that exist.
        prefix: Of the names that are taken, without it, as read_checkpoint takes it.

    Returns:
        Path of the .safetensors file, which read_checkpoint reads back with the same settings.

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
    # Copies of what has two names, because safetensors refuses shared memory.
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
