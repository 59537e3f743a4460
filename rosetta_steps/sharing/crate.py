"""Metadata of a bundle as an RO-Crate 1.1, which archives and search engines read.

https://www.researchobject.org/ro-crate/specification/1.1
"""

from collections.abc import Mapping

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
PROFILE = "https://w3id.org/ro/crate/1.1"
PAPER = {
    "@id": "https://arxiv.org/abs/2306.09346",
    "@type": "ScholarlyArticle",
    "name": "Rosetta Neurons: Mining the Common Units in a Model Zoo",
    "author": "Amil Dravid, Yossi Gandelsman, Alexei A. Efros, Assaf Shocher",
    "datePublished": "2023",
}
TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".html": "text/html",
    ".png": "image/png",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
}
# What a store or a file holds, by the folder of results that it lies in.
CONTENTS = {
    "samples": "images, and of a generator their latents",
    "activations": "activation maps of every unit",
    "matched_maps": "activation maps of units in best buddies",
    "moments": "moments of the activation maps",
    "correlations": "correlations of all pairs of units",
    "best_buddies": "best buddies",
    "evidence": "evidence of best buddies",
    "dictionary": "the dictionary of concepts, its pages and figures",
    "plans": "what the run was expected to take",
}


def crate(about: Mapping, files: Mapping[str, int]) -> dict:
    """Return the metadata of a bundle.

    Args:
        about: bundle.json.
        files: Every file of the bundle and its bytes.

    Returns:
        The document ro-crate-metadata.json: the bundle, its stores and files, the models it was
        made of with licence and origin, and the software.
    """
    generator, *models = about["models"]
    stores: dict[str, int] = {}
    single = {}
    for file, size in files.items():
        store, inside, _ = file.partition(".zarr/")
        whole = f"{store}.zarr/"
        if not inside and file.endswith(".webp"):  # a page's pictures, thousands of them
            inside, whole = file, file[: file.rindex("/") + 1]
        if inside:
            stores[whole] = stores.get(whole, 0) + size
        else:
            single[file] = size
    parts = [_part(path, "Dataset", size) for path, size in stores.items()]
    parts += [_part(path, "File", size) for path, size in single.items()]
    networks = [_network(one) for one in about["models"]]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Rosetta neurons of {generator['name']} on {about['sample_set']}",
        "description": (
            f"Units that {generator['name']} shares with {', '.join(m['name'] for m in models)}: "
            "best buddies by the correlation of activation maps, their evidence, and the "
            "dictionary of concepts. The licences of the networks are theirs."
        ),
        "datePublished": about["written"],
        "license": {"@id": "#licences"},
        "keywords": ["interpretability", "Rosetta neurons", "vision models"],
        "hasPart": [{"@id": part["@id"]} for part in parts],
        "isBasedOn": [{"@id": network["@id"]} for network in networks],
        "mentions": {"@id": "#rosetta_steps"},
        "citation": {"@id": PAPER["@id"]},
    }
    licences = {
        "@id": "#licences",
        "@type": "CreativeWork",
        "name": "Licences of the networks that everything was made of",
        "description": "; ".join(f"{m['name']}: {m['licence']}" for m in about["models"]),
    }
    software = {
        "@id": "#rosetta_steps",
        "@type": "SoftwareApplication",
        "name": "rosetta_steps",
        "softwareVersion": about["rosetta_steps"],
        "softwareRequirements": ", ".join(about["versions"]),
    }
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": PROFILE},
    }
    return {
        "@context": CONTEXT,
        "@graph": [descriptor, root, licences, software, PAPER, *networks, *parts],
    }


def _part(path: str, kind: str, size: int) -> dict:
    folder = path.split("/")[1] if path.startswith("results/") else ""
    part: dict = {"@id": path, "@type": kind, "name": path.rstrip("/"), "contentSize": str(size)}
    if folder in CONTENTS:
        part["description"] = CONTENTS[folder]
    suffix = path[path.rfind(".") :]
    if kind == "File":
        part["encodingFormat"] = TYPES.get(suffix, "application/octet-stream")
    elif path.endswith(".zarr/"):
        part["encodingFormat"] = "application/vnd+zarr"
    return part


def _network(model: Mapping[str, str]) -> dict:
    return {
        "@id": f"#{model['name']}",
        "@type": "CreativeWork",
        "name": model["name"],
        "description": f"{model['source']}. Weights: {model['weights']}",
        "license": model["licence"] or "not stated",
        **({"identifier": f"sha256:{model['sha256']}"} if model["sha256"] else {}),
    }
