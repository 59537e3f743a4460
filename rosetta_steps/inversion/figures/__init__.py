"""Pictures of inversions: figures after the paper, loss curves, animations."""
