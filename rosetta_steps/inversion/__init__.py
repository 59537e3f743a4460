"""Section 4 of the paper: images inverted and edited through a fixed generator, by its matches."""
