"""For tests, ours and those of people who write a loader or a source of maps: small seeded things.

    write_maps, dump_maps, random_maps, moments_of, made    stores of maps (testing.maps)
    write_dcgan, write_timm, write_function, entry_of       networks with their entries (.networks)
    Project                                                 a folder to run Snakemake in (.projects)
    check_source                                            whether an object is a source of maps

All of them write real files by the code that steps write them with. Nothing here needs pytest:
what disagrees raises an AssertionError.
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
