"""Section 4.1 of the paper: images inverted through a fixed generator, by its matches."""
