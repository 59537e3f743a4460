"""Mine Rosetta neurons: the units that different vision models share."""
