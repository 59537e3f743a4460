"""Section 4.2 of the paper: images changed through the maps of matched units."""
