"""What the outputs of a model follow from, for the manifests of what is made with it."""

from rosetta_steps.zoo.entries import entry_digest
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.weights import sha256_of_weights, weights_file


def origin_of(name: str, entry: Entry) -> dict[str, str]:
    """Digests of a model's entry, with the code that builds it, and of its weights.

    Args:
        name: Of the model.
        entry: Its entry.

    Raises:
        ValueError: Its weights cannot be had, or are not those of the entry.
    """
    weights_file(name, entry)
    found = {f"entry of {name}": entry_digest(entry)}
    if weights := sha256_of_weights(name, entry):
        found[f"weights of {name}"] = weights
    return found
