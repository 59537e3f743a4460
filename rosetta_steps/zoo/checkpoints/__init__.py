"""Checkpoints read as data: nothing inside them is ever run."""
