"""Small seeded fixtures for our tests and for tests of other people's loaders and map sources.

    write_maps, dump_maps, random_maps, moments_of, made    stores of maps (testing.maps)
    write_dcgan, write_timm, write_function, entry_of       networks with their entries (.networks)
    Project                                                 a folder to run Snakemake in (.projects)
    check_source                                            check of an object as a map source

All of them write real files by the same code as the steps. Nothing here needs pytest; failed checks
raise an AssertionError.
"""

from rosetta_steps.testing.maps import dump_maps, made, moments_of, random_maps, write_maps
from rosetta_steps.testing.networks import entry_of, write_dcgan, write_function, write_timm
from rosetta_steps.testing.projects import Project
from rosetta_steps.testing.sources import check_source

__all__ = [
    "Project",
    "check_source",
    "dump_maps",
    "entry_of",
    "made",
    "moments_of",
    "random_maps",
    "write_dcgan",
    "write_function",
    "write_maps",
    "write_timm",
]
