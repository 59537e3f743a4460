"""Stores go with their manifests: what `snakemake --delete-all-output` removes of them.

Rules declare manifests and not stores, so that a killed job can go on where it stopped (Snakemake
empties a declared folder before it runs a job again). So Snakemake deletes manifests alone.
"""

import atexit
import shutil
from pathlib import Path

MANIFEST = ".done.json"


def remove_stores_with_their_manifests(results: Path) -> None:
    """When this process ends, remove each store whose manifest is there now and no longer then.

    Args:
        results: Folder of all stores.
    """
    atexit.register(_remove_orphans, list(Path(results).rglob(f"*.zarr{MANIFEST}")))


def _remove_orphans(manifests: list[Path]) -> None:
    for manifest in manifests:
        if not manifest.exists():
            store = manifest.with_name(manifest.name.removesuffix(MANIFEST))
            store.with_name(f"{store.name}.partial.json").unlink(missing_ok=True)
            shutil.rmtree(store, ignore_errors=True)
