"""Evidence: what speaks for a match, test by test (docs/explanation/evidence.md)."""
